"""Small pictures of large maps, in which a single great weight stays visible: the largest of each block of cells."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from astcapture.view.scale import Floats

#: The largest thumbnail and the largest overview.
THUMB, OVERVIEW = 32, 128


def pooled(values: Floats, rows: int, columns: int, *, signed: bool) -> Floats:
    """Return (rows, columns): of each block the largest value, or with `signed` the one farthest from zero.

    Of N rows block i has those from ``i * N // rows`` to before ``(i + 1) * N // rows``; columns alike.

    >>> pooled(np.array([[0.1, 0.2, 0.9, 0.0]]), 1, 2, signed=False).tolist()
    [[0.2, 0.9]]
    """
    if values.shape == (rows, columns):
        return values
    largest = _pool(values, rows, columns, np.maximum)
    if not signed:
        return largest
    least = _pool(values, rows, columns, np.minimum)
    return np.where(-least > largest, least, largest)


def _pool(values: Floats, rows: int, columns: int, largest: np.ufunc) -> Floats:
    have = values.shape[0]
    if rows < have:
        # Row by row numpy is much faster than its reduceat.
        if have % rows == 0:
            values = largest.reduce(values.reshape(rows, have // rows, -1), axis=1)
        else:
            starts = [number * have // rows for number in range(rows + 1)]
            values = np.stack([largest.reduce(values[start:end]) for start, end in pairwise(starts)])
    while values.shape[1] % (2 * columns) == 0:
        # Two columns at a time, as long as all blocks are equally wide: four times as fast.
        values = largest(values[:, ::2], values[:, 1::2])
    if columns < values.shape[1]:
        values = largest.reduceat(values, np.arange(columns) * values.shape[1] // columns, axis=1)
    return values


def size_of_pool(shape: tuple[int, int], most: int) -> tuple[int, int]:
    """The size of a picture of at most `most` rows and columns.

    >>> size_of_pool((2048, 17), 32)
    (32, 17)
    """
    return min(shape[0], most), min(shape[1], most)
