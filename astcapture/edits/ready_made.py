"""What ready-made edits have in common: the part of a value that is changed, and how the result is put together.

Each gives a new value of the same shape, dtype and device: it copies the value and assigns to the chosen part, as
``x = x.clone(); x[:, 3] = x[:, 3] * 0.5`` does. Choosing by a mask costs three times as much or more. What is not
chosen stays as it is, NaN and -0.0 too. Gradients flow as through those lines.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from astcapture.edits.held import Held, is_tensor, prepared
from astcapture.edits.slices import Index, Slices
from astcapture.errors import EditError


class ReadyMade:
    """A ready-made edit: a function of a value that returns the edited one.

    Attributes:
        name: the function that made it.
        slices: the part of the value that it changes.
        needs_call: whether it must know the number of the execution.
    """

    needs_call = False
    #: Whether `changed` returns new memory, which can replace the whole value.
    makes_new = False

    def __init__(self, name: str, slices: Slices) -> None:
        self.name = name
        self.slices = slices
        slices.text = self.describe()

    def __call__(self, value: Any, site: Any = None) -> Any:
        """The edited value.

        Args:
            value: a torch tensor or a NumPy array.
            site: the `Site`; `noise` and `patch` ask it for the layer.

        Raises:
            EditError: the value is something else, or the edit does not fit it.
        """
        if not (is_tensor(value) or _is_array(value)):
            raise EditError(f"{self.describe()}: edits tensors and arrays, and {label_of(site)} is a {_kind(value)}")
        index = self.slices.index(value.shape)
        part = value if index is None else value[index]
        new = self.changed(part, value, site)
        if hasattr(new, "dtype") and new.dtype != value.dtype:
            if _loses(new, value):
                raise EditError(
                    f"{self.describe()}: makes {dtype_of(new)} of {label_of(site)}, which is {dtype_of(value)}"
                )
            new = new.to(value.dtype) if is_tensor(new) else new.astype(value.dtype)
        return new if index is None and self.makes_new else put(value, index, new)

    @abstractmethod
    def changed(self, part: Any, value: Any, site: Any) -> Any:
        """What replaces a part of the value: anything that can be assigned to it."""

    @property
    def value(self) -> Any:
        """The number or tensor. A new one applies from the next call on; compiled code does not compile anew."""
        raise AttributeError(f"{self.describe()} has no value")

    @value.setter
    def value(self, new: Any) -> None:
        raise AttributeError(f"{self.describe()} has no value to set")

    def arguments(self) -> str:
        """What is written before the slices."""
        return ""

    def describe(self) -> str:
        """The edit as it is written: ``scale(0.5, heads=[3])``."""
        return f"{self.name}({', '.join(filter(None, (self.arguments(), str(self.slices))))})"

    __repr__ = describe


class WithValue(ReadyMade):
    """One with a number or a tensor that is spread over the part."""

    def __init__(self, name: str, argument: str, value: Any, slices: Slices) -> None:
        self.held = Held(value, f"{name}: {argument}")
        super().__init__(name, slices)

    @property
    def value(self) -> Any:
        return self.held.value

    @value.setter
    def value(self, new: Any) -> None:
        self.held.value = new

    def arguments(self) -> str:
        return str(self.held)

    def operand(self, part: Any) -> Any:
        prepared(self.held.key)
        if not self.held.fits(part):
            shapes = f"{tuple(self.held.tensor.shape)} is not spread over {tuple(part.shape)}"
            raise EditError(f"{self.describe()}: a tensor of shape {shapes}, the part of the value that is edited")
        return self.held.operand(part)


def put(value: Any, index: Index | None, new: Any) -> Any:
    """A copy of the value with something else in the place of a part."""
    out = value.clone() if is_tensor(value) else value.copy()
    out[... if index is None else index] = new
    return out


def _is_array(value: Any) -> bool:
    import numpy

    return isinstance(value, numpy.ndarray)


def _loses(new: Any, value: Any) -> bool:
    """Whether an assignment would drop the fraction or the imaginary part of a number."""
    return rank(new) > rank(value)


def rank(value: Any) -> int:
    if is_tensor(value):
        whole = 0 if str(value.dtype) == "torch.bool" else 1
        return 3 if value.is_complex() else 2 if value.is_floating_point() else whole
    return {"b": 0, "f": 2, "c": 3}.get(value.dtype.kind, 1)


def dtype_of(value: Any) -> str:
    return str(value.dtype).rpartition(".")[2]


def label_of(site: Any) -> str:
    return f"{site.label}" if site is not None else "the value"


def _kind(value: Any) -> str:
    return type(value).__name__
