"""The gradient that reaches a captured tensor in backward, by a hook on the node of the graph that made it.

The node stays out of sight: the tensor's own hooks, ``retains_grad`` and ``.grad`` are as they were.
And it belongs to the version that was captured: after a change in place the tensor has another node.
The graph holds the hook, the hook knows the `Gradient` weakly, and that holds no graph: a record
keeps no graph alive, and a graph keeps no record.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from astcapture.errors import CaptureError
from astcapture.record.deferred import held, read
from astcapture.record.options import PLAIN, Conversion
from astcapture.record.torch.attention_weights import is_of_attention
from astcapture.record.torch.conversion import convert
from astcapture.record.torch.fused_gradient import watched, why_unknown
from astcapture.record.torch.stand_in import NoRoom
from astcapture.record.torch.transforms import is_wrapped
from astcapture.record.torch.unseen import Unseen, is_watched
from astcapture.record.weight import EVENT, rough_size

#: Called with the bytes of a gradient before it is kept; False says that there is no room.
Room = Callable[[int], bool]
#: From the gradient of the tensor that is watched to what is kept.
Taken = Callable[[Any, Conversion, Room], Any]


class Gradient:
    """What came back for one captured tensor; nothing until backward has reached it.

    Attributes:
        error: why there is none although one came, or may have come.
    """

    __slots__ = ("__weakref__", "_handle", "_hook", "_how", "_leaf", "_room", "_value", "error")

    def __init__(self, how: Conversion, room: Room = lambda size: True) -> None:
        self._how = replace(how, copy=True, grad=False)
        self._room = room
        self._value: Any = None
        self._hook: Callable[[], Any] = lambda: None
        self._handle: Any = None
        self._leaf: Any = None
        self.error: str | None = None

    @classmethod
    def out_of_reach(cls, why: str) -> Gradient:
        """One that cannot come, for a reason that is told to who asks for it."""
        gradient = cls(PLAIN)
        gradient.error = why
        return gradient

    @property
    def value(self) -> Any:
        """The gradient, of several backward passes their sum; None as long as none has come.

        Raises:
            CaptureError: it could not be kept.
        """
        if self.error is not None:
            raise CaptureError(f"the gradient could not be kept: {self.error}")
        return read(self._value)

    @property
    def held(self) -> Any:
        """What is in memory for it."""
        return held(self._value)

    @property
    def pending(self) -> bool:
        """Whether none has come, and one still may: the graph is alive."""
        return self._value is None and self.error is None and self._hook() is not None

    def wait_for(self, context: Any) -> None:
        """The tensor to watch comes later, as long as `context` lives."""
        self._hook = weakref.ref(context)

    def receive(self, gradient: Any, taken: Taken | None = None) -> None:
        """Take in what one backward pass brings; called by torch, and so raises nothing.

        Args:
            gradient: that of the tensor that is watched.
            taken: what is to be kept of it, if not the gradient itself as the options say.
        """
        if is_watched():
            with Unseen():
                self._receive(gradient, taken)
        else:
            self._receive(gradient, taken)

    def _receive(self, gradient: Any, taken: Taken | None) -> None:
        try:
            if taken is None and not self._room(rough_size(gradient) + EVENT):
                raise NoRoom
            kept = convert(gradient, self._how) if taken is None else taken(gradient, self._how, self._room)
            self._value = kept if self._value is None else read(self._value) + read(kept)
        except NoRoom:
            self.error = "the memory limit was reached"
        except Exception as error:
            self.error = str(error) if isinstance(error, CaptureError) else f"{type(error).__name__}: {error}"

    def watch(self, value: Any) -> bool:
        """Wait for the gradient of a tensor, or of what stands for attention weights; False where none can come.

        None comes for tensors without a graph, and inside ``torch.func`` transforms, whose graphs are their own.
        """
        if not is_of_attention(value):
            return self._watch(value, None)
        tensor, taken = watched(value)
        waits = self._watch(tensor, taken)
        if waits:
            self.error = why_unknown(value)
        return waits

    def _watch(self, tensor: Any, taken: Taken | None) -> bool:
        if not tensor.requires_grad or is_wrapped(tensor):
            return False
        node, index = tensor.grad_fn, tensor.output_nr
        leaf = node is None
        if leaf:
            # Its node lives no longer than a graph in which the tensor is used, and there may be none yet.
            node = self._leaf = _leaf_node(tensor)
        me = weakref.ref(self)

        def hook(gradients: tuple[Any, ...]) -> None:
            gradient, waiting = gradients[index], me()
            if waiting is not None and gradient is not None:
                waiting.receive(gradient, taken)
                if leaf:
                    waiting._leave()

        self._hook = weakref.ref(hook)
        handle = node.register_prehook(hook)
        if leaf:
            self._handle = handle
        return True

    def _leave(self) -> None:
        """A leaf outlives its graphs, and the next backward is none of this record's business."""
        if self._handle is not None:
            self._handle.remove()
        self._handle = self._leaf = None

    def __del__(self) -> None:
        self._leave()


def _leaf_node(tensor: Any) -> Any:
    """The node that adds up the gradient of a leaf."""
    torch = sys.modules["torch"]
    with torch.enable_grad():
        return tensor.view_as(tensor).grad_fn.next_functions[0][0]
