"""Finds the calls that a function makes itself, with the names under which they are written."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

from astcapture.rewrite.binds import Slot, own_expressions
from astcapture.rewrite.find import FunctionNode
from astcapture.rewrite.lines import last_line
from astcapture.rewrite.nodes import PREFIX

#: As many characters of a call are shown.
_SHOWN = 60


class WrittenCall(NamedTuple):
    """A call in a function's source.

    Attributes:
        node: the call.
        slot: the position of its result: of the call, or of the ``await`` in front of it.
        result: the node there.
    """

    node: ast.Call
    slot: Slot
    result: ast.Call | ast.Await

    @property
    def name(self) -> str:
        """The last name of the callee, ``softmax`` in ``F.softmax(x)``; its source where it ends with none."""
        callee = self.node.func
        if isinstance(callee, ast.Name):
            return callee.id
        return callee.attr if isinstance(callee, ast.Attribute) else shortened(ast.unparse(callee))

    @property
    def source(self) -> str:
        """The call as text, on one line."""
        return shortened(ast.unparse(self.node))

    @property
    def last_line(self) -> int:
        """The line of the last instruction that computes the result."""
        return last_line(self.result)

    def is_named(self, name: str) -> bool:
        """Whether the callee is written `name` or ends in ``.name``."""
        return self.name == name if "." not in name else is_written_as(self.node, name)


def is_written_as(call: ast.Call, name: str) -> bool:
    """Whether a callee is written `name` or ends in ``.name``, where that is a name or names with dots."""
    callee, last = call.func, name.rpartition(".")[2]
    if (callee.attr if isinstance(callee, ast.Attribute) else getattr(callee, "id", None)) != last:
        return False
    written = ast.unparse(callee) if "." in name else last
    return written == name or written.endswith("." + name)


def written_calls(function: FunctionNode) -> list[WrittenCall]:
    """The calls that a function makes itself, in the order of the source.

    Those in its comprehensions are among them. Those in the lambdas, functions and classes that it defines are not, and
    nor are those in its decorators, defaults and annotations, which run before it does.
    """
    return list(_written_calls(function))


def _written_calls(function: FunctionNode) -> Iterator[WrittenCall]:
    awaits: dict[ast.expr, tuple[Slot, ast.Await]] = {}
    for slot, node in own_expressions(function, lambdas=False):
        if isinstance(node, ast.Await):
            awaits[node.value] = slot, node
        elif isinstance(node, ast.Call) and not _is_ours(node):
            yield WrittenCall(node, *awaits.get(node, (slot, node)))


def _is_ours(call: ast.Call) -> bool:
    """Whether rewriting inserted a call."""
    return isinstance(call.func, ast.Name) and call.func.id.startswith(PREFIX)


def shortened(text: str) -> str:
    """A text on one line, cut where it is long."""
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
