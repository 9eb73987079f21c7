"""Whether a function runs a second time, for ``torch.utils.checkpoint``, whose backward computes the forward again.

Such a run is found on the stack, and only while a backward pass runs in this thread: a function that a
custom ``autograd.Function`` calls in its own backward is none. Of a run that is one, nothing is recorded.

The variant with ``use_reentrant=True`` builds its graph in the second run alone, so that the gradient of a
value of the first reaches the tensor of the second: the two are brought together by the context that both
runs have, in the order in which the values came.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any

from astcapture.record.torch.gradient import Gradient


class Recomputed(Exception):
    """Raised where a value is about to be recorded that has been recorded before."""


def _nowhere() -> int:
    return -1


#: The number of the backward pass that runs in this thread, -1 where none does.
backward_pass: Callable[[], int] = _nowhere
# The code that runs the forward again, of either variant, and what else the reentrant one calls.
_again: CodeType | None = None
_backward: CodeType | None = None
_autograd: CodeType | None = None
_forward: CodeType | None = None

#: Gradients that wait for the second run of a context, with the site of each.
_waiting: weakref.WeakKeyDictionary[Any, list[tuple[Any, Gradient]]] = weakref.WeakKeyDictionary()


def find() -> None:
    """Look for torch's functions; called once torch is imported."""
    global backward_pass, _again, _backward, _autograd, _forward
    home = sys.modules.get("torch.utils.checkpoint")
    if home is None:
        return
    backward_pass = getattr(sys.modules.get("torch._C"), "_current_graph_task_id", _nowhere)
    generator = getattr(home, "_checkpoint_without_reentrant_generator", None)
    _again = next((code for code in _codes_in(generator) if code.co_name == "recompute_fn"), None)
    function = getattr(home, "CheckpointFunction", None)  # torch may be half imported
    _backward = getattr(getattr(function, "backward", None), "__code__", None)
    _forward = getattr(getattr(function, "forward", None), "__code__", None)
    _autograd = getattr(getattr(sys.modules.get("torch.autograd"), "backward", None), "__code__", None)


def _codes_in(function: Any) -> Iterator[CodeType]:
    # A context manager is made of a generator function, which it wraps.
    code = getattr(getattr(function, "__wrapped__", function), "__code__", None)
    return (one for one in getattr(code, "co_consts", ()) if isinstance(one, CodeType))


def is_second_run(frame: FrameType | None) -> bool:
    """Whether the code of this frame, or of one that it was called from, is run for the second time."""
    return _second_run(frame) is not None


def _second_run(frame: FrameType | None) -> FrameType | None:
    """The frame of torch's that runs the forward again; its backward calls other backward code too."""
    inner = None
    while frame is not None:
        code = frame.f_code
        if code is _again or (code is _backward and inner is not None and inner.f_code is not _autograd):
            return frame
        inner, frame = frame, frame.f_back
    return None


def wait(site: Any, gradient: Gradient) -> bool:
    """Let a gradient wait for the second run, if this is the first run of the reentrant variant."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code is not _forward:
        frame = frame.f_back
    if frame is None:
        return False
    context = frame.f_locals["ctx"]
    _waiting.setdefault(context, []).append((site, gradient))
    gradient.wait_for(context)
    return True


def join(site: Any, tensor: Any) -> None:
    """Give the tensor of a second run to the gradient that waits for it."""
    frame = _second_run(sys._getframe(1))
    waiting = _waiting.get(frame.f_locals.get("ctx"), []) if frame is not None and frame.f_code is _backward else []
    for index, (where, gradient) in enumerate(waiting):
        if where == site:
            del waiting[index]
            gradient.watch(tensor)
            return
