"""What the CLS token attends to, head by head."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from astcapture.plot.arrays import FloatArray, Plottable, as_array
from astcapture.plot.attention_maps import layer_maps, square
from astcapture.plot.colour_bar import draw_colour_bar
from astcapture.plot.colours import Colours, choose_colours
from astcapture.plot.fit import Area
from astcapture.plot.images import as_image
from astcapture.plot.outlier import one_hides_the_rest
from astcapture.plot.over_image import Laid, OverStyle, draw_image, draw_over_image, panel_width
from astcapture.plot.page import in_scale, new_figure
from astcapture.plot.panels import arrange
from astcapture.plot.patches import Grid, layout
from astcapture.plot.shown_once import shown_once
from astcapture.plot.titles import layer_of

_PANEL_INCHES = 2.0
_TITLE_INCHES = 1.8


def cls_attention(
    attention: Plottable,
    image: Any = None,
    *,
    grid: Grid | None = None,
    cls: bool | int | None = None,
    batch: int | None = None,
    figure: Figure | SubFigure | None = None,
    mean: bool = True,
    shared_scale: bool | None = None,
    style: OverStyle = "fade",
    area: Area | None = None,
    stretch: bool = False,
    colorbar: bool = True,
    title: str | None = None,
    cmap: str | Colormap | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    label: str = "weight of a patch",
    opacity: float | None = None,
    interpolation: str = "bilinear",
) -> Figure | SubFigure:
    r"""Draw what the CLS token attends to in the image, a panel for each head and one for their mean.

    Each panel's title says how much of its attention CLS pays to the patches, to itself, and to registers; the
    colours are those of the patches' weights.

    Args:
        attention: (tokens, tokens), (heads, tokens, tokens) or (batch, heads, tokens, tokens): a tensor, an
            array, `Records` of one value, or a `Record`. A layer in which CLS alone attends has one query in place
            of as many as tokens.
        image: what to draw the maps over, shown first; the maps alone if left out.
        grid: (rows, columns) of patches, needed where they do not form a square.
        cls: how many tokens stand before the patches, as for `patch_to_patch`.
        batch: the example, where there are several.
        figure: an empty figure or subfigure to draw in; a new one if left out.
        mean: whether to draw the mean over the heads.
        shared_scale: True for one scale of colours for all panels, False for a scale of each panel's own. If left out,
            the scale is shared unless most heads would use less than two thirds of it. What was chosen is written on
            the picture.
        style, area, stretch, opacity, interpolation: as for `overlay`.
        colorbar: whether a colour bar is drawn.
        title: the title above all panels; that it is what CLS attends to, and the layer where it is known, if left
            out.
        label: what the colour bar says that the colours mean.
        cmap, vmin, vmax: as for `head`, but the range begins at the least value that is drawn.

    Raises:
        ValueError: another shape, tokens that do not fill the grid or hold no CLS token, an example that does
            not exist or has to be picked.

    >>> figure = cls_attention(np.full((4, 17, 17), 1 / 17))
    >>> [ax.get_title() for ax in figure.axes[:2]]
    ['head 0\n94 % to patches, 6 % to itself', 'head 1\n94 % to patches, 6 % to itself']
    """
    weights = as_array(attention)
    is_one_query = weights.ndim >= 2 and weights.shape[-2] == 1
    maps = layer_maps(weights if is_one_query else square(weights), batch=batch)
    tokens = layout(maps.shape[-1], grid, cls)
    if tokens.prefix == 0:
        raise ValueError(f"the {maps.shape[-1]} tokens are {tokens.grid} patches and hold no CLS token; pass cls=")
    names = [f"head {number}" for number in range(len(maps))]
    if mean and len(maps) > 1:
        maps = np.concatenate([maps, maps.mean(axis=0, keepdims=True)])
        names.append("mean")
    rows = maps[:, 0]
    patches = rows[:, tokens.prefix :].reshape(-1, *tokens.grid)
    picture = None if image is None else as_image(image)
    laid = Laid(opacity, interpolation, area, style, stretch)
    if shared_scale is None:
        shared_scale = not one_hides_the_rest(patches, 2 / 3)

    def colours_of(weights: FloatArray) -> Colours:
        colours = choose_colours(weights, cmap=cmap, vmin=vmin, vmax=vmax)
        return colours if picture is None else laid.colours(colours)

    size = tokens.grid if picture is None else picture.shape[:2]
    axes = _panels(figure, len(maps) + (picture is not None), size, own_bars=colorbar and not shared_scale)
    panels = axes
    if picture is not None:
        draw_image(axes[0], picture)
        axes[0].set_title("image", fontsize="medium")
        panels = axes[1:]
    for ax, weights, row, name in zip(panels, patches, rows, names, strict=True):
        colours = colours_of(patches if shared_scale else weights)
        if picture is None:
            ax.imshow(weights, cmap=colours.cmap, norm=colours.norm)
            ax.set_axis_off()
        else:
            draw_over_image(ax, picture, weights, colours, laid)
        ax.set_title("\n".join([name, *_shares(row, tokens.prefix)]), fontsize="small")
        if colorbar and not shared_scale:
            draw_colour_bar([ax], colours, weights, label=None).ax.tick_params(labelsize="x-small")
    if colorbar and shared_scale:
        draw_colour_bar(axes, colours_of(patches), patches, label=label)
    whole = axes[0].get_figure()
    assert whole is not None  # the axes have been made in one
    where = layer_of(attention)
    whole.suptitle(title if title is not None else "what CLS attends to" + (f", {where}" if where else ""))
    if len(maps) > 1:
        scale = "one scale for all panels" if shared_scale else "a scale for each panel"
        whole.supxlabel(f"colours: {label}, {scale}", fontsize="medium")
    return shown_once(whole)


def _shares(row: FloatArray, prefix: int) -> list[str]:
    """Say in lines to what CLS attends; nothing where it has no weights.

    >>> _shares(np.array([0.5, 0.1, 0.1, 0.3]), prefix=3)
    ['30 % to patches,', '50 % to itself, 20 % to registers']
    """
    total = row.sum()  # less than 1 after dropout
    if not np.isfinite(total) or total == 0:
        return []
    itself, registers, patches = row[0] / total, row[1:prefix].sum() / total, row[prefix:].sum() / total
    words = f"{100 * itself:.0f} % to itself"
    if prefix == 1:
        return [f"{100 * patches:.0f} % to patches, {words}"]
    return [f"{100 * patches:.0f} % to patches,", f"{words}, {100 * registers:.0f} % to registers"]


def _panels(figure: Figure | SubFigure | None, count: int, size: tuple[int, ...], *, own_bars: bool) -> list[Axes]:
    """Make `count` axes for pictures of (height, width)."""
    rows, columns = arrange(count)
    if figure is None:
        wide = panel_width(np.empty(size))
        high = _PANEL_INCHES / max(wide, 1.0) ** 0.5
        width = max(high * wide, _TITLE_INCHES)
        gap = in_scale(max(0.04, (width - high * wide) / 2))  # the titles of narrow images need room
        engine = ConstrainedLayoutEngine(w_pad=gap, compress=True)
        bars = 0.6 * columns if own_bars else 1.2
        figure = new_figure(columns * width + bars + 0.4, rows * (high + 0.5) + 0.8, engine)
    axes: list[Axes] = list(figure.subplots(rows, columns, squeeze=False).flat)
    for empty in axes[count:]:
        empty.remove()
    return axes[:count]
