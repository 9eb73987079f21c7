"""The largest weights of each row of a map, and the share of the row that they hold."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from astcapture.view.scale import Bytes, Floats

#: The column of an entry that is not used.
UNUSED = 65535
#: So many rows are searched at once that they stay in the cache of a core.
_CELLS_AT_ONCE = 2**18
#: Columns are searched in groups of this many, a power of two, or of fewer where rows are short.
_GROUP = 16


class Rows(NamedTuple):
    """Some weights of each row.

    Attributes:
        columns: (rows, k) uint16, in order; `UNUSED` at the end of rows that have fewer.
        values: (rows, k), what stands there; 0 where unused.
        kept: (rows,) the share of each row's sum that they are, from 0 to 1; 1 for a row without any weight.
    """

    columns: NDArray[np.uint16]
    values: Floats
    kept: Floats


def largest_of_rows(
    weights: Floats,
    k: int,
    floor: Floats | float = 0.0,
    *,
    causal: bool = False,
    sums: NDArray[np.float64] | None = None,
) -> Rows:
    """Return the k numbers of each row that are farthest from zero, among those farther than `floor`.

    Of equal ones those in lower columns.

    Args:
        weights: (rows, columns), all finite, at most 65,535 columns.
        k: how many of each row.
        floor: what is no farther from zero is left out; one number, or one for each row.
        causal: whether what is after a query is known to be zero, which halves the work.
        sums: of the rows, where they are known and no number is negative.

    >>> rows = largest_of_rows(np.array([[0.1, 0.6, 0.0, 0.3]]), 2, 0.0)
    >>> rows.columns.tolist(), rows.values.tolist(), rows.kept.round(2).tolist()
    ([[1, 3]], [[0.6, 0.3]], [0.9])
    """
    count, width = weights.shape
    columns = np.full((count, k), UNUSED, np.uint16)
    values = np.zeros((count, k), weights.dtype)
    kept = np.ones(count, weights.dtype)
    signed = sums is None and bool(weights.size) and bool(weights.min() < 0)
    # Anything that is not farther is as good as zero.
    floors = np.nextafter(np.broadcast_to(np.asarray(floor, weights.dtype), (count,)), weights.dtype.type(np.inf))
    step = max(1, _CELLS_AT_ONCE // width)
    search = _Search(k, (min(step, count), width), weights.dtype)
    for start in range(0, count, step):
        rows = slice(start, start + step)
        band = weights[rows]
        if causal:
            band = band[:, : width - count + start + len(band)]
        distance = np.abs(band) if signed else band
        found = search.columns(distance, floors[rows])
        used = found < band.shape[1]
        taken = np.take_along_axis(band, np.minimum(found, band.shape[1] - 1), axis=1)
        taken[~used] = 0
        columns[rows, : found.shape[1]] = np.where(used, found, UNUSED)
        values[rows, : found.shape[1]] = taken
        total = distance.sum(axis=1) if sums is None else sums[rows].astype(weights.dtype)
        np.divide(np.abs(taken).sum(axis=1), total, out=kept[rows], where=total > 0)
    return Rows(columns, values, np.minimum(kept, 1, out=kept))


class _Search:
    """Finds the largest numbers of the rows of bands, in memory that is used again for each band."""

    def __init__(self, k: int, shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        self._k = k
        self._dealt = np.empty((shape[0], shape[1]), dtype)
        self._reached = np.empty(shape[0] * shape[1], np.bool_)

    def columns(self, distance: Floats, floor: Floats) -> NDArray[np.intp]:
        """(rows, at most k) columns in order; the width of the map where a row has fewer."""
        count, width = distance.shape
        bound = self._bound(distance, floor)
        # Almost all cells are below the bound of their row.
        reached = self._reached[: count * width].reshape(count, width)
        np.greater_equal(distance, bound[:, None], out=reached)
        per_row = np.count_nonzero(reached, axis=1)
        most = max(int(per_row.max(initial=0)), 1)
        rows = np.repeat(np.arange(count), per_row)
        columns = np.flatnonzero(reached) - rows * width
        place = np.arange(len(columns)) - np.repeat(np.cumsum(per_row) - per_row, per_row)
        candidates = np.full((count, most), width, np.intp)
        candidates[rows, place] = columns
        if most <= self._k:
            return candidates
        numbers = np.full((count, most), -1, distance.dtype)
        numbers[rows, place] = distance[rows, columns]
        kth = np.partition(numbers, most - self._k, axis=1)[:, most - self._k, None]
        chosen, equal = numbers > kth, numbers == kth
        # Of equal ones the first, as many as there is room for.
        chosen |= equal & (np.cumsum(equal, axis=1) <= self._k - np.count_nonzero(chosen, axis=1)[:, None])
        return candidates[chosen].reshape(count, self._k)

    def _bound(self, distance: Floats, floor: Floats) -> Floats:
        """For each row a number that its k largest are not below, if they are not below its floor.

        Columns are dealt into groups. The k-th largest of the groups' maxima is such a number, since k groups have
        one that is as large; and few other numbers reach it.
        """
        count, width = distance.shape
        group = _GROUP
        while group > 1 and width // group < 2 * self._k:
            group //= 2
        groups = width // group
        if groups <= self._k:
            return floor
        dealt = distance[:, : groups * group]
        while dealt.shape[1] > groups:
            half = dealt.shape[1] // 2
            dealt = np.maximum(dealt[:, :half], dealt[:, half:], out=self._dealt[:count, :half])
        kth = np.partition(dealt, groups - self._k, axis=1)[:, groups - self._k]
        return np.asarray(np.maximum(kth, floor))


def pack_rows(rows: Rows, packed: Bytes) -> bytes:
    """The bytes of a sparse block: the columns, each as the distance from the one on its left, then the values.

    Args:
        rows: the entries.
        packed: (rows, k), their values in 8 bits.
    """
    used = rows.columns != UNUSED
    steps = rows.columns.copy()
    steps[:, 1:] -= rows.columns[:, :-1]
    steps[~used] = UNUSED
    values = np.where(used, packed, np.uint8(0))
    return bytes(steps.astype("<u2").tobytes() + values.tobytes())


def pack_shares(kept: Floats) -> bytes:
    """Shares from 0 to 1 as one byte each; less than all is never rounded to all."""
    packed = np.floor(kept * 255 + 0.5)
    packed[(kept < 1 - 1e-6) & (packed == 255)] = 254
    return bytes(packed.astype(np.uint8).tobytes())
