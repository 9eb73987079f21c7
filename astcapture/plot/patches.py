"""Which tokens are patches, and where they lie in the image. Pure functions."""

from __future__ import annotations

from math import isqrt
from typing import NamedTuple

from astcapture.plot.arrays import FloatArray

#: (rows, columns) of patches.
Grid = tuple[int, int]


class Layout(NamedTuple):
    """How the tokens of a vision transformer are laid out: special tokens first, then patches row by row."""

    prefix: int
    grid: Grid


def layout(tokens: int, grid: Grid | None = None, cls: bool | int | None = None) -> Layout:
    """Return the number of tokens before the patches, and the grid of the patches.

    Args:
        tokens: all tokens, special ones and patches.
        grid: (rows, columns) of patches; left out, the patches must form a square.
        cls: how many tokens stand before the patches: 0 or False for none, 1 or True for a CLS
            token, more where register tokens follow it. None finds out: with a grid, what is
            left over; without, none or one, whichever leaves a square.

    Raises:
        ValueError: the tokens do not fill the grid, or it cannot be found out.

    >>> layout(197)
    Layout(prefix=1, grid=(14, 14))
    >>> layout(6 + 5, grid=(2, 3))
    Layout(prefix=5, grid=(2, 3))
    """
    if cls is not None and not 0 <= int(cls) < tokens:
        raise ValueError(f"cls={cls} does not fit {tokens} tokens: it is the number of tokens before the patches")
    if grid is not None:
        rows, columns = grid
        prefix = tokens - rows * columns if cls is None else int(cls)
        if rows < 1 or columns < 1 or prefix < 0 or prefix + rows * columns != tokens:
            special = "" if cls is None else f" and {int(cls)} special"
            raise ValueError(f"{tokens} tokens are not grid={rows, columns} = {rows * columns} patches{special}")
        return Layout(prefix, (rows, columns))
    for prefix in (0, 1) if cls is None else (int(cls),):
        side = isqrt(tokens - prefix)
        if side and side * side == tokens - prefix:
            return Layout(prefix, (side, side))
    less = "with or without one CLS token" if cls is None else f"less {int(cls)} special"
    raise ValueError(
        f"{tokens} tokens, {less}, do not form a square of patches: "
        "pass grid=(rows, columns), and cls= the number of tokens before the patches"
    )


def split_patches(row: FloatArray, tokens: Layout) -> tuple[FloatArray, FloatArray]:
    """Split one query's weights into those of the special tokens and the map over the patches.

    Args:
        row: (tokens,) weights.
        tokens: how they are laid out.

    Returns:
        (prefix,) and (rows, columns).

    >>> import numpy as np
    >>> special, patches = split_patches(np.arange(7.0), Layout(prefix=1, grid=(2, 3)))
    >>> special
    array([0.])
    >>> patches
    array([[1., 2., 3.],
           [4., 5., 6.]])
    """
    return row[: tokens.prefix], row[tokens.prefix :].reshape(tokens.grid)


def special_names(prefix: int) -> list[str]:
    """Name the tokens before the patches: CLS, then registers R1, R2 and so on.

    >>> special_names(3)
    ['CLS', 'R1', 'R2']
    """
    return ["CLS", *(f"R{number}" for number in range(1, prefix))][:prefix]


def patch_position(patch: int | tuple[int, int], grid: Grid) -> tuple[int, int]:
    """Return (row, column) of a patch given by index, counted row by row without the special tokens, or by position.

    Raises:
        ValueError: a patch outside the grid.

    >>> patch_position(4, (2, 3))
    (1, 1)
    """
    rows, columns = grid
    if isinstance(patch, tuple):
        row, column = patch
        if not (0 <= row < rows and 0 <= column < columns):
            raise ValueError(f"patch={patch} is outside the grid of {rows} rows and {columns} columns")
        return row, column
    if not 0 <= patch < rows * columns:
        raise ValueError(
            f"patch={patch} is outside the grid of {rows} rows and {columns} columns: "
            f"its patches are 0 to {rows * columns - 1}, special tokens not counted"
        )
    row, column = divmod(patch, columns)
    return int(row), int(column)
