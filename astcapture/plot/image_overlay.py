"""Any map over any image."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import Colormap

from astcapture.plot.arrays import FloatArray, Plottable, as_array
from astcapture.plot.colour_bar import draw_colour_bar
from astcapture.plot.colours import choose_colours
from astcapture.plot.fit import Area
from astcapture.plot.images import as_image
from astcapture.plot.over_image import Laid, OverStyle, draw_over_image, panel_width
from astcapture.plot.page import new_axes
from astcapture.plot.titles import title_of


def overlay(
    values: Plottable,
    image: Any,
    *,
    ax: Axes | None = None,
    style: OverStyle = "fade",
    area: Area | None = None,
    stretch: bool = False,
    opacity: float | None = None,
    interpolation: str = "bilinear",
    colorbar: bool = True,
    title: str | None = None,
    label: str = "weight",
    cmap: str | Colormap | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
) -> Axes:
    """Draw an image and a map over it, enlarged to the image's size, with a colour bar.

    The image keeps its own colours where the weight is low: the opacity of the map follows the weight. The map
    covers the whole image, or `area` of it, with square patches. Pass the image that the model saw, after resizing
    and cropping.

    Args:
        values: (rows, columns), of any size, NaN where there is nothing to see (such places are grey); axes of
            length 1 may stand before. A tensor, an array, `Records` of one value, or a `Record`.
        image: (height, width), (height, width, channels) or (channels, height, width) with 1, 3 or 4 channels:
            a tensor, an array or a PIL image.
        ax: where to draw; a new figure if left out.
        style: "fade": the opacity of the map grows from the lowest weight to the highest. "mask": no colours, and
            the image is dark where the weight is low. "even": one opacity everywhere.
        area: (left, top, right, bottom) in pixels of the image, the part that the model saw: of a model that cuts
            out the middle, this middle.
        stretch: stretch the map over an image of other proportions: for a model that squeezed the whole image into
            its input.
        opacity: from 0 to 1: of the highest weight under "fade" (0.75 if left out), of the shadow on the lowest
            weight under "mask" (0.75), of the whole map under "even" (0.6).
        interpolation: matplotlib's name for how the map is enlarged; "nearest" shows its cells.
        colorbar: whether a colour bar is drawn.
        title: the title; the layer if left out, where the values are `Records` or a `Record`.
        label: what the colour bar says that the colours mean.
        cmap, vmin, vmax: as for `head`, but the range begins at the least value that is drawn.

    Raises:
        ValueError: a map or an image of another shape, an area outside the image, or a map whose patches would not
            be square.

    >>> import numpy as np
    >>> ax = overlay(np.ones((3, 4)), np.zeros((30, 40)))
    >>> ax.images[-1].get_extent()
    [-0.5, 39.5, 29.5, -0.5]
    """
    weights, picture = _map(as_array(values)), as_image(image)
    laid = Laid(opacity, interpolation, area, style, stretch)
    colours = laid.colours(choose_colours(weights, cmap=cmap, vmin=vmin, vmax=vmax))
    ax = new_panel(picture) if ax is None else ax
    draw_over_image(ax, picture, weights, colours, laid)
    title = title_of(values, title)
    if title is not None:
        ax.set_title(title)
    if colorbar:
        draw_colour_bar([ax], colours, weights, label=label)
    return ax


def new_panel(picture: FloatArray) -> Axes:
    """Make axes for an image, with room for a colour bar."""
    wide = panel_width(picture)
    side = 3.6 / max(wide, 1.0) ** 0.5
    return new_axes(max(wide * side, 2.2) + 1.2, side + 0.5)


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
