"""Functions of ours that torch's compiler leaves alone: where it breaks a graph, it compiles whatever is called next.

It is told by a mark on the code objects, which its hook into the interpreter reads first: no frame is put around a
function, and torch is not imported for it. What such a function calls is left alone too.
"""

from __future__ import annotations

import sys
from types import CodeType
from typing import Any

_codes: list[CodeType] = []
# How many of them the compiler has been told of.
_told = 0


def leave_alone(*functions: Any) -> None:
    """Have the compiler leave these functions alone, from the moment on that it is there."""
    _codes.extend(function.__code__ for function in functions)
    if _told:
        tell_compiler()


def tell_compiler() -> None:
    """Tell the compiler, where torch has been imported; to be called before it compiles anything."""
    global _told
    home = getattr(getattr(sys.modules.get("torch._C"), "_dynamo", None), "eval_frame", None)
    if home is None or _told == len(_codes):
        return
    new, _told = _codes[_told:], len(_codes)
    mark = getattr(home, "set_code_exec_strategy", None)
    for code in new:
        if mark is not None:
            mark(code, home._FrameExecStrategy(home._FrameAction.SKIP, home._FrameAction.SKIP))
        elif hasattr(home, "skip_code"):  # before torch 2.7
            home.skip_code(code)
