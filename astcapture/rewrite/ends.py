"""Where a function can end besides the end of its body, so that each path to its end keeps the line where it ends.

What is recorded at the end of a body has no line, and the compiler copies a block without a line to
each jump that leads to it. Up to Python 3.12 a ``try`` spoils that: the jump from the end of its block, or of a
handler, over the handlers behind it has no line itself. Where several paths meet before it (the block ends
with an ``if``, a loop, a ``with``), the copy is given the line of the first handler, which was not run;
on Python 3.12 the last line is visited twice. So there the paths through a ``try`` that a function ends with
are given an end of their own, in its ``else`` and in its handlers; and on Python 3.10, which jumps to the
``else`` likewise, at the end of its block.
"""

from __future__ import annotations

import ast
import sys

_JUMPS_HAVE_NO_LINE = sys.version_info < (3, 13)
_JUMPS_TO_ELSE = sys.version_info < (3, 11)


def blocks_that_end(body: list[ast.stmt]) -> list[tuple[list[ast.stmt], str | None]]:
    """The blocks inside `body`, that of a function, after which the function ends: a ``return`` may follow them.

    Each has the name that a handler unbinds as it ends, or None. An ``else`` that is not there is made. Left
    out are blocks after which code still runs: those in a ``with`` or a ``try … finally``.
    """
    if not _JUMPS_HAVE_NO_LINE:
        return []
    found: list[tuple[list[ast.stmt], str | None]] = []
    stack: list[list[ast.stmt]] = [body]
    while stack:
        block = stack.pop()
        last = block[-1] if block else None
        if isinstance(last, ast.If):
            stack += [last.body, last.orelse]
        elif isinstance(last, (ast.For, ast.AsyncFor, ast.While)):
            stack.append(last.orelse)
        elif isinstance(last, ast.Match):
            stack += [case.body for case in last.cases]
        elif isinstance(last, ast.Try) and not last.finalbody:
            otherwise = last.body if _JUMPS_TO_ELSE and not last.orelse else last.orelse
            ends = [(otherwise, None), *((handler.body, handler.name) for handler in last.handlers)]
            stack += [block for block, _ in ends]
            if not last.orelse and otherwise is not last.body:
                stack.append(last.body)  # what is behind it comes to the end with nothing in between
            found += ends
    return found
