"""Copies from an accelerator to the CPU without blocking the model.

The copy goes into pinned memory, on the stream that computed the value; a CUDA event after it shows when it is
complete. Pinned memory is scarce and cannot be swapped, so completed copies are moved to ordinary memory when too much
of it is in use.
"""

from __future__ import annotations

import sys
import weakref
from collections import deque
from typing import Any

from astcapture.record.deferred import Deferred

#: The bytes of pinned memory that may be in use before completed copies are moved.
PINNED = 256 * 1024 * 1024


class Transfer(Deferred):
    """A copy in progress: `read` waits until it is complete."""

    __slots__ = ("__weakref__", "_event", "_pinned", "_tensor")

    def __init__(self, pinned: Any, event: Any) -> None:
        self._pinned = pinned
        self._event = event
        self._tensor: Any = None
        _use(pinned.nbytes)

    @property
    def arrived(self) -> bool:
        return self._tensor is not None or bool(self._event.query())

    def read(self) -> Any:
        if self._tensor is None:
            self._event.synchronize()
            pinned = self._pinned
            if pinned is not None:  # else another thread has just moved it
                self._tensor = pinned.clone()
                self._let_go()
        return self._tensor

    def _let_go(self) -> None:
        pinned, self._pinned = self._pinned, None
        if pinned is not None:
            _use(-pinned.nbytes)

    def __del__(self) -> None:
        self._let_go()

    @property
    def held(self) -> Any:
        pinned = self._pinned
        return self._tensor if pinned is None else pinned


# The copies, oldest first, and the bytes of pinned memory that they use.
_under_way: deque[weakref.ref[Transfer]] = deque()
_used = 0


def _use(size: int) -> None:
    global _used
    _used += size


def can_transfer(tensor: Any, device: str) -> bool:
    """Whether `tensor` can be copied to `device` asynchronously: a dense tensor, from CUDA to the CPU."""
    torch = sys.modules["torch"]
    return bool(
        device.partition(":")[0] == "cpu"
        and tensor.is_cuda
        and type(tensor) in (torch.Tensor, torch.nn.Parameter)
        and tensor.layout is torch.strided
        and not (tensor.is_quantized or tensor.is_nested or tensor.is_conj() or tensor.is_neg())
    )


def transfer(tensor: Any) -> Transfer:
    """Start copying a CUDA tensor to the CPU, on the current stream of its device.

    Raises:
        RuntimeError: a CUDA graph is being captured, so nothing runs and there is no value yet.
    """
    torch = sys.modules["torch"]
    if torch.cuda.is_current_stream_capturing():
        raise RuntimeError("a CUDA graph is being captured, so there is no value to copy to the CPU yet")
    with torch.cuda.device(tensor.device):
        # With the same strides, so that the copy is one block of bytes.
        pinned = torch.empty_like(tensor, device="cpu", pin_memory=True)
        pinned.copy_(tensor, non_blocking=True)
        event = torch.cuda.Event()
        event.record()
    # The caller may delete the tensor at once; its memory must not be reused before the copy is complete.
    tensor.record_stream(torch.cuda.current_stream(tensor.device))
    sent = Transfer(pinned, event)
    _under_way.append(weakref.ref(sent))
    _move_on()
    return sent


def _move_on() -> None:
    """Free the pinned memory of completed copies, oldest first, while too much of it is in use."""
    while _under_way:
        try:
            reference = _under_way.popleft()
        except IndexError:
            return  # another thread took it
        oldest = reference()
        if oldest is None or oldest.held is oldest._tensor:
            continue  # deleted, or already read
        if _used <= PINNED or not oldest.arrived:
            _under_way.appendleft(reference)
            return
        oldest.read()
