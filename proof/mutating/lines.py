"""Which lines of which modules a test runs, in its own process and in those that it starts.

Every statement of the modules is told apart by a call in front of it, in a copy of the project; a debugger's trace
function or coverage.py's are thereby free for the tests that use them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

#: Written into the copy; it notes each line once, in the file that the environment names.
TOLD = """
import os
seen = set()
def ran(module, line):
    if (module, line) not in seen:
        seen.add((module, line))
        path = os.environ.get("LINES_THAT_RAN")
        if path:
            file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(file, f"{module}:{line}\\n".encode())
            os.close(file)
"""
NAME = "_lines_that_ran"


def tell(copy: Path, modules: Iterable[str]) -> None:
    """Let the modules of a copy of the project tell which of their lines run."""
    (copy / "astcapture" / f"{NAME}.py").write_text(TOLD, encoding="utf-8")
    for module in modules:
        path = copy / module
        path.write_text(told(path.read_text(encoding="utf-8"), module), encoding="utf-8")


def told(text: str, module: str) -> str:
    """The module's text with a call in front of each statement.

    >>> print(told("if x:\\n    y = 1", "m"))
    from astcapture._lines_that_ran import ran as _lines_that_ran
    _lines_that_ran('m', 1)
    if x:
        _lines_that_ran('m', 2)
        y = 1
    """
    tree = ast.parse(text)
    for node in list(ast.walk(tree)):
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            if isinstance(block, list):
                setattr(node, field, [one for statement in block for one in _with_call(statement, module)])
    start = ast.parse(f"from astcapture.{NAME} import ran as {NAME}").body
    index = next((i for i, one in enumerate(tree.body) if not _stays_first(one)), len(tree.body))
    tree.body[index:index] = start
    return ast.unparse(ast.fix_missing_locations(tree))


def _with_call(statement: ast.stmt, module: str) -> list[ast.stmt]:
    if _stays_first(statement):
        return [statement]
    return [*ast.parse(f"{NAME}({module!r}, {statement.lineno})").body, statement]


def _stays_first(statement: ast.stmt) -> bool:
    docstring = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return docstring or (isinstance(statement, ast.ImportFrom) and statement.module == "__future__")


def statement_at(tree: ast.Module, line: int) -> ast.stmt | None:
    """The innermost statement that a line of a module belongs to."""
    found = None
    for node in ast.walk(tree):  # from the outside in
        if isinstance(node, ast.stmt):
            first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])
            if first <= line <= (node.end_lineno or first):
                found = node
    return found


def is_run_at_import(tree: ast.Module, statement: ast.stmt | None) -> bool:
    """Whether a statement runs as the module is imported, so that its effect shows in any line of the module."""
    inside = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        for block in node.body
        for child in ast.walk(block)
    }
    return statement is None or id(statement) not in inside or isinstance(statement, (ast.FunctionDef, ast.ClassDef))
