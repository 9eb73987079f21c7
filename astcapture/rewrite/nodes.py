"""Creates the nodes that are inserted into a function: calls of the recorder at positions in the user's source."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from astcapture.rewrite.lines import first_line

#: The prefix under which rewritten code knows the functions of the recorder.
PREFIX = "_@"


class Place(NamedTuple):
    """A position in the source. The compiler uses the end of some nodes, so our nodes end where they start."""

    line: int
    column: int

    @classmethod
    def nowhere(cls) -> Place:
        """No line: instructions take the line of the preceding ones."""
        return cls(-1, -1)


def placed(node: Any, place: Place) -> Any:
    """Set the position of `node` and all nodes below it."""
    for child in ast.walk(node):
        if isinstance(child, (ast.expr, ast.stmt, ast.ExceptHandler, ast.keyword)):
            child.lineno = child.end_lineno = place.line
            child.col_offset = child.end_col_offset = place.column
    return node


def literal(value: Any, place: Place) -> ast.expr:
    """A constant, or a tuple of constants."""
    if isinstance(value, tuple):
        return cast(ast.expr, placed(ast.Tuple([literal(one, place) for one in value], ast.Load()), place))
    return cast(ast.expr, placed(ast.Constant(value), place))


def recorder_name(name: str, before: ast.expr) -> ast.Name:
    """The name of a function of the recorder, on the line where `before`, evaluated next, starts to be evaluated."""
    return cast(ast.Name, placed(ast.Name(PREFIX + name, ast.Load()), Place(first_line(before), before.col_offset)))


def read(name: str, place: Place) -> ast.expr:
    """A node that reads a local."""
    if name == "super":
        # Where this name is read in a class, the compiler gives the function its class's ``__class__`` as a cell.
        held = ast.Call(ast.Name(PREFIX + "locals", ast.Load()), [], [])
        return cast(ast.expr, placed(ast.Subscript(held, ast.Constant(name), ast.Load()), place))
    return cast(ast.expr, placed(ast.Name(name, ast.Load()), place))


def read_owners(function: str, names: Sequence[str], place: Place) -> list[ast.expr]:
    """The arguments by which a function of the recorder learns which objects may be the module it is called for."""
    owners = [read(name, place) for name in names]
    if function in ("record", "called") and len(owners) > 1:
        others: ast.expr = placed(ast.Tuple(owners[1:], ast.Load()), place)
        return [owners[0], others]
    return owners


def from_line(line: int, node: Any) -> Any:
    """Let a node start on a later line, where the last instruction before it is."""
    if node.lineno != line:
        node.lineno = line
        if line == node.end_lineno:
            node.col_offset = min(node.col_offset, node.end_col_offset or 0)
    return node


def call_statement(name: str, arguments: list[ast.expr], place: Place) -> ast.stmt:
    """A call of the recorder as a statement, at one position."""
    call = ast.Call(ast.Name(PREFIX + name, ast.Load()), arguments, [])
    return cast(ast.stmt, placed(ast.Expr(call), place))


def is_call_of_the_recorder(statement: ast.stmt) -> bool:
    """Whether `call_statement` created a statement. A call of the user's whose result is recorded is the user's."""
    call = statement.value if isinstance(statement, ast.Expr) else None
    called = call.func.id if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) else ""
    return called.startswith(PREFIX) and called != PREFIX + "called"
