"""Values that are not there yet, or must be looked at once more before they are handed out."""

from __future__ import annotations

from typing import Any

from astcapture.errors import CaptureError
from astcapture.record.containers import whole
from astcapture.record.kinds import is_a


class Deferred:
    """Stands where a value stands; `read` gives the value."""

    __slots__ = ()

    def read(self) -> Any:
        """The value.

        Raises:
            CaptureError: it is not to be had any more; the message says why.
        """
        raise NotImplementedError

    @property
    def held(self) -> Any:
        """What is kept in memory for it: the value as it is now, changed or not."""
        raise NotImplementedError


class Shared(Deferred):
    """A tensor that was not copied, with the number of changes in place that torch had counted up to then."""

    __slots__ = ("tensor", "version")

    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor
        # Tensors made in inference mode count no changes.
        self.version = None if tensor.is_inference() else tensor._version

    def read(self) -> Any:
        if self.version is not None and self.tensor._version != self.version:
            times = self.tensor._version - self.version
            raise CaptureError(
                f"this tensor of shape {tuple(self.tensor.shape)} was captured with copy=False and modified in place "
                f"{'once' if times == 1 else f'{times} times'} since, so the captured value is lost: remove copy=False"
            )
        return self.tensor

    @property
    def held(self) -> Any:
        return self.tensor


class Parts(Deferred):
    """A container of our own making, in which a `Deferred` stands for one value or more."""

    __slots__ = ("container",)

    def __init__(self, container: Any) -> None:
        self.container = container

    def read(self) -> Any:
        return whole(self.container, read)

    @property
    def held(self) -> Any:
        return self.container


def read(value: Any) -> Any:
    """A value as it is handed out."""
    return value.read() if is_a(value, Deferred) else value


def held(value: Any) -> Any:
    """What is in memory for a value, without a question whether it may be handed out."""
    return value.held if is_a(value, Deferred) else value
