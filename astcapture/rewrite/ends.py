"""Finds where a function can end besides the end of its body, so that each path to its end keeps its line number.

Code that records at the end of a body has no line, and the compiler copies a block without a line to each jump that
leads to it. Up to Python 3.12 this fails for a ``try``: the jump from the end of its block, or of a handler, over the
following handlers has no line itself. If several paths meet before that jump (the block ends with an ``if``, a loop or
a ``with``), the copy gets the line of the first handler, which did not run; on Python 3.12 the last line is visited
twice. So in these versions, if a function ends with a ``try``, the recording is inserted into its ``else`` and its
handlers; on Python 3.10, which also jumps to the ``else``, at the end of its block.

A ``finally`` has the same problem, but nothing can be inserted into it, because exceptions pass through it. Python
compiles its statements twice, for exceptions and for the normal path, so they are written twice: after an ``except``
that reraises, and after the ``try``.

This module also finds the returns after which code still runs: that of a ``with`` or a ``finally`` around them.
"""

from __future__ import annotations

import ast
import copy
import sys

from astcapture.rewrite.find import FunctionNode, own_statements
from astcapture.rewrite.nodes import is_call_of_the_recorder

_JUMPS_HAVE_NO_LINE = sys.version_info < (3, 13)
_JUMPS_TO_ELSE = sys.version_info < (3, 11)


def write_out_finally(body: list[ast.stmt]) -> None:
    """Write out the ``finally`` of each ``try`` that a function may end with, where several paths through it meet.

    Not done if a ``return`` is inside, since it would have to be written out there as well.
    """
    if not _JUMPS_HAVE_NO_LINE:
        return
    stack = [body]
    while stack:
        block = stack.pop()
        last = block[-1] if block else None
        if not isinstance(last, _TRIES) or not last.finalbody:
            stack += _blocks_at_the_end_of(last)
        elif isinstance(last.finalbody[-1], _SEVERAL_ENDS) and not _returns(last):
            behind, last.finalbody = last.finalbody, []
            again = ast.Raise(None, None)
            caught = ast.ExceptHandler(None, None, [*copy.deepcopy(behind), again])
            for node, line in ((caught, -1), (again, _line_of_the_reraise(behind))):
                node.lineno = node.end_lineno = line
                node.col_offset = node.end_col_offset = -1
            inside: list[ast.stmt] = [last] if last.handlers else last.body
            block[-1:] = [ast.copy_location(ast.Try(inside, [caught], [], []), last), *behind]
            stack.append(block)


_TRIES: tuple[type[ast.Try], ...] = (ast.Try, getattr(ast, "TryStar", ast.Try))
_SEVERAL_ENDS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Match, *_TRIES)


def _line_of_the_reraise(block: list[ast.stmt]) -> int:
    """The line on which an exception propagates after a ``finally``; none from Python 3.12 on.

    In earlier versions it is the line of the last assignment, ``pass`` or the like, even if that did not run.
    """
    last = _last_of_the_users(block)
    while isinstance(last, ast.If):
        last = _last_of_the_users(last.orelse or last.body)
    return -1 if sys.version_info >= (3, 12) or isinstance(last, (ast.Expr, *_SEVERAL_ENDS)) else last.lineno


def _last_of_the_users(block: list[ast.stmt]) -> ast.stmt:
    """Behind what it binds, a statement may have calls of the recorder."""
    return next(statement for statement in reversed(block) if not is_call_of_the_recorder(statement))


def _returns(statement: ast.stmt) -> bool:
    return any(isinstance(one, ast.Return) for one in own_statements(ast.Module([statement], [])))


def _blocks_at_the_end_of(last: ast.stmt | None) -> list[list[ast.stmt]]:
    """The blocks inside a statement after whose end nothing more runs."""
    if isinstance(last, ast.If):
        return [last.body, last.orelse]
    if isinstance(last, (ast.For, ast.AsyncFor, ast.While)):
        return [last.orelse]
    if isinstance(last, ast.Match):
        return [case.body for case in last.cases]
    if isinstance(last, ast.Try) and not last.finalbody:
        return [last.orelse or last.body, *(handler.body for handler in last.handlers)]
    return []


def blocks_that_end(body: list[ast.stmt]) -> list[tuple[list[ast.stmt], str | None]]:
    """The blocks inside `body`, that of a function, after which the function ends: a ``return`` may follow them.

    Each comes with the name that a handler unbinds at its end, or None. A missing ``else`` is created. Blocks after
    which code still runs are left out: those in a ``with`` or a ``try … finally``.
    """
    if not _JUMPS_HAVE_NO_LINE:
        return []
    found: list[tuple[list[ast.stmt], str | None]] = []
    blocks: list[tuple[list[ast.stmt], str | None]]
    stack: list[list[ast.stmt]] = [body]
    while stack:
        block = stack.pop()
        last = block[-1] if block else None
        stack += _blocks_at_the_end_of(last)
        if isinstance(last, ast.Try) and not last.finalbody:
            otherwise = last.body if _JUMPS_TO_ELSE and not last.orelse else last.orelse
            blocks = [(handler.body, handler.name) for handler in last.handlers]
            if _comes_to_its_end(last.body):
                blocks.append((otherwise, None))
            # Reading names in unreachable code would only change the order in which the compiler numbers them.
            found += [(block, name) for block, name in blocks if _comes_to_its_end(block)]
    return found


def _comes_to_its_end(block: list[ast.stmt]) -> bool:
    last = block[-1] if block else None
    if isinstance(last, ast.If):
        return _comes_to_its_end(last.body) or _comes_to_its_end(last.orelse)
    return not isinstance(last, (ast.Return, ast.Raise, ast.Continue, ast.Break))


def outlived_returns(function: FunctionNode) -> set[ast.AST]:
    """The returns after which code of the function still runs: those inside a ``try … finally`` or a ``with``."""
    return {
        child
        for node in own_statements(function)
        if isinstance(node, (ast.With, ast.AsyncWith)) or getattr(node, "finalbody", None)
        for child in ast.walk(node)
        if isinstance(child, ast.Return)
    }


def returns_that_leave_a_with(body: list[ast.stmt]) -> set[ast.AST]:
    """The returns after whose value the first step is to exit a ``with``.

    Leaving a ``for``, a block of a ``try`` or a handler comes with an instruction on the line of the ``return``; in a
    ``finally`` only if an exception arrived there.
    """
    found: set[ast.AST] = set()
    stack = [(body, False)]
    while stack:
        block, inside = stack.pop()
        for node in block:
            if isinstance(node, ast.Return) and inside:
                found.add(node)
            elif isinstance(node, (ast.With, ast.AsyncWith)):
                stack.append((node.body, True))
            elif isinstance(node, ast.Match):
                stack += [(case.body, inside) for case in node.cases]
            elif isinstance(node, _TRIES):
                stack += [(node.body, False), (node.orelse, inside and not node.finalbody), (node.finalbody, False)]
                stack += [(handler.body, False) for handler in node.handlers]
            elif isinstance(node, (ast.If, ast.For, ast.AsyncFor, ast.While)):
                stack += [(node.body, inside and isinstance(node, (ast.If, ast.While))), (node.orelse, inside)]
    return found
