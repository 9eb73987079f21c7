"""Maps of more cells than a picture can show, made smaller by averaging. Pure array functions."""

from __future__ import annotations

import numpy as np

from astcapture.plot.arrays import FloatArray


def block_size(shape: tuple[int, ...], most: int) -> int:
    """Return the side of the blocks that leave at most `most` rows and columns.

    >>> block_size((12, 197, 197), most=512), block_size((2048, 2048), most=512)
    (1, 4)
    """
    return -(-max(shape[-2:]) // most)


def block_means(maps: FloatArray, block: int) -> FloatArray:
    """Average (..., rows, columns) over blocks of `block` × `block`; those at the ends may be smaller.

    >>> block_means(np.array([[1.0, 3.0, 5.0]]), 2)
    array([[2., 5.]])
    """
    if block == 1:
        return maps
    for axis in (-1, -2):
        size = maps.shape[axis]
        starts = np.arange(0, size, block)
        counts = np.diff([*starts, size]).astype(maps.dtype)
        sums = np.add.reduceat(maps, starts, axis=axis)
        maps = sums / (counts if axis == -1 else counts[:, None])
    return maps
