"""Handles user functions that torch.compile splits at a graph break.

The code after a break is a function created by the compiler. It gets only those locals that it still reads by name.
Other locals are missing from its ``locals()``, so it is unknown there whether they were bound.
"""

from __future__ import annotations

import threading
from types import CodeType
from typing import Any, ClassVar

NAME_IS_GONE = (
    "torch.compile broke the graph before the return and kept only the locals that the function reads after the break: "
    "read it again before the return, fix the graph break, or run without torch.compile"
)


class LeftBehind:
    """In place of a local that the code after the break must not get. Its class is named by what the local was."""

    _of: ClassVar[dict[str, LeftBehind]] = {}

    @classmethod
    def of(cls, what: str) -> LeftBehind:
        """The one for a kind of value, with its article: "a generator"."""
        one = cls._of.get(what)
        if one is None:
            one = cls._of[what] = type(what.partition(" ")[2], (cls,), {"what": what})()
        return one


def is_resumed(code: CodeType) -> bool:
    """Whether a function is the code after a graph break."""
    return code.co_name.startswith("torch_dynamo_resume_in")


# --- traced by the compiler


def traces_resumed() -> bool:
    """Whether the compiler is tracing such a function."""
    from torch._dynamo.comptime import comptime

    comptime(_look)
    return _answer()


# --- run by the compiler as it traces


class _Found(threading.local):
    resumed = False


_found = _Found()


def _answer() -> bool:
    return _found.resumed


_answer._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _look(context: Any) -> None:
    _found.resumed = is_resumed(user_frame(context).f_code)


def user_frame(context: Any) -> Any:
    """The compiler's tracer for the user's frame, whose code has called ours."""
    tracer = context._i_will_not_complain_if_bc_breaks_InstructionTranslator()
    while str(tracer.f_globals.get("__name__")).startswith(_BETWEEN):
        tracer = tracer.parent
    return tracer


#: Prefixes of the modules in between: ours and the compiler's.
_BETWEEN = ("astcapture.record.", "torch._dynamo.")
