"""The attention that one patch of an image pays to all others, over the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from astcapture.plot.arrays import FloatArray, Plottable, as_array
from astcapture.plot.attention_maps import head_or_mean
from astcapture.plot.colour_bar import draw_colour_bar
from astcapture.plot.colours import choose_colours
from astcapture.plot.fit import Area
from astcapture.plot.images import as_image
from astcapture.plot.outline import draw_outline
from astcapture.plot.over_image import Laid, OverStyle, draw_image, draw_over_image, panel_width
from astcapture.plot.page import in_scale, new_figure
from astcapture.plot.patches import Grid, layout, patch_position, split_patches
from astcapture.plot.shown_once import shown_once
from astcapture.plot.special_cells import Cells, draw_special_cells, place_cells
from astcapture.plot.titles import title_of


def patch_to_patch(
    attention: Plottable,
    image: Any,
    patch: int | tuple[int, int] | Literal["cls"],
    *,
    grid: Grid | None = None,
    cls: bool | int | None = None,
    head: int | None = None,
    batch: int | None = None,
    ax: Sequence[Axes] | None = None,
    style: OverStyle = "fade",
    area: Area | None = None,
    stretch: bool = False,
    colorbar: bool = True,
    title: str | None = None,
    cmap: str | Colormap | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    label: str = "weight",
    opacity: float | None = None,
    interpolation: str = "bilinear",
) -> Figure | SubFigure:
    r"""Draw an image with one patch outlined, and beside it the attention from this patch to all patches.

    The map is laid over the image, or `area` of it, as `overlay` does.
    The weights of a CLS token and of register tokens stand beside it, each in a cell of its own
    with its number below. The colour range is that of the patches; a special token's weight
    beyond it has the colour of the end, and the colour bar is pointed there.

    Args:
        attention: (tokens, tokens), (heads, tokens, tokens) or (batch, heads, tokens, tokens): a
            tensor, an array, `Records` of one value, or a `Record`.
        image: (height, width), (height, width, channels) or (channels, height, width): a tensor,
            an array or a PIL image.
        patch: the query: its index, counted row by row from the top left without the special
            tokens, or its (row, column), or "cls".
        grid: (rows, columns) of patches, needed where they do not form a square.
        cls: how many tokens stand before the patches: 0 or False for none, 1 or True for a CLS
            token, 5 for a CLS token and 4 registers. Left out, it is found from the number of
            tokens: with a grid, those left over; without, none or one, whichever leaves a square.
        head: the head; the mean over the heads if left out.
        batch: the example, where there are several.
        ax: two axes to draw in, for the image and for the map; a new figure if left out.
        style, area, stretch, opacity, interpolation: as for `overlay`.
        colorbar: whether a colour bar is drawn.
        title: the title above both; the layer if left out, where the values are `Records` or a `Record`.
        label: what the colour bar says that the colours mean.
        cmap, vmin, vmax: as for `head`, but the range begins at the least value that is drawn.

    Raises:
        ValueError: another shape, tokens that do not fill the grid, a patch outside it, "cls"
            where there is no such token, a head or example that does not exist.

    >>> import numpy as np
    >>> figure = patch_to_patch(np.full((4, 17, 17), 1 / 17), np.zeros((8, 8)), (1, 2))
    >>> [ax.get_title() for ax in figure.axes[:2]]
    ['patch (1, 2)', 'attends to\nmean of 4 heads']
    """
    weights, source = head_or_mean(as_array(attention), batch=batch, head=head)
    tokens = layout(len(weights), grid, cls)
    position = None if patch == "cls" else patch_position(patch, tokens.grid)
    if position is None and tokens.prefix == 0:
        raise ValueError(f'patch="cls": the {len(weights)} tokens are {tokens.grid} patches and hold no CLS token')
    query = 0 if position is None else tokens.prefix + position[0] * tokens.grid[1] + position[1]
    special, patches = split_patches(weights[query], tokens)
    picture = as_image(image)
    laid = Laid(opacity, interpolation, area, style, stretch)
    colours = laid.colours(choose_colours(patches, cmap=cmap, vmin=vmin, vmax=vmax))
    cells = place_cells(tokens.prefix, len(picture), len(picture) / tokens.grid[0])

    if ax is None:
        ax = _new_axes(picture, cells, tokens.prefix)
    left, right = ax
    draw_image(left, picture)
    left.set_title("CLS token" if position is None else f"patch {position}", fontsize="medium")
    draw_over_image(right, picture, patches, colours, laid)
    right.set_title(f"attends to\n{source}", fontsize="medium")
    if position is not None:
        for axes in (left, right):
            _outline_patch(axes, position, tokens.grid, area or (0, 0, picture.shape[1], picture.shape[0]))
    if tokens.prefix:
        draw_special_cells(right, special, colours, cells, outlined=0 if position is None else None)
    figure = right.get_figure()
    assert figure is not None  # axes that are drawn in belong to a figure
    if colorbar:
        draw_colour_bar([right], colours, weights[query], label=label)
    title = title_of(attention, title)
    if title is not None:
        figure.suptitle(title)
    return shown_once(figure)


def _new_axes(picture: FloatArray, cells: Cells, special: int) -> tuple[Axes, Axes]:
    height = len(picture)
    wide = panel_width(picture)
    side = max(3.4 / max(wide, 1.0) ** 0.25, 0.58 * special)  # room for every cell's name and number
    beside = cells.width / height
    gap = max(0.04, (1.6 - wide * side) / 2)  # the titles of narrow images need room
    engine = ConstrainedLayoutEngine(w_pad=in_scale(gap), compress=True)
    figure = new_figure((2 * wide + beside) * side + 4 * gap + 1.2, side + 0.75, engine)
    left, right = figure.subplots(1, 2, width_ratios=(wide, wide + beside))
    return left, right


def _outline_patch(ax: Axes, position: tuple[int, int], grid: Grid, area: Area) -> None:
    left, top, right, bottom = area
    height, width = (bottom - top) / grid[0], (right - left) / grid[1]
    # matplotlib's pixel 0 goes from -0.5 to 0.5.
    draw_outline(ax, (left + position[1] * width - 0.5, top + position[0] * height - 0.5), width, height)
