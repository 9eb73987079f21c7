"""One small change of one module, and the rules by which a change is none."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mutant:
    """A change: `old`, which stands at the character `at` of the module's text, becomes `new`."""

    module: str
    digest: str
    line: int
    operator: str
    at: int
    old: str
    new: str

    @property
    def name(self) -> str:
        """What tells a mutant from all others of the same text of its module."""
        return f"{self.module}:{self.line}:{digest_of(f'{self.digest} {self.at} {self.old} > {self.new}')}"

    def text(self, original: str) -> str:
        """The module's text with the change.

        Raises:
            ValueError: the module's text is another one than the mutant was made from.
        """
        if digest_of(original) != self.digest:
            raise ValueError(f"{self.module} has changed since its mutants were made: make them again")
        assert original[self.at : self.at + len(self.old)] == self.old
        return original[: self.at] + self.new + original[self.at + len(self.old) :]


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def between(original: str, changed: str) -> tuple[int, str, str]:
    """Where two texts differ, in whole words: the place, what stood there, and what stands there instead."""
    start = 0
    while start < min(len(original), len(changed)) and original[start] == changed[start]:
        start += 1
    back = 0
    while back < min(len(original), len(changed)) - start and original[-1 - back] == changed[-1 - back]:
        back += 1
    while start and (original[start - 1].isalnum() or original[start - 1] == "_"):
        start -= 1
    while back and (original[-back].isalnum() or original[-back] == "_"):
        back -= 1
    return start, original[start : len(original) - back], changed[start : len(changed) - back]


def load(path: Path) -> list[Mutant]:
    return [Mutant(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def save(path: Path, mutants: Iterable[Mutant]) -> None:
    path.write_text("".join(json.dumps(asdict(mutant)) + "\n" for mutant in mutants), encoding="utf-8")


def executed(tree: ast.Module) -> str:
    """A tree as text, without what is not run, or not for its value: of two that differ, one is a change of the other.

    Docstrings; annotations, which a module with ``from __future__ import annotations`` keeps as text; what stands
    under ``if TYPE_CHECKING``; ``__all__``; and the type that `typing.cast` is given.
    """
    return ast.dump(_Executed().visit(deepcopy(tree)))


class _Executed(ast.NodeTransformer):
    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        constant = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return ast.Pass() if constant else self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(0)
        return self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST:
        checking = any(isinstance(one, ast.Name) and one.id == "TYPE_CHECKING" for one in ast.walk(node.test))
        return ast.Pass() if checking else self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        exported = any(isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets)
        return ast.Pass() if exported else self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Name) and node.func.id == "cast" and len(node.args) == 2:
            node.args[0] = ast.Constant(0)
        return self.generic_visit(node)
