"""Numbers in 8 bits: the scale of a map, the error of it, and the cells that are no number."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Bytes = NDArray[np.uint8]

#: Marks of cells that have no number.
NAN, INF, MINUS_INF, MASKED = 1, 2, 3, 4
#: What models add to scores before softmax: at or below this, or the least number of float16.
_MASK = -1e30
_MASK_OF_FLOAT16 = -65504.0


class Scale(NamedTuple):
    """What the 256 values of a map mean: ``lo + (hi - lo) * v / 255``."""

    lo: float
    hi: float

    @property
    def error(self) -> float:
        """The largest difference between a number and what stands for it: half a step, and rounding in float32."""
        return rounded_up((self.hi - self.lo) / 510 + 3e-7 * max(abs(self.lo), abs(self.hi)))

    def pack(self, values: Floats) -> Bytes:
        """Numbers within the scale in 8 bits, in their shape.

        >>> Scale(0.0, 1.0).pack(np.array([0.0, 0.5, 1.0])).tolist()
        [0, 128, 255]
        """
        span = self.hi - self.lo
        if not span:
            return np.zeros(values.shape, np.uint8)
        if values.dtype == np.float32 and span < 1e30:
            # Cutting off after adding a half rounds.
            step = np.float32(255 / span)
            scaled: Floats = values * step
            scaled += np.float32(0.5 - self.lo * 255 / span)
        else:
            scaled = (values.astype(np.float64) - self.lo) * (255 / span) + 0.5
        np.clip(scaled, 0, 255.5, out=scaled)
        return scaled.astype(np.uint8)

    def unpack(self, packed: Bytes) -> NDArray[np.float64]:
        """The numbers that packed values stand for."""
        return self.lo + (self.hi - self.lo) * packed.astype(np.float64) / 255


def scale_of(least: float, greatest: float, *, from_zero: bool) -> Scale:
    """Choose the scale of a map from its least and greatest number.

    With numbers of both signs zero is one of the 256 values, so that zero stays zero.

    Args:
        least, greatest: of the numbers.
        from_zero: whether the scale of numbers that are not negative begins at zero.

    >>> scale_of(0.25, 0.5, from_zero=True)
    Scale(lo=0.0, hi=0.5)
    >>> scale = scale_of(-1.0, 127.0, from_zero=True)
    >>> scale.unpack(np.array([128, 255], np.uint8)).round(3).tolist()
    [0.0, 127.0]
    """
    if least < 0:
        # A step of few binary digits, so that nothing is rounded where zero is computed.
        step = float(np.nextafter(np.float32(max(greatest / 127, -least / 128)), np.float32(np.inf)))
        if math.isfinite(step) and step > 1e-37:
            return Scale(-128 * step, 127 * step)
        step = max(greatest / 127, -least / 128)
        return Scale(-128 * step, 127 * step)
    if from_zero or least == greatest:
        return Scale(0.0, rounded_up(greatest))
    return Scale(least, greatest)


def rounded_up(number: float) -> float:
    """A number of at most six digits, not below `number`: it is short where it is written.

    >>> rounded_up(0.123456789), rounded_up(0.5), rounded_up(0.0)
    (0.123457, 0.5, 0.0)
    """
    if number <= 0 or not math.isfinite(number):
        return number
    shorter = float(f"{number:.5e}")
    if shorter >= number:
        return shorter
    up = shorter + 10.0 ** (math.floor(math.log10(shorter)) - 5)
    up = float(f"{up:.5e}")
    return up if math.isfinite(up) and up >= number else number


def pack_by_row(values: Floats, largest: Floats) -> Bytes:
    """Numbers that are not negative in 8 bits, each row on a scale from zero to its largest number.

    >>> pack_by_row(np.array([[0.5, 1.0], [0.0, 0.001]]), np.array([1.0, 0.001])).tolist()
    [[128, 255], [0, 255]]
    """
    step = np.divide(255, largest, out=np.zeros_like(largest), where=largest > 0)
    scaled = values * step[:, None]
    scaled += scaled.dtype.type(0.5)
    np.minimum(scaled, 255, out=scaled)
    return scaled.astype(np.uint8)


def pack_root(values: Floats, hi: float) -> Bytes:
    """Numbers from zero to `hi` as 255 times the root of their share of it: small ones stay visible.

    >>> pack_root(np.array([0.0, 0.01, 1.0]), 1.0).tolist()
    [0, 26, 255]
    """
    if not hi:
        return np.zeros(values.shape, np.uint8)
    packed: Bytes = (np.sqrt(np.clip(values / hi, 0, 1)) * 255 + 0.5).astype(np.uint8)
    return packed


class Marked(NamedTuple):
    """A map whose cells are all numbers.

    Attributes:
        values: with zero in the cells that had no number.
        marks: what those cells had; None where all are numbers.
        least, greatest: of the numbers.
    """

    values: Floats
    marks: Bytes | None
    least: float
    greatest: float


def mark(values: Floats) -> Marked:
    """Take the cells that are no number, or a mask, out of a map.

    >>> mark(np.array([[0.5, np.nan], [-np.inf, -65504.0]])).marks.tolist()
    [[0, 1], [3, 4]]
    """
    # NaN goes through both.
    least, greatest = float(values.min()), float(values.max())
    if math.isfinite(least) and math.isfinite(greatest) and least > _MASK and least != _MASK_OF_FLOAT16:
        return Marked(values, None, least, greatest)
    marks = np.zeros(values.shape, np.uint8)
    marks[(values <= _MASK) | (values == _MASK_OF_FLOAT16)] = MASKED
    marks[np.isnan(values)] = NAN
    marks[np.isposinf(values)] = INF
    marks[np.isneginf(values)] = MINUS_INF
    fine = marks == 0
    numbers = np.where(fine, values, values.dtype.type(0))
    if not fine.any():
        return Marked(numbers, marks, 0.0, 0.0)
    return Marked(
        numbers, marks, float(values.min(where=fine, initial=np.inf)), float(values.max(where=fine, initial=-np.inf))
    )
