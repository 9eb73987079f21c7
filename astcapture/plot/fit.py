"""Whether a map of patches has the proportions of an image. Pure."""

from __future__ import annotations

#: (left, top, right, bottom) in pixels of the image: the part of it that the map is of.
Area = tuple[float, float, float, float]

#: How much higher or wider than its patches an image may be.
_TOLERANCE = 0.05
#: The longest side of a patch, or step of a feature map, that is tried.
_LONGEST_STEP = 64


def check_fit(grid: tuple[int, int], size: tuple[int, int], area: Area | None, *, stretch: bool) -> None:
    """Pass where a map of (rows, columns) lies over an image of (height, width), or a part of it, with square patches.

    Raises:
        ValueError: an area that is no part of the image; patches that would be stretched, unless `stretch`.
    """
    height, width = size
    left, top, right, bottom = area or (0, 0, width, height)
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise ValueError(
            f"area={area} is no part of an image of {width} × {height} pixels: it is (left, top, right, bottom)"
        )
    if stretch or fits(grid, (bottom - top, right - left)):
        return
    rows, columns = grid
    what = f"an image of {width} × {height} pixels" if area is None else f"area={area}"
    high, wide = (bottom - top) / rows, (right - left) / columns
    middle = _middle(grid, size)
    raise ValueError(
        f"a map of {rows} × {columns} (rows × columns) does not fit {what} (width × height): each patch would be "
        f"{wide:.3g} × {high:.3g} pixels, not square. Pass the model's own input, or the photograph after the same "
        f"resizing and cropping; if the model saw a part of it, area=(left, top, right, bottom), for the middle "
        f"area={middle}; if the whole was squeezed into the model's input, stretch=True"
    )


def fits(grid: tuple[int, int], size: tuple[float, float]) -> bool:
    """Whether (rows, columns) of square patches fill an image of (height, width), or all but a rest of a patch.

    The two proportions differ by 5 % at most, or are what a network makes of this size in steps of 1 to 64 pixels,
    with the rest at the edge left out or filled up.

    >>> fits((14, 14), (224, 224)), fits((7, 7), (224, 231)), fits((12, 19), (399, 600)), fits((14, 14), (480, 640))
    (True, True, True, False)
    """
    (rows, columns), (height, width) = grid, size
    ratio = (height / rows) / (width / columns)
    if 1 / (1 + _TOLERANCE) <= ratio <= 1 + _TOLERANCE:
        return True
    steps = range(1, _LONGEST_STEP + 1)
    cut = any((height // step, width // step) == grid for step in steps)
    return cut or any((-(-height // step), -(-width // step)) == grid for step in steps)


def _middle(grid: tuple[int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The largest area in the middle of the image that the patches fit."""
    (rows, columns), (height, width) = grid, size
    side = min(height / rows, width / columns)
    high, wide = round(side * rows), round(side * columns)
    left, top = (width - wide) // 2, (height - high) // 2
    return left, top, left + wide, top + high
