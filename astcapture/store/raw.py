"""An array on its way to or from a file: its dtype, its shape, and the address of its bytes."""

from __future__ import annotations

from typing import Any, NamedTuple

from astcapture.errors import CaptureError

#: The structure of a stored value: ``("torch", "float32", (1, 3))``, ``("numpy", ...)``, ``("json", arrays)``.
Form = tuple[Any, ...]


class Refused(CaptureError):
    """A value cannot be stored; the message names its type and the reason."""


class Damaged(CaptureError):
    """A file has changed since it was written; the message names it and the reason."""


class Raw(NamedTuple):
    """Bytes in memory.

    Attributes:
        form: the form of the value when it is read.
        dtype: the dtype as `safetensors.TensorSpec` spells it, ``float32``.
        shape: the shape of the stored array; it can differ from that of the value (complex numbers are pairs).
        address, nbytes: where the bytes are in memory.
        owner: the object that keeps this memory alive.
    """

    form: Form
    dtype: str
    shape: tuple[int, ...]
    address: int
    nbytes: int
    owner: Any

    def buffer(self) -> Any:
        """The bytes, without a copy."""
        if not self.nbytes:
            return b""
        import ctypes  # takes longer to import than everything else that install() needs

        return (ctypes.c_ubyte * self.nbytes).from_address(self.address)
