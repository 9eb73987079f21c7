"""Operations of ours that no mode of the program's sees: FLOP counters, policies of checkpoints, `DebugMode`, tracers.

What a mode saw of them, it would count, print, write down, or hand to the program as its own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


def _none() -> int:
    return 0


#: How many modes of either kind this thread is in: functions of torch's own, once it is imported.
dispatch_modes: Callable[[], int] = _none
function_modes: Callable[[], int] = _none
#: Whether ``torch.jit.trace`` writes down what this thread does; another.
is_jit_traced: Callable[[], Any] = _none


def find() -> None:
    """Look for torch's functions among the imported modules."""
    global dispatch_modes, function_modes, is_jit_traced
    home = sys.modules.get("torch._C")
    dispatch_modes = getattr(home, "_len_torch_dispatch_stack", _none)
    function_modes = getattr(home, "_len_torch_function_stack", _none)
    is_jit_traced = getattr(home, "_is_tracing", _none)


def is_watched() -> bool:
    """Whether something would see an operation. The mode of ``torch.set_default_device`` looks at none of ours."""
    return bool(dispatch_modes() or is_jit_traced()) or any(map(_sees, range(function_modes())))


def _sees(index: int) -> bool:
    mode = sys.modules["torch._C"]._get_function_stack_at(index)
    return type(mode).__module__ != "torch.utils._device"


class Unseen:
    """A context whose operations nothing sees: no mode, and no tracer.

    In it a tensor without data, of a program that is written down, is no longer known for one: ask before.
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
