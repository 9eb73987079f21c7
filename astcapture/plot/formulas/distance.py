"""How far away the patches lie that a head attends to."""

from __future__ import annotations

import numpy as np

from astcapture.plot.arrays import FloatArray, Plottable, as_array
from astcapture.plot.formulas.weights import check_not_negative, mean_of_queries, shares


def mean_distance(attention: Plottable, centres: FloatArray) -> FloatArray:
    """Return the mean distance between a query and what it attends to, weighted by the attention.

    Averaged over all queries, for each map: Dosovitskiy et al., "An Image is Worth 16x16 Words" (2021),
    figures 7 and 11, where it is compared with the receptive field of a convolution.

    Args:
        attention: (..., tokens, tokens). Rows that do not sum to 1 are divided by their sum; rows without
            any weight are left out of the average.
        centres: (tokens, 2), where the tokens lie, as `patch_centres` returns them; the distance has their unit.

    Returns:
        (...), float64: one number for each map. NaN for a map that holds one, or no weight at all.

    Raises:
        ValueError: attention of another shape, or negative weights.

    >>> mean_distance([np.full((4, 4), 0.25)], patch_centres((2, 2))).round(3)  # of 0, 1, 1 and the root of 2
    array([0.854])
    """
    weights = as_array(attention).astype(np.float64)
    tokens = len(centres)
    if weights.ndim < 2 or weights.shape[-2:] != (tokens, tokens) or weights.size == 0:
        raise ValueError(
            f"attention has shape {weights.shape}; accepted for {tokens} centres is (..., {tokens}, {tokens})"
        )
    check_not_negative(weights)
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
    return np.asarray(mean_of_queries(np.einsum("...qk,qk->...q", shares(weights), apart), weights))


def patch_centres(grid: tuple[int, int], patch: float | tuple[float, float] = 1.0) -> FloatArray:
    """Return (row, column) of the centre of each patch, row by row, in units of `patch`, its height and width.

    >>> patch_centres((1, 3), patch=16).tolist()
    [[8.0, 8.0], [8.0, 24.0], [8.0, 40.0]]
    """
    height, width = patch if isinstance(patch, tuple) else (patch, patch)
    rows, columns = np.indices(grid).reshape(2, -1)
    return np.stack([(rows + 0.5) * height, (columns + 0.5) * width], axis=1)
