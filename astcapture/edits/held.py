"""The number or the tensor of a ready-made edit, kept so that compiled code sees a new one without compiling anew.

A number is kept in a tensor without axes on the CPU, in float64. Torch computes with it as with a Python number: it
changes neither the dtype nor the device of the result. A graph takes it as an input, so it can be filled with another.
"""

from __future__ import annotations

import math
import sys
import weakref
from typing import Any

from astcapture.errors import EditError


def is_tensor(value: Any) -> bool:
    """Whether it is a torch tensor; torch.compile traces this."""
    return "torch" in sys.modules and isinstance(value, sys.modules["torch"].Tensor)


class Held:
    """One number or tensor.

    What compiled code reads of it is `is_number`, `is_whole` for integers, and the tensor: if one of the first two
    changes, it compiles anew.
    """

    def __init__(self, value: Any, what: str) -> None:
        self.what = what
        self.number: Any = None
        self.is_number = False
        self.is_whole = False
        self.tensor: Any = None
        # Text, since the compiler may treat a whole number as one that varies.
        self.key = str(id(self))
        self._take(value)

    def _take(self, value: Any) -> None:
        self.number, self.tensor = _number(value), None
        self.is_number = self.number is not None
        self.is_whole = _is_whole(self.number)
        if not self.is_number:
            self._take_array(value)
        elif "torch" in sys.modules:
            self.make()
        else:
            _not_made[self.key] = weakref.ref(self)

    def _take_array(self, value: Any) -> None:
        if is_tensor(value):
            # A copy, since setting another value writes into it; one to be trained is the user's own.
            self.tensor = value if value.requires_grad else value.detach().clone()
            return
        import numpy

        try:
            array = numpy.array(value)
        except ValueError:
            array = numpy.array(None)
        if array.dtype.kind not in "biufc":
            raise EditError(f"{self.what}={value!r}: write a number, a tensor or an array")
        self.tensor = array
        if "torch" in sys.modules:
            self.make()
        else:
            _not_made[self.key] = weakref.ref(self)

    def make(self) -> None:
        """Make the tensor, once torch is imported."""
        torch = sys.modules["torch"]
        if not self.is_number:
            if not is_tensor(self.tensor):
                self.tensor = torch.as_tensor(self.tensor)
        elif self.tensor is None:
            dtype = torch.complex128 if isinstance(self.number, complex) else torch.float64
            self.tensor = torch.tensor(self.number, dtype=dtype, device="cpu")

    @property
    def value(self) -> Any:
        """The number, or the tensor or array."""
        return self.number if self.is_number else self.tensor

    @value.setter
    def value(self, new: Any) -> None:
        number = _number(new)
        if number is not None and self.is_number and isinstance(number, complex) == isinstance(self.number, complex):
            if self.tensor is not None:
                self.number, self.is_whole = number, _is_whole(number)
                self.tensor.fill_(number)
                return
        elif number is None and not self.is_number and is_tensor(self.tensor):
            given = new if is_tensor(new) else sys.modules["torch"].as_tensor(new)
            if given.shape == self.tensor.shape and not given.requires_grad and self.tensor.is_leaf:
                with sys.modules["torch"].no_grad():
                    self.tensor.copy_(given)
                return
        self._take(new)

    def operand(self, part: Any) -> Any:
        """What to compute with, for this part of a value: it lies on the same device, or has no axes."""
        prepared(self.key)
        if not is_tensor(part):
            return self.number if self.is_number else _as_array(self.tensor)
        if not self.is_number:
            return self.tensor if self.tensor.device == part.device else self.tensor.to(part.device)
        if not (part.is_floating_point() or part.is_complex()) and self.is_whole:
            return self.tensor.to(sys.modules["torch"].int64)
        return self.tensor

    def fits(self, part: Any) -> bool:
        """Whether it can be spread over a part without making it larger."""
        if self.is_number:
            return True
        own, shape = self.tensor.shape, part.shape
        if len(own) > len(shape):
            return False
        return all(size in (1, wanted) for size, wanted in zip(own[::-1], shape[::-1], strict=False))

    def __str__(self) -> str:
        """As it is written: a number, or ``<float32 (64,)>``."""
        return in_words(self.value)


def in_words(value: Any) -> str:
    """A number as it is written, a tensor or an array as its dtype and shape."""
    if not hasattr(value, "dtype"):
        return repr(value)
    return f"<{str(value.dtype).rpartition('.')[2]} {tuple(value.shape)}>"


#: The ones whose tensors are not made, since torch was not imported when they were given.
_not_made: dict[str, weakref.ref[Held]] = {}


def prepared(key: str) -> bool:
    """Make the tensor of a number if it is not made. The compiler calls this while it traces, for its effect."""
    found = _not_made.pop(key, None) if _not_made and "torch" in sys.modules else None
    held = found() if found is not None else None
    if held is not None:
        held.make()
    return True


prepared._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _number(value: Any) -> Any:
    """A Python number; None for what is none, or is a tensor to be trained."""
    if isinstance(value, (bool, int, float, complex)):
        return value
    if getattr(value, "shape", None) == () and not getattr(value, "requires_grad", False) and hasattr(value, "item"):
        number = value.item()
        return number if isinstance(number, (bool, int, float, complex)) else None
    return None


def _is_whole(number: Any) -> bool:
    return isinstance(number, (bool, int, float)) and math.isfinite(number) and number == int(number)


def _as_array(value: Any) -> Any:
    return value.detach().cpu().numpy() if is_tensor(value) else value
