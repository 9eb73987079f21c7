"""All that is asked of a map of weights, in one pass over bands of its rows that stay in the cache of a core.

Reading a large map from memory once takes as long as several of the steps together, so each band goes through all of
them. Numbers that are not negative have the order of their bits, and comparing integers is faster: a single maximum of
the bits finds NaN, infinity and negative numbers too. In the map of a causal model, what comes after a query is zero;
this is verified by the same maximum, and nothing else is done with it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from astcapture.view.chosen import Bits, Chooser
from astcapture.view.largest import Rows
from astcapture.view.scale import Floats

#: So many cells are a band: with as much scratch memory they fill the cache of a core.
_CELLS_AT_ONCE = 2**17
#: No more rows than this, however short: where a band crosses the diagonal, it has a square of its rows.
_ROWS_AT_ONCE = 256
#: Columns are dealt into so many groups, of at least two, to bound the largest numbers of a row.
_GROUPS = (128, 64)
#: Below this sum, adding the least number of a dtype to each weight would change its logarithm visibly.
_SMALL_SUM = 1e-20


class Surveyed(NamedTuple):
    """What is known of a map without negative numbers.

    Attributes:
        largest: the largest number of each row.
        sums: of the rows.
        entropies: for each row the sum of w ln w.
        distances: for each row the sum of w |query - key|; zero where queries are not among the keys.
        causal: whether no query has weight on a key after its own, where the queries are the last of the keys.
        tall: (blocks, columns) the largest number of each column in each block of rows, as `pooled` has its blocks.
        rows: the k largest of each row; None where they were not asked for.
    """

    largest: Floats
    sums: NDArray[np.float64]
    entropies: NDArray[np.float64]
    distances: NDArray[np.float64]
    causal: bool
    tall: Floats
    rows: Rows | None


def survey(weights: Floats, blocks: int, *, offset: int | None, k: int | None = None) -> Surveyed | None:
    """Look at all of a map once; None if a number is negative (minus zero too), infinite or NaN.

    Args:
        weights: (queries, keys) in float32 or float64.
        blocks: into how many blocks of rows it is pooled.
        offset: the key that the first query is; None if queries are not among the keys.
        k: how many numbers of each row are wanted; float32 only, at most 65,535 columns.

    >>> found = survey(np.array([[1.0, 0.0], [0.5, 0.5]]), 1, offset=0)
    >>> found.causal, found.largest.tolist(), found.distances.tolist(), found.tall.tolist()
    (True, [1.0, 0.5], [0.0, 0.5], [[1.0, 0.5]])
    >>> survey(np.array([[0.5, np.nan]]), 1, offset=None) is None
    True
    """
    weights = np.ascontiguousarray(weights)
    count, width = weights.shape
    causal = width >= count and not weights[0, width - count + 1 :].any()
    scan = _Scan(weights, blocks, offset, k, causal=causal)
    if causal and not scan.run():
        # Rare: an early query does not look ahead, and a later one does.
        scan = _Scan(weights, blocks, offset, k, causal=False)
        causal = False
    if not causal:
        scan.run()
    return scan.found() if scan.fine else None


class _Scan:
    """Goes over a map, band by band.

    Attributes:
        fine: whether all that was seen is a number that is not negative.
    """

    def __init__(self, weights: Floats, blocks: int, offset: int | None, k: int | None, *, causal: bool) -> None:
        count, width = weights.shape
        self._weights = weights
        self._bits: Bits = weights.view(f"u{weights.itemsize}")
        self._most = int(np.asarray(np.finfo(weights.dtype).max).view(self._bits.dtype))
        self._causal = causal
        self._offset = offset
        self.fine = True
        # Bands end where a block ends, if blocks are no larger than a band.
        self._step = min(count, _ROWS_AT_ONCE, max(1, _CELLS_AT_ONCE // width))
        self._pieces = _pieces(count, blocks, self._step)
        self._step = max(end - start for start, end, _ in self._pieces)
        self._logs = np.empty(self._step * width, weights.dtype)
        self._largest = np.empty(count, self._bits.dtype)
        self._sums, self._entropies = np.empty(count), np.empty(count)
        self._tall = np.empty((blocks, width), self._bits.dtype)
        self._chooser = None if k is None else Chooser(k, (count, width), self._step)
        self._bases = _bases(width, self._step, weights.dtype.str)
        # For each row: its place in its band, and sums over the keys left of the band's square, in it, and right of it.
        self._own, self._edge = np.zeros(count), np.zeros(count)
        self._left, self._right = np.zeros((count, 3), weights.dtype), np.zeros((count, 3), weights.dtype)
        self._inside = np.zeros(count, weights.dtype)

    def run(self) -> bool:
        """Go over the map; False as soon as it is not causal though it should be."""
        count, width = self._bits.shape
        for start, end, blocks in self._pieces:
            self._pool(start, end, blocks)
            tall = self._tall[blocks[0][0] : blocks[-1][0] + 1]
            cut = width
            if self._causal:
                cut = width - count + end
                square = self._bits[start:end, width - count + start : cut]
                ahead = square & self._bases.ahead[: end - start, : end - start]
                if tall[:, cut:].max(initial=0) or ahead.max():
                    return False
                # Groups of columns are whole then; the few columns more are zeros.
                cut = min(width, -(-cut // _GROUPS[0]) * _GROUPS[0])
            if tall.max() > self._most:
                self.fine = False
                return True
            self._measure(start, end, cut)
        return True

    def found(self) -> Surveyed:
        """What has been seen."""
        dtype = self._weights.dtype
        largest = self._largest.view(dtype)
        rows = None if self._chooser is None else self._chooser.rows(self._sums)
        tall = self._tall.view(dtype)
        left, right = self._left.astype(np.float64), self._right.astype(np.float64)
        distances = (
            left[:, 1] + self._own * left[:, 2] + self._inside + right[:, 1] + (self._edge - self._own) * right[:, 2]
        )
        return Surveyed(largest, self._sums, self._entropies, distances, self._causal, tall, rows)

    def _pool(self, start: int, end: int, blocks: list[_Part]) -> None:
        """The largest of each column in each block; whole rows, since memory is read fastest in one go."""
        height = blocks[0][2] - blocks[0][1]
        first, last = blocks[0][0], blocks[-1][0]
        if all(done - begin == height and new for _, begin, done, new in blocks):
            stacked = self._bits[start:end].reshape(len(blocks), height, -1)
            np.maximum.reduce(stacked, axis=1, out=self._tall[first : last + 1])
            return
        for number, begin, done, new in blocks:
            highest = np.maximum.reduce(self._bits[begin:done])
            out = self._tall[number]
            np.maximum(out if not new else highest, highest, out=out)

    def _measure(self, start: int, end: int, cut: int) -> None:
        """Everything else, of the columns up to `cut`."""
        rows = slice(start, end)
        band, bits = self._weights[rows, :cut], self._bits[rows, :cut]
        groups = next((groups for groups in _GROUPS if cut >= 2 * groups), 1)
        dealt = None
        if groups > 1:
            whole = cut // groups * groups
            dealt = np.maximum.reduce(bits[:, :whole].reshape(end - start, -1, groups), axis=1)
            largest = dealt.max(axis=1)
            if whole < cut:
                np.maximum(largest, bits[:, whole:].max(axis=1), out=largest)
        else:
            largest = bits.max(axis=1)
        self._largest[rows] = largest
        if self._chooser is not None:
            self._chooser.look(self._bits, start, bits, dealt, largest)
        if self._offset is not None:
            self._moments(rows, band, start + self._offset)
        else:
            self._sums[rows] = band.sum(axis=1)
        logs = self._logs[: band.size].reshape(band.shape)
        tiny = np.finfo(band.dtype).tiny
        # 0 ln 0 is 0. Other numbers stay the same unless they are as good as zero.
        np.add(band, tiny, out=logs)
        sums = self._sums[rows]
        if sums.min() < _SMALL_SUM and ((sums > 0) & (sums < _SMALL_SUM)).any():
            np.maximum(band, tiny, out=logs)
        np.log(logs, out=logs)
        self._entropies[rows] = (band[:, None] @ logs[:, :, None])[:, 0, 0]

    def _moments(self, rows: slice, band: Floats, first: int) -> None:
        """For each row the sum of w, and what the sum of w |query - key| is made of; row r is the key `first` + r.

        Left and right of the square in which the band crosses the diagonal, distances are from its edge, and on to
        there.
        """
        count, width = band.shape
        first = min(first, width)
        last = min(first + count, width)
        left, right, apart, _ = self._bases
        start = len(left) - self._step - first
        np.matmul(band[:, :last], left[start : start + last], out=self._left[rows])
        square = band[:, first:last]
        self._inside[rows] = (square[:, None] @ apart[:count, : last - first, None])[:, 0, 0]
        self._sums[rows] = self._left[rows, 0]
        self._own[rows] = np.arange(count)
        self._edge[rows] = last - first
        if last < width:
            np.matmul(band[:, last:], right[: width - last], out=self._right[rows])
            self._sums[rows] += self._right[rows, 0]


class _Bases(NamedTuple):
    """What rows are multiplied with, for maps of one width and bands of at most `step` rows.

    Attributes:
        left: (width + step, 3) for keys from `width` places left of a square on: 1, how far left a key is, and whether
            it is left: 0 for the square's own keys.
        right: (width, 3) for keys right of a square: 1, how far right a key is, 1.
        apart: (step, step) the distances within a square.
        ahead: (step, step) all bits for the keys of a square that are after the query, else none.
    """

    left: Floats
    right: Floats
    apart: Floats
    ahead: Bits


@lru_cache(maxsize=8)
def _bases(width: int, step: int, dtype: str) -> _Bases:
    places = np.arange(width, -step, -1)
    left = np.stack([np.ones(len(places)), np.maximum(places, 0), places > 0], axis=1)
    right = np.stack([np.ones(width), np.arange(width), np.ones(width)], axis=1)
    own = np.arange(step)
    apart = np.abs(own[:, None] - own)
    bits = np.dtype(f"u{np.dtype(dtype).itemsize}")
    ahead = np.where(own > own[:, None], bits.type(np.iinfo(bits).max), bits.type(0))
    return _Bases(left.astype(dtype), right.astype(dtype), apart.astype(dtype), ahead)


#: Part of a block of rows: the number of the block, first row, end, whether it is the block's first part.
_Part = tuple[int, int, int, bool]


@lru_cache(maxsize=8)
def _pieces(count: int, blocks: int, step: int) -> list[tuple[int, int, list[_Part]]]:
    """Bands of at most about `step` rows, and the parts of blocks in them: (first row, end, parts), in order.

    >>> _pieces(6, 3, 4)
    [(0, 4, [(0, 0, 2, True), (1, 2, 4, True)]), (4, 6, [(2, 4, 6, True)])]
    >>> _pieces(6, 2, 2)
    [(0, 2, [(0, 0, 2, True)]), (2, 3, [(0, 2, 3, False)]), (3, 5, [(1, 3, 5, True)]), (5, 6, [(1, 5, 6, False)])]
    """
    bands: list[tuple[int, int, list[_Part]]] = []
    for number in range(blocks):
        begin, end = number * count // blocks, (number + 1) * count // blocks
        for row in range(begin, end, step):
            part = (number, row, min(end, row + step), row == begin)
            if bands and part[2] - bands[-1][0] <= step:
                bands[-1] = (bands[-1][0], part[2], [*bands[-1][2], part])
            else:
                bands.append((row, part[2], [part]))
    return bands
