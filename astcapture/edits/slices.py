"""Which part of a value a ready-made edit changes: ``heads=[3]``, ``rows=-1``, ``tokens=range(4, 8)``."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from astcapture.errors import EditError

#: What selects along one axis: a number, several, or a slice.
Chosen = int | Sequence[int] | slice | None
#: An index of a value: one part for each axis.
Index = tuple[Any, ...]

#: What each letter of ``axes`` means.
_LETTERS = {"b": "batch", "h": "heads", "q": "rows", "r": "rows", "t": "rows", "k": "columns", "c": "columns"}
_LETTERS["d"] = "columns"
_EVERYTHING = slice(None)
_ANY = object()


class Slices:
    """The part of a value that is chosen by name, such as heads and rows.

    Without ``axes`` a value of four axes is (batch, heads, rows, columns), one of three (batch, rows, columns).
    ``tokens`` are the rows: the last axis but one.

    Attributes:
        text: the edit as it was written, for messages.
    """

    def __init__(self, axes: str | None = None, /, **chosen: Chosen) -> None:
        self.text = "edit"
        self.axes = axes
        if axes is not None:
            _check_axes(axes)
        given = {name: one for name, one in chosen.items() if one is not None}
        if "rows" in given and "tokens" in given:
            raise EditError("rows= and tokens= are the same axis: pass one of them")
        self._written = given
        self._chosen = tuple((name, _plain(name, one)) for name, one in given.items())

    def __str__(self) -> str:
        """As it is written in a call."""
        listed = [f"{name}={_shown(one)}" for name, one in self._written.items()]
        return ", ".join([*listed, *([f"axes={self.axes!r}"] if self.axes is not None else [])])

    @property
    def single(self) -> dict[str, int]:
        """The axes along which one place is chosen, and which."""
        return {name: one[0] for name, one in self._chosen if isinstance(one, tuple) and len(one) == 1}

    def index(self, shape: Sequence[int], whole: Sequence[int] = ()) -> Index | None:
        """The index of the part in a value of this shape; None for the whole value.

        Args:
            shape: of the value.
            whole: axes that are taken whole, whatever was chosen.

        Raises:
            EditError: an axis is not known, or an index is out of range.
        """
        if not self._chosen:
            return None
        parts: list[Any] = [_EVERYTHING] * len(shape)
        listed: list[int] = []
        for name, one in self._chosen:
            axis = self.axis(name, shape)
            if axis in whole:
                continue
            part = parts[axis] = self._part(name, one, shape, axis)
            if isinstance(part, list):
                listed.append(axis)
        if len(listed) > 1:
            _outer(parts, shape, min(listed), max(listed))
        while parts and parts[-1] is _EVERYTHING:
            parts.pop()  # torch takes a while for each
        return tuple(parts)

    def axis(self, name: str, shape: Sequence[int]) -> int:
        """The axis of that name.

        Raises:
            EditError: a value of this shape has none, or it is not known which.
        """
        count = len(shape)
        wanted = "rows" if name == "tokens" else name
        if self.axes is not None:
            if len(self.axes) != count:
                raise EditError(
                    f"{self.text}: axes={self.axes!r} names {len(self.axes)} axes, and the value has {count}: "
                    f"{_shape(shape)}"
                )
            for axis, letter in enumerate(self.axes):
                if _LETTERS.get(letter) == wanted:
                    return axis
            letters = " or ".join(letter for letter, one in _LETTERS.items() if one == wanted)
            raise EditError(f"{self.text}: no axis of axes={self.axes!r} is {name}: write {letters} for it")
        if wanted == "columns" and count:
            return count - 1
        if wanted == "rows" and count > 1:
            return count - 2
        if wanted == "batch" and count in (3, 4):
            return 0
        if wanted == "heads" and count == 4:
            return 1
        example = {3: "htd" if wanted == "heads" else "btd", 4: "bthd"}.get(count, "bhqk")
        raise EditError(
            f"{self.text}: which axis of a value of shape {_shape(shape)} is {name} is not known: "
            f'pass axes=, a letter for each axis, such as axes="{example}"'
        )

    def _part(self, name: str, one: Any, shape: Sequence[int], axis: int) -> slice | list[int]:
        size = shape[axis]
        if isinstance(one, slice):
            if one != _EVERYTHING and _selects_nothing(one, size):
                raise EditError(
                    f"{self.text}: {name}={_shown(one)} selects none of the {self._many(name, size, shape)}"
                )
            return one
        for number in one:
            if not -size <= number < size:
                raise EditError(
                    f"{self.text}: index {number} is out of range: there are {self._many(name, size, shape)}"
                )
        if len(one) == 1:
            number = one[0]
            return slice(number, None if number == -1 else number + 1)
        if any(number < 0 for number in one):
            one = [number + size if number < 0 else number for number in one]
        if len(set(one)) < len(one):
            raise EditError(f"{self.text}: {name}={_shown(self._written[name])} names one of them twice")
        return _as_slice(one)

    def _many(self, name: str, size: int, shape: Sequence[int]) -> str:
        return f"{size} {name} in a value of shape {_shape(shape)}"


def _check_axes(axes: Any) -> None:
    if not isinstance(axes, str) or not axes.isalpha():
        raise EditError(f'axes={axes!r}: write a letter for each axis, such as axes="bthd"')
    meant = [_LETTERS.get(letter, letter) for letter in axes]
    for name in meant:
        if meant.count(name) > 1:
            letters = [letter for letter in axes if _LETTERS.get(letter, letter) == name]
            raise EditError(f"axes={axes!r}: {' and '.join(letters)} mean the same axis, {name}: name it once")


def _plain(name: str, one: Any) -> slice | tuple[int, ...]:
    """What was chosen, as a slice or as numbers."""
    if isinstance(one, slice):
        if one.step is not None and one.step < 1:
            raise EditError(f"{name}={_shown(one)}: the step of a slice is positive")
        return one
    try:
        numbers = [one] if not hasattr(one, "__iter__") else list(one)
        if any(isinstance(number, bool) or type(number).__name__ == "bool" for number in numbers):
            raise TypeError
        found = tuple(operator.index(number) for number in numbers)
    except TypeError:
        raise EditError(f"{name}={one!r}: write a number, a list, a range or a slice: {name}=[0, 3]") from None
    if not found:
        raise EditError(f"{name}={_shown(one)} selects nothing")
    return found


def _selects_nothing(one: slice, size: int) -> bool:
    # Not `slice.indices`, which torch.compile does not trace for sizes that vary.
    start, stop = one.start or 0, size if one.stop is None else one.stop
    start = max(start + size, 0) if start < 0 else start
    stop = stop + size if stop < 0 else stop
    return bool(start >= stop or start >= size)


def _as_slice(numbers: Sequence[int]) -> slice | list[int]:
    """Numbers at equal distances as a slice, which is a view of the value."""
    step = numbers[1] - numbers[0]
    if step > 0 and all(number == numbers[0] + place * step for place, number in enumerate(numbers)):
        return slice(numbers[0], numbers[-1] + 1, step)
    return list(numbers)


def _outer(parts: list[Any], shape: Sequence[int], first: int, last: int) -> None:
    """Make lists on several axes select every combination.

    Arrays of indices keep the order of the axes only if no slice is between them.
    """
    for axis in range(first, last + 1):
        numbers = parts[axis] if isinstance(parts[axis], list) else [*range(shape[axis])[parts[axis]]]
        for _ in range(axis, last):
            numbers = [[number] for number in numbers]
        parts[axis] = numbers


def _shown(one: Any) -> str:
    """As it is written: a slice as ``slice(1, 3)``, an array as a list."""
    if isinstance(one, slice):
        ends = [one.stop] if one.start is None and one.step is None else [one.start, one.stop]
        return f"slice({', '.join(map(repr, ends if one.step is None else [*ends, one.step]))})"
    if isinstance(one, (int, range, tuple, list)):
        return repr(one)
    return repr(one.tolist()) if hasattr(one, "tolist") else repr(one)


def _shape(shape: Sequence[int]) -> str:
    return str(tuple(shape))
