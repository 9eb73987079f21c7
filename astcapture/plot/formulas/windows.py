"""Attention inside windows (Swin) as attention between all tokens of the image."""

from __future__ import annotations

from math import isqrt

import numpy as np

from astcapture.plot.arrays import FloatArray, Plottable, as_array


def join_windows(
    attention: Plottable,
    grid: tuple[int, int],
    *,
    window: tuple[int, int] | None = None,
    shift: int | tuple[int, int] = 0,
) -> FloatArray:
    """Put the attention of windows together to that of all tokens, zero between tokens of different windows.

    The result is what the functions of `astcapture.plot` take for any vision transformer. Windows are counted
    as Swin does (Liu et al., "Swin Transformer" (2021), section 3.2): examples first, then the windows of one
    example row by row, and the tokens of one window row by row.

    Args:
        attention: (batch × windows, heads, tokens, tokens), tokens being those of one window.
        grid: (rows, columns) of all tokens of an example, a multiple of the window's: with the padding, where
            the model pads.
        window: (rows, columns) of one window; square if left out.
        shift: by how many tokens the windows are shifted down and to the right, as rolled by
            `torch.roll(x, (-shift, -shift))` before: half a window in every second block of Swin.

    Returns:
        (batch, heads, rows × columns, rows × columns). A large one: 3136 tokens (56 × 56) take 39 MB for each
        head in float32.

    Raises:
        ValueError: another shape, or windows that do not fill the grid.

    >>> joined = join_windows(np.full((4, 1, 4, 4), 0.25), grid=(4, 4))
    >>> joined.shape, joined[0, 0, 0].reshape(4, 4).tolist()[0]
    ((1, 1, 16, 16), [0.25, 0.25, 0.0, 0.0])
    """
    weights = as_array(attention)
    if weights.ndim != 4 or weights.shape[2] != weights.shape[3] or weights.size == 0:
        raise ValueError(
            f"attention has shape {weights.shape}; accepted is (batch × windows, heads, tokens of a window, the same)"
        )
    count, heads, inside, _ = weights.shape
    high, wide = window or (isqrt(inside), isqrt(inside))
    if high * wide != inside:
        raise ValueError(f"{inside} tokens are not a window of {high} × {wide}: pass window=(rows, columns)")
    rows, columns = grid
    if rows < 1 or columns < 1 or rows % high or columns % wide or count % (rows * columns // inside):
        raise ValueError(
            f"{count} windows of {high} × {wide} tokens do not fill grid={grid}: it is (rows, columns) of all tokens "
            "of an example, a multiple of the window's, with the padding where the model pads"
        )
    down, right = shift if isinstance(shift, tuple) else (shift, shift)
    # The number of each token, cut into windows as the model cuts the tokens themselves.
    numbers = np.roll(np.arange(rows * columns).reshape(grid), (-down, -right), axis=(0, 1))
    windows = numbers.reshape(rows // high, high, columns // wide, wide).swapaxes(1, 2).reshape(-1, inside)
    joined = np.zeros((count // len(windows), heads, rows * columns, rows * columns), dtype=weights.dtype)
    examples = weights.reshape(-1, len(windows), heads, inside, inside)
    for number, tokens in enumerate(windows):
        joined[:, :, tokens[:, None], tokens[None]] = examples[:, number]
    return joined
