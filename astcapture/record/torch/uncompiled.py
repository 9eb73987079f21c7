"""Keeps torch.compile from compiling our functions: after a graph break it compiles every function called next.

The code objects are marked, and the compiler's frame hook checks the mark first. So no wrapper frame is needed, and
torch is not imported for it. Functions called from a marked one are not compiled either.
"""

from __future__ import annotations

import sys
from types import CodeType
from typing import Any

_codes: list[CodeType] = []
# How many of them are marked.
_told = 0


def leave_alone(*functions: Any) -> None:
    """Keep the compiler from compiling these functions, as soon as it is imported."""
    _codes.extend(function.__code__ for function in functions)
    if _told:
        tell_compiler()


def tell_compiler() -> None:
    """Mark the functions if torch is imported; to be called before anything is compiled."""
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
