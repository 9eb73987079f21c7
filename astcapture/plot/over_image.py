"""An image, and a map laid over it: what all drawings over an image have in common."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.axes import Axes

from astcapture.plot.arrays import FloatArray
from astcapture.plot.colours import Colours

#: (left, top, right, bottom) in pixels of the image: the part of it that the map is of.
Area = tuple[float, float, float, float]


@dataclass(frozen=True)
class Laid:
    """How a map lies over an image."""

    #: From 0 to 1.
    opacity: float = 0.6
    #: matplotlib's name for how the map is enlarged.
    interpolation: str = "bilinear"
    #: The whole image if None.
    area: Area | None = None


def draw_image(ax: Axes, picture: FloatArray) -> None:
    """Draw an image as `as_image` returns it, without axes."""
    ax.imshow(picture, cmap="gray", vmin=0, vmax=1)
    ax.set_axis_off()


def draw_over_image(ax: Axes, picture: FloatArray, weights: FloatArray, colours: Colours, laid: Laid) -> None:
    """Draw an image and, enlarged over its area, a map of (rows, columns).

    Raises:
        ValueError: an opacity or an area that is none.
    """
    if not 0 <= laid.opacity <= 1:
        raise ValueError(f"opacity={laid.opacity}; accepted is a share, from 0 (the image alone) to 1 (the map alone)")
    height, width = picture.shape[:2]
    left, top, right, bottom = laid.area or (0, 0, width, height)
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise ValueError(
            f"area={laid.area} is no part of an image of {width} × {height} pixels: it is (left, top, right, bottom)"
        )
    draw_image(ax, picture)
    ax.imshow(
        weights,
        cmap=colours.cmap,
        norm=colours.norm,
        alpha=laid.opacity,
        interpolation=laid.interpolation,
        # matplotlib's pixel 0 goes from -0.5 to 0.5.
        extent=(left - 0.5, right - 0.5, bottom - 0.5, top - 0.5),
    )
    # Drawing a map in a part of the image would leave the axes at that part.
    ax.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))


def panel_width(picture: FloatArray) -> float:
    """Return width / height of a panel for an image: its own, unless it is a strip.

    >>> import numpy as np
    >>> panel_width(np.zeros((100, 150))), panel_width(np.zeros((100, 2000)))
    (1.5, 3.0)
    """
    height, width = picture.shape[:2]
    return float(min(max(width / height, 0.3), 3.0))
