"""Any map over any image."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import Colormap

from astcapture.plot.arrays import FloatArray, Plottable, as_array
from astcapture.plot.colour_bar import draw_colour_bar
from astcapture.plot.colours import choose_colours
from astcapture.plot.images import as_image
from astcapture.plot.over_image import Area, Laid, draw_over_image, panel_width


def overlay(
    values: Plottable,
    image: Any,
    *,
    ax: Axes | None = None,
    area: Area | None = None,
    opacity: float = 0.6,
    interpolation: str = "bilinear",
    title: str | None = None,
    label: str = "weight",
    cmap: str | Colormap | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
) -> Axes:
    """Draw an image and a map over it, enlarged to the image's size, with a colour bar.

    The map covers the whole image, or `area` of it. Where their aspects differ it is stretched, as images are
    that a model squeezes into a square; of a model that cuts out the middle of the image, pass as `area` what
    it cut out.

    Args:
        values: (rows, columns), of any size, NaN where there is nothing to see (such places are grey); axes of
            length 1 may stand before. A tensor, an array, or `Records` of one value.
        image: (height, width), (height, width, channels) or (channels, height, width) with 1, 3 or 4 channels:
            a tensor, an array or a PIL image.
        ax: where to draw; a new figure if left out.
        area: (left, top, right, bottom) in pixels of the image.
        opacity: of the map, from 0 to 1.
        interpolation: matplotlib's name for how the map is enlarged; "nearest" shows its cells.
        title: the title.
        label: what the colour bar says that the colours mean.
        cmap, vmin, vmax: as for `head`.

    Raises:
        ValueError: a map or an image of another shape, or an area outside the image.

    >>> import numpy as np
    >>> ax = overlay(np.eye(2), np.zeros((30, 40)))
    >>> ax.images[-1].get_extent()
    [-0.5, 39.5, 29.5, -0.5]
    """
    weights, picture = _map(as_array(values)), as_image(image)
    colours = choose_colours(weights, cmap=cmap, vmin=vmin, vmax=vmax)
    if ax is None:
        wide = panel_width(picture)
        side = 3.6 / max(wide, 1.0) ** 0.5
        _, ax = plt.subplots(figsize=(max(wide * side, 2.2) + 1.2, side + 0.5), layout="compressed")
    draw_over_image(ax, picture, weights, colours, Laid(opacity, interpolation, area))
    if title is not None:
        ax.set_title(title)
    draw_colour_bar([ax], colours, weights, of=label)
    return ax


def _map(values: FloatArray) -> FloatArray:
    weights = values
    while weights.ndim > 2 and len(weights) == 1:
        weights = weights[0]
    if weights.ndim != 2 or weights.size == 0:
        raise ValueError(
            f"the map has shape {values.shape}; accepted is (rows, columns), or with axes of length 1 before: "
            "pick one example, and one channel or their mean"
        )
    return weights
