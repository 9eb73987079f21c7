"""Hides our operations from modes of the program: FLOP counters, checkpoint policies, `DebugMode`, tracers.

A mode that saw them would count, print or record them, or show them to the program as its own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


def _none() -> int:
    return 0


#: The number of active modes of either kind in this thread; torch's functions, once it is imported.
dispatch_modes: Callable[[], int] = _none
function_modes: Callable[[], int] = _none
#: Whether ``torch.jit.trace`` records this thread; also one of torch's functions.
is_jit_traced: Callable[[], Any] = _none


def find() -> None:
    """Look for torch's functions among the imported modules."""
    global dispatch_modes, function_modes, is_jit_traced
    home = sys.modules.get("torch._C")
    dispatch_modes = getattr(home, "_len_torch_dispatch_stack", _none)
    function_modes = getattr(home, "_len_torch_function_stack", _none)
    is_jit_traced = getattr(home, "_is_tracing", _none)


def is_watched() -> bool:
    """Whether a mode would see an operation. The mode of ``torch.set_default_device`` does not affect ours."""
    return bool(dispatch_modes() or is_jit_traced()) or any(map(_sees, range(function_modes())))


def _sees(index: int) -> bool:
    mode = sys.modules["torch._C"]._get_function_stack_at(index)
    return type(mode).__module__ != "torch.utils._device"


class Unseen:
    """A context in which no mode and no tracer sees operations.

    Inside it, tensors without data from a traced program can no longer be recognised: check before.
    """

    def __enter__(self) -> None:
        self._functions: list[Any] = []
        self._without: Any = None
        self._trace: Any = None
        home: Any = sys.modules.get("torch.utils._python_dispatch")
        if is_jit_traced():
            self._trace = sys.modules["torch._C"]._get_tracing_state()
            sys.modules["torch._C"]._set_tracing_state(None)
        if hasattr(home, "_disable_current_modes"):
            self._without = home._disable_current_modes()
            self._without.__enter__()
        pop = sys.modules["torch._C"]._pop_torch_function_stack
        self._functions = [pop() for _ in range(function_modes())]

    def __exit__(self, *error: Any) -> None:
        for mode in reversed(self._functions):
            sys.modules["torch._C"]._push_on_torch_function_stack(mode)
        if self._without is not None:
            self._without.__exit__(None, None, None)
        if self._trace is not None:
            sys.modules["torch._C"]._set_tracing_state(self._trace)
