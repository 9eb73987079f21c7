"""What an edit did: for each layer how often it fired, on which shape, and whether it changed anything."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from astcapture.edits.held import is_tensor


@dataclass
class Receipt:
    """What an edit did on one layer.

    Attributes:
        fired: how often it was given a value.
        changed: whether one of the values that it returned differed from what it was given.
        shape, dtype: of the last value; None of what is no tensor or array.
        lines: the lines of the source where it fired.
    """

    fired: int = 0
    changed: bool = False
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    lines: dict[int, None] = field(default_factory=dict)
    _dtype: Any = field(default=None, repr=False, compare=False)

    def fires(self, value: Any, lineno: int) -> None:
        """Note that the edit was given a value."""
        self.fired += 1
        self.lines[lineno] = None
        # Mostly it is as it was the last time; to put that in words takes as long as all the rest.
        if not is_tensor(value):
            self.shape, self.dtype = form_of(value)
        elif value.shape != self.shape or value.dtype != self._dtype:
            self.shape, self.dtype = form_of(value)
            self._dtype = value.dtype

    def __repr__(self) -> str:
        shape = "" if self.shape is None else f" on {self.dtype or 'values'} {self.shape}"
        times = "once" if self.fired == 1 else f"{self.fired} times"
        return f"<Receipt: fired {times}{shape}, {'changed values' if self.changed else 'changed nothing'}>"


def same_form(value: Any, other: Any) -> bool:
    """Whether both are tensors or arrays of one shape and dtype; by far most are, and this is the quickest to ask."""
    try:
        return bool(value.dtype == other.dtype and value.shape == other.shape)
    except Exception:
        return False


def form_of(value: Any) -> tuple[tuple[int, ...] | None, str | None]:
    """The shape and dtype of a tensor or an array."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if dtype is None or shape is None:
        return None, None
    return tuple(shape), str(dtype).rpartition(".")[2]
