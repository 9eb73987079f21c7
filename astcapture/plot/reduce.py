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
    # Rows first: whole rows are added at once, and little is left for the columns.
    means: FloatArray = _of_rows(_of_rows(maps, block).swapaxes(-1, -2), block).swapaxes(-1, -2)
    return means


def _of_rows(maps: FloatArray, block: int) -> FloatArray:
    *before, rows, columns = maps.shape
    whole = rows // block * block
    means: FloatArray = maps[..., :whole, :].reshape(*before, whole // block, block, columns).mean(axis=-2)
    if whole == rows:
        return means
    # Fewer rows than a block, as of a generation step, are one.
    return np.concatenate([means, maps[..., whole:, :].mean(axis=-2, keepdims=True)], axis=-2)
