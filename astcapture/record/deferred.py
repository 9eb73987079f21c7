"""Values that are not ready yet, or must be checked when they are read."""

from __future__ import annotations

from typing import Any

from astcapture.errors import CaptureError
from astcapture.record.containers import whole
from astcapture.record.kinds import is_a


class Deferred:
    """A placeholder for a value; `read` returns the value."""

    __slots__ = ()

    def read(self) -> Any:
        """The value.

        Raises:
            CaptureError: the value is lost; the message says why.
        """
        raise NotImplementedError

    @property
    def held(self) -> Any:
        """The object that is kept in memory: the value as it is now, modified or not."""
        raise NotImplementedError


class Shared(Deferred):
    """A tensor that was not copied, with its version counter at that time."""

    __slots__ = ("tensor", "version")

    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor
        # Inference tensors have no version counter.
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
    """A container that we created, with a `Deferred` in place of one value or more."""

    __slots__ = ("container",)

    def __init__(self, container: Any) -> None:
        self.container = container

    def read(self) -> Any:
        return whole(self.container, read)

    @property
    def held(self) -> Any:
        return self.container


def read(value: Any) -> Any:
    """The value itself, for a placeholder or a plain value."""
    return value.read() if is_a(value, Deferred) else value


def held(value: Any) -> Any:
    """The object in memory for a value, without checking whether it may be read."""
    return value.held if is_a(value, Deferred) else value
