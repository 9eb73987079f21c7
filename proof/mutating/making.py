"""Mutants by the operators of mutmut and, of those that it has no like of, by cosmic-ray's.

mutmut's operators change numbers, strings, names, assignments, augmented assignments, arguments of calls, string
methods, lambdas, keywords, operators, cases and conditional expressions. cosmic-ray's put a ``not`` before a condition,
let a loop run no time, exchange the class in an ``except``, and take away a decorator.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import libcst
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from libcst.metadata import MetadataWrapper
from mutmut.mutation.mutators import mutation_operators

from mutating.mutant import Mutant, between, digest_of, executed

OF_COSMIC_RAY = ("AddNot", "ZeroIterationForLoop", "ExceptionReplacer", "RemoveDecorator")
#: mutmut's own rule: of these, every other argument is an error.
NOT_CHANGED = frozenset({"len", "isinstance"})
Change = tuple[str, str]  # the operator, and the text of the changed module


def mutants_of(root: Path, module: str) -> tuple[list[Mutant], Counter[str]]:
    """The mutants of a module, without those that are none, which are counted by their reason."""
    text = (root / module).read_text(encoding="utf-8")
    original = executed(ast.parse(text))
    found: dict[str, Mutant] = {}
    left_out: Counter[str] = Counter()
    for operator, changed in [*_by_mutmut(text), *_by_cosmic_ray(text)]:
        if changed in found:
            left_out["the same as another"] += 1
            continue
        try:
            changed_tree = ast.parse(changed)
            compile(changed_tree, module, "exec")
        except SyntaxError:
            left_out["does not compile"] += 1
            continue
        if executed(changed_tree) != original:
            at, old, new = between(text, changed)
            line = text.count("\n", 0, at) + 1
            found[changed] = Mutant(module, digest_of(text), line, operator, at, old, new)
        else:
            left_out["not run: docstring, annotation, TYPE_CHECKING, __all__, cast"] += 1
    return list(found.values()), left_out


class _Places(libcst.CSTVisitor):
    def __init__(self) -> None:
        self.found: list[tuple[str, libcst.CSTNode, libcst.CSTNode]] = []

    def on_visit(self, node: libcst.CSTNode) -> bool:
        if isinstance(node, libcst.Call) and isinstance(node.func, libcst.Name) and node.func.value in NOT_CHANGED:
            return False
        for kind, operator in mutation_operators:
            if isinstance(node, kind):
                for changed in operator(node):
                    self.found.append((operator.__name__.removeprefix("operator_"), node, changed))
        return True


def _by_mutmut(text: str) -> Iterator[Change]:
    module = MetadataWrapper(libcst.parse_module(text)).module  # a tree in which no node stands twice
    places = _Places()
    module.visit(places)
    for name, node, changed in places.found:
        mutated = module.deep_replace(node, changed)
        assert isinstance(mutated, libcst.Module)
        yield name, mutated.code


def _by_cosmic_ray(text: str) -> Iterator[Change]:
    for name in OF_COSMIC_RAY:
        operator = get_operator(f"core/{name}")()
        for occurrence in count():
            changed = mutate_code(text, operator, occurrence)
            if changed is None:
                break
            yield name, changed
