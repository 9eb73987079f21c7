"""An array on its way to a file or out of one: a dtype, a shape, and where its bytes lie."""

from __future__ import annotations

from typing import Any, NamedTuple

from astcapture.errors import CaptureError

#: What a stored value is made of: ``("torch", "float32", (1, 3))``, ``("numpy", ...)``, ``("json", arrays)``.
Form = tuple[Any, ...]


class Refused(CaptureError):
    """A value that cannot be stored; the message names its type and says why."""


class Damaged(CaptureError):
    """A file that is not what was written; the message names it and says how that was seen."""


class Raw(NamedTuple):
    """Bytes in memory.

    Attributes:
        form: what they come back as.
        dtype: as `safetensors.TensorSpec` spells it: ``float32``.
        shape: of the stored array, which can differ from that of the value: complex numbers are pairs.
        address, nbytes: where they lie.
        owner: what keeps them there.
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
        import ctypes  # takes longer to import than the rest of what an install needs

        return (ctypes.c_ubyte * self.nbytes).from_address(self.address)
