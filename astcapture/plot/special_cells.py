"""The weights of the tokens that are no patch (CLS, registers), as cells beside an image."""

from __future__ import annotations

from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from astcapture.plot.arrays import FloatArray
from astcapture.plot.colours import Colours
from astcapture.plot.outline import draw_outline
from astcapture.plot.page import in_scale
from astcapture.plot.patches import special_names


class Cells(NamedTuple):
    """Where the cells lie, in pixels of the image: a column to its left, from the top down."""

    side: float
    #: From the top of one cell to that of the next.
    pitch: float
    #: Of the column, with room for the numbers.
    width: float


def place_cells(count: int, image_height: float, patch_height: float) -> Cells:
    """Size the cells as a patch, unless that is too small to see or too large to stand above each other.

    >>> place_cells(1, image_height=240, patch_height=16)
    Cells(side=30.0, pitch=82.5, width=60.0)
    """
    if count == 0:
        return Cells(0.0, 0.0, 0.0)
    side = min(max(patch_height, image_height / 8), image_height / 6)
    pitch = min(2.75 * side, image_height / count)
    side = pitch / 2.75
    return Cells(side, pitch, width=max(2 * side, image_height / 5))


def draw_special_cells(
    ax: Axes, weights: FloatArray, colours: Colours, cells: Cells, *, outlined: int | None = None
) -> None:
    """Draw one cell per weight with its token's name above and its number below, and make room for them in `ax`."""
    left, right = ax.get_xlim()
    ax.set_xlim(left - cells.width, right)
    middle = left - cells.width / 2
    corner = middle - cells.side / 2
    for number, (weight, name) in enumerate(zip(weights, special_names(len(weights)), strict=True)):
        top = -0.5 + number * cells.pitch + (cells.pitch - cells.side) / 2
        colour = colours.cmap(float(colours.norm(float(weight))))
        ax.add_patch(Rectangle((corner, top), cells.side, cells.side, facecolor=colour, edgecolor="black"))
        if number == outlined:
            draw_outline(ax, (corner, top), cells.side, cells.side)
        for text, y, anchor, shift in (
            (name, top, "bottom", 3),
            (write_weight(float(weight)), top + cells.side, "top", -3),
        ):
            ax.annotate(
                text,
                (middle, y),
                (0, shift),
                textcoords="offset points",
                ha="center",
                va=anchor,
                fontsize=in_scale(7.5),
            )


def write_weight(weight: float) -> str:
    """Write a weight in at most seven characters.

    >>> write_weight(0.123), write_weight(0.0123), write_weight(0.000123)
    ('0.12', '0.012', '1e-04')
    """
    text = f"{weight:.2g}"
    return text if len(text) <= 6 else f"{weight:.0e}"
