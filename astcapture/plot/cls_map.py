"""What the CLS token attends to, head by head."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from astcapture.plot.arrays import Plottable, as_array
from astcapture.plot.attention_maps import layer_maps, square
from astcapture.plot.colour_bar import draw_colour_bar
from astcapture.plot.colours import choose_colours
from astcapture.plot.images import as_image
from astcapture.plot.over_image import Area, Laid, draw_image, draw_over_image, panel_width
from astcapture.plot.panels import arrange
from astcapture.plot.patches import Grid, layout
from astcapture.plot.shown_once import shown_once

_PANEL_INCHES = 2.0
_TITLE_INCHES = 1.45


def cls_attention(
    attention: Plottable,
    image: Any = None,
    *,
    grid: Grid | None = None,
    cls: bool | int | None = None,
    batch: int | None = None,
    figure: Figure | SubFigure | None = None,
    mean: bool = True,
    area: Area | None = None,
    title: str | None = None,
    cmap: str | Colormap | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    opacity: float = 0.6,
    interpolation: str = "bilinear",
) -> Figure | SubFigure:
    """Draw what the CLS token attends to in the image, a panel for each head and one for their mean.

    Each panel's title tells the share of the weights that lies on the patches, where the rest lies on CLS itself
    and on registers; the colours are those of the patches' weights, in one range for all panels.

    Args:
        attention: (tokens, tokens), (heads, tokens, tokens) or (batch, heads, tokens, tokens): a tensor, an
            array, or `Records` of one value.
        image: what to draw the maps over, shown first; the maps alone if left out.
        grid: (rows, columns) of patches, needed where they do not form a square.
        cls: how many tokens stand before the patches, as for `patch_to_patch`.
        batch: the example, where there are several.
        figure: an empty figure or subfigure to draw in; a new one if left out.
        mean: whether to draw the mean over the heads.
        area: (left, top, right, bottom), the part of the image that the patches are of; all of it if left out.
        title: the title above all panels.
        cmap, vmin, vmax: as for `head`.
        opacity, interpolation: as for `overlay`.

    Raises:
        ValueError: another shape, tokens that do not fill the grid or hold no CLS token, an example that does
            not exist or has to be picked.

    >>> figure = cls_attention(np.full((4, 17, 17), 1 / 17))
    >>> [ax.get_title() for ax in figure.axes[:2]]
    ['head 0 (94%)', 'head 1 (94%)']
    """
    maps = layer_maps(square(as_array(attention)), batch=batch)
    tokens = layout(maps.shape[-1], grid, cls)
    if tokens.prefix == 0:
        raise ValueError(f"the {maps.shape[-1]} tokens are {tokens.grid} patches and hold no CLS token; pass cls=")
    names = [f"head {number}" for number in range(len(maps))]
    if mean and len(maps) > 1:
        maps = np.concatenate([maps, maps.mean(axis=0, keepdims=True)])
        names.append("mean")
    rows = maps[:, 0]
    patches = rows[:, tokens.prefix :].reshape(-1, *tokens.grid)
    # Not of the sum, which is less than 1 after dropout.
    with np.errstate(invalid="ignore", divide="ignore"):
        on_patches = patches.sum(axis=(1, 2)) / rows.sum(axis=1)
    picture = None if image is None else as_image(image)
    colours = choose_colours(patches, cmap=cmap, vmin=vmin, vmax=vmax)

    axes = _panels(figure, len(maps) + (picture is not None), tokens.grid if picture is None else picture.shape[:2])
    panels = axes
    if picture is not None:
        draw_image(axes[0], picture)
        axes[0].set_title("image", fontsize="medium")
        panels = axes[1:]
    for ax, weights, name, share in zip(panels, patches, names, on_patches, strict=True):
        if picture is None:
            ax.imshow(weights, cmap=colours.cmap, norm=colours.norm)
            ax.set_axis_off()
        else:
            draw_over_image(ax, picture, weights, colours, Laid(opacity, interpolation, area))
        ax.set_title(f"{name} ({share:.0%})" if np.isfinite(share) else name, fontsize="medium")
    draw_colour_bar(axes, colours, patches, of="weight of a patch")
    whole = axes[0].get_figure()
    assert whole is not None  # the axes have been made in one
    if title is not None:
        whole.suptitle(title)
    return shown_once(whole)


def _panels(figure: Figure | SubFigure | None, count: int, size: tuple[int, ...]) -> list[Axes]:
    """Make `count` axes for pictures of (height, width)."""
    rows, columns = arrange(count)
    if figure is None:
        wide = panel_width(np.empty(size))
        high = _PANEL_INCHES / max(wide, 1.0) ** 0.5
        width = max(high * wide, _TITLE_INCHES)
        gap = max(0.04, (width - high * wide) / 2)  # the titles of narrow images need room
        size_inches = (columns * width + 1.6, rows * (high + 0.3) + 0.4)
        figure = plt.figure(figsize=size_inches, layout=ConstrainedLayoutEngine(w_pad=gap, compress=True))
    axes: list[Axes] = list(figure.subplots(rows, columns, squeeze=False).flat)
    for empty in axes[count:]:
        empty.remove()
    return axes[:count]
