"""An image, and a map laid over it: what all drawings over an image have in common."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb

from astcapture.plot.arrays import FloatArray
from astcapture.plot.colours import NOT_FINITE, Colours
from astcapture.plot.fit import Area, check_fit

#: "fade": the opacity of the map follows the weight. "mask": the image is darkened where the weight is low.
#: "even": one opacity everywhere.
OverStyle = Literal["fade", "mask", "even"]

#: The opacity of each style: of the greatest weight, of the least weight, of all.
_OPACITY: dict[str, float] = {"fade": 0.75, "mask": 0.75, "even": 0.6}


@dataclass(frozen=True)
class Laid:
    """How a map lies over an image."""

    #: From 0 to 1; that of the style if None.
    opacity: float | None = None
    #: matplotlib's name for how the map is enlarged.
    interpolation: str = "bilinear"
    #: The whole image if None.
    area: Area | None = None
    style: OverStyle = "fade"
    #: Whether the map may be stretched to the proportions of the image.
    stretch: bool = False

    def colours(self, colours: Colours) -> Colours:
        """The same range, with the opacity of each value in the colour map.

        Raises:
            ValueError: an unknown style, or an opacity that is none.
        """
        if self.style not in get_args(OverStyle):
            raise ValueError(f'style={self.style!r}; accepted are "fade", "mask" and "even"')
        opacity = _OPACITY[self.style] if self.opacity is None else self.opacity
        if not 0 <= opacity <= 1:
            raise ValueError(f"opacity={opacity}; accepted is a number from 0 (the image alone) to 1 (opaque)")
        places = np.linspace(0, 1, 256)
        # Of weights of both signs the distance from zero counts.
        values = colours.low + places * (colours.high - colours.low)
        strength = np.abs(values) / np.abs(values).max() if colours.low < 0 < colours.high else places
        rgba = colours.cmap(places)
        rgba[:, 3] = {"fade": opacity * strength, "mask": opacity * (1 - strength), "even": opacity}[self.style]
        if self.style == "mask":
            rgba[:, :3] = 0
        bad = (*to_rgb(NOT_FINITE), opacity)
        return replace(colours, cmap=ListedColormap(rgba).with_extremes(bad=bad))


def draw_image(ax: Axes, picture: FloatArray) -> None:
    """Draw an image as `as_image` returns it, without axes."""
    ax.imshow(picture, cmap="gray", vmin=0, vmax=1)
    ax.set_axis_off()


def draw_over_image(ax: Axes, picture: FloatArray, weights: FloatArray, colours: Colours, laid: Laid) -> None:
    """Draw an image and, enlarged over its area, a map of (rows, columns), in colours from `Laid.colours`.

    Raises:
        ValueError: an area that is no part of the image, or a map that does not fit its proportions.
    """
    height, width = picture.shape[:2]
    check_fit((weights.shape[0], weights.shape[1]), (height, width), laid.area, stretch=laid.stretch)
    left, top, right, bottom = laid.area or (0, 0, width, height)
    draw_image(ax, picture)
    ax.imshow(
        weights,
        cmap=colours.cmap,
        norm=colours.norm,
        interpolation=laid.interpolation,
        interpolation_stage="data",
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
