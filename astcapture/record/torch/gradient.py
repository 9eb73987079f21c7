"""Records the gradient of a captured tensor with a hook on the graph node that computed it.

The program does not see the hook: the tensor's own hooks, ``retains_grad`` and ``.grad`` do not change. The node
belongs to the captured version of the tensor; after an in-place operation the tensor has another node. The graph
references the hook, the hook references the `Gradient` weakly, and the `Gradient` references no graph. So a record
keeps no graph alive, and a graph keeps no record alive.
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

#: Called with the size of a gradient in bytes before it is kept; returns False if there is no room.
Room = Callable[[int], bool]
#: Converts the gradient of the watched tensor to the value that is kept.
Taken = Callable[[Any, Conversion, Room], Any]


class Gradient:
    """The gradient of one captured tensor; empty until backward has reached it.

    Attributes:
        error: why there is no gradient, although one arrived or may have arrived.
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
        """A gradient that cannot arrive; reading it raises an error with the reason."""
        gradient = cls(PLAIN)
        gradient.error = why
        return gradient

    @property
    def value(self) -> Any:
        """The gradient, summed over backward passes; None before the first.

        Raises:
            CaptureError: it could not be kept.
        """
        if self.error is not None:
            raise CaptureError(f"the gradient could not be kept: {self.error}")
        return read(self._value)

    @property
    def held(self) -> Any:
        """The object in memory."""
        return held(self._value)

    @property
    def pending(self) -> bool:
        """Whether no gradient has arrived yet but one still can, because the graph is alive."""
        return self._value is None and self.error is None and self._hook() is not None

    def wait_for(self, context: Any) -> None:
        """Note that the tensor to watch comes later, as long as `context` is alive."""
        self._hook = weakref.ref(context)

    def receive(self, gradient: Any, taken: Taken | None = None) -> None:
        """Add the gradient of one backward pass. Called by torch, so it raises nothing.

        Args:
            gradient: the gradient of the watched tensor.
            taken: converts it to the value that is kept; default: apply the options.
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
        """Wait for the gradient of a tensor, or of attention weights; False if none can arrive.

        None arrives for tensors without a graph, and inside ``torch.func`` transforms, which have their own graphs.
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
            # Its node lives only as long as a graph that uses the tensor, and there may be none yet.
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
        """Remove the hook from a leaf, which outlives its graphs: later backward passes are not for this record."""
        if self._handle is not None:
            self._handle.remove()
        self._handle = self._leaf = None

    def __del__(self) -> None:
        self._leave()


def _leaf_node(tensor: Any) -> Any:
    """The node that accumulates the gradient of a leaf."""
    torch = sys.modules["torch"]
    with torch.enable_grad():
        return tensor.view_as(tensor).grad_fn.next_functions[0][0]
