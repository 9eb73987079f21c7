"""The largest weights of each row, out of the few that are as large as a bound."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from astcapture.view.largest import UNUSED, Rows

#: So many candidates are collected before the largest of them are chosen.
_ENOUGH = 2**16
#: A candidate is one number of 64 bits: the bits of its weight, then what is more for a column further left.
_COLUMN = 16

Bits = NDArray[np.unsignedinteger[Any]]
Keys = NDArray[np.uint64]


class Chooser:
    """Finds the k largest numbers of each row that 8 bits can tell from zero; of equal ones those on the left.

    Args:
        k: how many of each row.
        shape: of the map.
        step: the most rows of a band.
    """

    def __init__(self, k: int, shape: tuple[int, int], step: int) -> None:
        self._k = k
        self._width = shape[1]
        self._columns = np.full((shape[0], k), UNUSED, np.uint16)
        self._values = np.zeros((shape[0], k), np.float32)
        self._reached = np.empty(step * shape[1], np.bool_)
        self._keys: list[Keys] = []
        self._counts: list[NDArray[np.intp]] = []
        self._start = 0
        self._collected = 0

    def look(self, whole: Bits, start: int, band: Bits, dealt: Bits | None, largest: Bits) -> None:
        """Collect the candidates of a band; bands come in order.

        Args:
            whole: the bits of the map, without gaps between its rows.
            start: the first row of the band.
            band: its bits, without columns on the right that are all zero.
            dealt: (rows, groups) the largest of each group of its columns.
            largest: of each row.
        """
        count, width = band.shape
        # Anything that is not farther than half a step of 8 bits is as good as zero.
        bound = (largest.view(np.float32) / 510).view(np.uint32) + np.uint32(1)
        if dealt is not None and dealt.shape[1] > self._k:
            # As many groups as there are places have a number that is as large.
            groups = dealt.shape[1]
            bound = np.maximum(bound, np.partition(dealt, groups - self._k, axis=1)[:, groups - self._k])
        reached = self._reached[: count * width]
        np.greater_equal(band, bound[:, None], out=reached.reshape(count, width))
        found = np.flatnonzero(reached)
        counts = np.diff(np.searchsorted(found, np.arange(count + 1) * width))
        rows = np.repeat(np.arange(count), counts)
        columns = found - rows * width
        bits = whole.reshape(-1).take(found + rows * (self._width - width) + start * self._width)
        keys = bits.astype(np.uint64)
        keys <<= np.uint64(_COLUMN)
        keys |= (UNUSED - columns).view(np.uint64)
        self._keys.append(keys)
        self._counts.append(counts)
        self._collected += len(keys)
        # Without groups nearly all columns are candidates: such rows are not mixed with others, which have few.
        if self._collected >= _ENOUGH or dealt is None:
            self._choose()

    def rows(self, sums: NDArray[np.float64]) -> Rows:
        """What has been found.

        Args:
            sums: of the rows.
        """
        self._choose()
        kept = np.ones(len(sums), np.float32)
        total = sums.astype(np.float32)
        np.divide(self._values.sum(axis=1), total, out=kept, where=total > 0)
        return Rows(self._columns, self._values, np.minimum(kept, 1, out=kept))

    def _choose(self) -> None:
        if not self._keys:
            return
        keys, counts = np.concatenate(self._keys), np.concatenate(self._counts)
        self._keys, self._counts, self._collected = [], [], 0
        k = self._k
        over = counts > k
        if over.any():
            many = counts[over]
            starts = np.cumsum(counts)[over] - many
            places = np.arange(int(many.max()))
            padded = keys.take(starts[:, None] + places, mode="clip")
            padded *= places < many[:, None]
            least = np.zeros(len(counts), np.uint64)
            # No two candidates of a row are equal, so just k of them are as large as the k-th.
            least[over] = np.partition(padded, padded.shape[1] - k, axis=1)[:, padded.shape[1] - k]
            keys = keys[keys >= np.repeat(least, counts)]
            counts = np.minimum(counts, k)
        rows = slice(self._start, self._start + len(counts))
        used = np.arange(k) < counts[:, None]
        self._columns[rows][used] = UNUSED - (keys & np.uint64(UNUSED)).astype(np.uint16)
        self._values[rows][used] = (keys >> np.uint64(_COLUMN)).astype(np.uint32).view(np.float32)
        self._start += len(counts)
