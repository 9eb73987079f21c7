"""Detects whether a function runs again because ``torch.utils.checkpoint`` recomputes the forward in backward.

Such a run is recognised on the stack, while a backward pass runs in this thread. A function that a custom
``autograd.Function`` calls in its own backward is not one. Values of the second run are not recorded.

With ``use_reentrant=True`` the graph is built only in the second run, so the gradient of a value arrives at the tensor
of the second run. The two are matched by the context that both runs share, in the order of the values.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any

from astcapture.record.torch.gradient import Gradient


class Recomputed(Exception):
    """Raised if a value would be recorded a second time."""


def _nowhere() -> int:
    return -1


#: The id of the backward pass that runs in this thread; -1 if none does.
backward_pass: Callable[[], int] = _nowhere
# The code objects that run the forward again in either variant, and others that the reentrant one calls.
_again: CodeType | None = None
_backward: CodeType | None = None
_autograd: CodeType | None = None
_forward: CodeType | None = None

#: Gradients that wait for the second run of a context, each with its site.
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
    function = getattr(home, "CheckpointFunction", None)  # torch may be partly imported
    _backward = getattr(getattr(function, "backward", None), "__code__", None)
    _forward = getattr(getattr(function, "forward", None), "__code__", None)
    _autograd = getattr(getattr(sys.modules.get("torch.autograd"), "backward", None), "__code__", None)


def _codes_in(function: Any) -> Iterator[CodeType]:
    # A context manager wraps a generator function.
    code = getattr(getattr(function, "__wrapped__", function), "__code__", None)
    return (one for one in getattr(code, "co_consts", ()) if isinstance(one, CodeType))


def is_second_run(frame: FrameType | None) -> bool:
    """Whether this frame, or one of its callers, is part of a second run."""
    return _second_run(frame) is not None


def _second_run(frame: FrameType | None) -> FrameType | None:
    """The torch frame that runs the forward again; the reentrant backward also calls other backward code."""
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
