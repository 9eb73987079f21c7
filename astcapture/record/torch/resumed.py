"""Functions of the user's that torch's compiler has cut in pieces, where it breaks a graph.

The code after a break is a function of the compiler's, which is given those locals alone that it still reads by name.
Others are not in its ``locals()``, bound as they may have been: whether such a name was bound is not known there.
"""

from __future__ import annotations

import threading
from types import CodeType
from typing import Any

NAME_IS_GONE = (
    "torch.compile broke the graph before, and of the locals it keeps those that the function still reads, which this "
    "one is not: read it before the return, mend the graph break, or run without torch.compile"
)


def is_resumed(code: CodeType) -> bool:
    """Whether a function is what comes after a graph break."""
    return code.co_name.startswith("torch_dynamo_resume_in")


# --- traced by the compiler


def traces_resumed(module: str) -> bool:
    """Whether the compiler traces such a function, of a module."""
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
    tracer = context._i_will_not_complain_if_bc_breaks_InstructionTranslator()
    frame = frame_of(tracer.symbolic_locals["module"].as_python_constant(), tracer)
    _found.resumed = frame is not None and is_resumed(frame.f_code)


def frame_of(module: str, tracer: Any) -> Any:
    """What traces the user's function: the first around ours that is of its module."""
    while tracer is not None and tracer.f_globals.get("__name__") != module:
        tracer = getattr(tracer, "parent", None)
    return tracer
