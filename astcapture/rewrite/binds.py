"""The names that a function binds, and the expressions that it evaluates itself."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from astcapture.rewrite.find import EXPRESSION_SCOPES, FunctionNode, own_statements

_DEFS = (ast.FunctionDef, ast.AsyncFunctionDef)
# Never evaluated, or evaluated in their own scope, or kept as text.
_NOT_EVALUATED = frozenset({"annotation", "returns", "type_params"})


class Binding(NamedTuple):
    """A name and the line where it is bound."""

    name: str
    line: int


class Slot(NamedTuple):
    """The position of an expression: a field of its parent, or an index in a list there."""

    parent: ast.AST
    field: str
    position: int | None

    def put(self, node: ast.expr) -> None:
        if self.position is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.position] = node


def bindings(function: FunctionNode) -> dict[str, int]:
    """The names that a function binds, each with the line of its first binding, without parameters."""
    first: dict[str, int] = {}
    for name, line in sorted(every_binding(function), key=lambda one: one.line):
        first.setdefault(name, line)
    return first


def every_binding(function: FunctionNode) -> list[Binding]:
    """Every binding in a function, without its parameters."""
    found = [one for node in own_statements(function) for one in bound_by(node)]
    return found + [Binding(node.target.id, node.lineno) for _, node in walruses(function)]


def bound_by(node: ast.AST) -> list[Binding]:
    """The names that one statement, handler or case binds, in order, without those of a walrus."""
    if isinstance(node, ast.Assign):
        return list(stores(node.targets))
    if isinstance(node, (ast.AugAssign, ast.For, ast.AsyncFor)):
        return list(stores([node.target]))
    if isinstance(node, ast.AnnAssign):
        return list(stores([node.target])) if node.value is not None else []
    if isinstance(node, (ast.With, ast.AsyncWith)):
        return list(stores(item.optional_vars for item in node.items if item.optional_vars is not None))
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [
            Binding(alias.asname or alias.name.partition(".")[0], alias.lineno)
            for alias in node.names
            if alias.name != "*"
        ]
    if isinstance(node, (*_DEFS, ast.ClassDef)):
        return [Binding(node.name, node.lineno)]
    if isinstance(node, ast.ExceptHandler):
        return [Binding(node.name, node.lineno)] if node.name else []
    if isinstance(node, ast.match_case):
        return _captured_by(node.pattern)
    if type(node).__name__ == "TypeAlias":
        return list(stores([node.name]))  # type: ignore[attr-defined]
    return []


def stores(targets: Iterable[ast.expr]) -> Iterator[Binding]:
    stack = list(targets)[::-1]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Name):
            yield Binding(node.id, node.lineno)
        elif isinstance(node, (ast.Tuple, ast.List)):
            stack.extend(reversed(node.elts))
        elif isinstance(node, ast.Starred):
            stack.append(node.value)


def _captured_by(pattern: ast.pattern) -> list[Binding]:
    """The names of a pattern, each once: the alternatives of an or-pattern bind the same ones."""
    found: dict[str, int] = {}
    stack: list[ast.AST] = [pattern]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.MatchAs) and node.name is not None:
            found.setdefault(node.name, node.lineno if node.pattern is None else node.end_lineno)
        elif isinstance(node, ast.MatchStar) and node.name is not None:
            found.setdefault(node.name, node.lineno)
        elif isinstance(node, ast.MatchMapping) and node.rest is not None:
            found.setdefault(node.rest, node.patterns[-1].end_lineno if node.patterns else node.lineno)
        stack.extend(reversed(subpatterns(node)))
    return [Binding(name, line) for name, line in found.items()]


def subpatterns(pattern: ast.AST) -> list[ast.pattern]:
    return [child for child in ast.iter_child_nodes(pattern) if isinstance(child, ast.pattern)]


def walruses(function: FunctionNode) -> Iterator[tuple[Slot, ast.NamedExpr]]:
    for slot, node in own_expressions(function, lambdas=False):
        if isinstance(node, ast.NamedExpr):
            yield slot, node


def nested_in(function: FunctionNode) -> set[ast.AST]:
    """The nodes of a function inside its lambdas and comprehensions."""
    return {child for node in ast.walk(function) if isinstance(node, EXPRESSION_SCOPES) for child in ast.walk(node)}


def own_expressions(function: FunctionNode, lambdas: bool) -> Iterator[tuple[Slot, ast.expr]]:
    """The expressions that a function evaluates, including comprehensions; bodies of lambdas only if requested."""
    stack: list[tuple[Slot | None, ast.AST]] = [(None, node) for node in reversed(function.body)]
    while stack:
        slot, node = stack.pop()
        if slot is not None and isinstance(node, ast.expr):
            yield slot, node
        left_out = set(_NOT_EVALUATED)
        if isinstance(node, (*_DEFS, ast.ClassDef)) or (isinstance(node, ast.Lambda) and not lambdas):
            left_out.add("body")
        if type(node).__name__ == "TypeAlias":
            continue
        children: list[tuple[Slot | None, ast.AST]] = []
        for field, value in ast.iter_fields(node):
            if field in left_out:
                continue
            if isinstance(value, ast.AST):
                children.append((Slot(node, field, None), value))
            elif isinstance(value, list):
                children += [
                    (Slot(node, field, index), child) for index, child in enumerate(value) if isinstance(child, ast.AST)
                ]
        stack.extend(reversed(children))
