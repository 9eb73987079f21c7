"""All heads of one layer, and their mean."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure, SubFigure

from astcapture.plot.arrays import Plottable, as_array
from astcapture.plot.attention_maps import layer_maps
from astcapture.plot.colour_bar import draw_colour_bar
from astcapture.plot.colours import choose_colours
from astcapture.plot.heat_map import draw_heat_map, label_token_axes, panel_ratio
from astcapture.plot.panels import arrange
from astcapture.plot.reduce import block_means, block_size
from astcapture.plot.shown_once import shown_once

_PANEL_INCHES = 1.9
#: As many as a panel shows on the screen.
_MOST_CELLS = 256
_BAR_INCHES = 0.9
_OWN_BAR_INCHES = 0.6


def heads(
    attention: Plottable,
    *,
    figure: Figure | SubFigure | None = None,
    batch: int | None = None,
    mean: bool = True,
    shared_scale: bool = True,
    title: str | None = None,
    cmap: str | Colormap | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
) -> Figure | SubFigure:
    """Draw the attention maps of all heads of a layer, and their mean after the last.

    Maps of more than 256 tokens are averaged over blocks of tokens, and the colour range is that of the averages.

    Args:
        attention: (heads, queries, keys) or (batch, heads, queries, keys), or (queries, keys) for
            one head: a tensor, an array, or `Records` of one value.
        figure: an empty figure or subfigure to draw in; a new one if left out.
        batch: the example, where there are several.
        mean: whether to draw the mean over the heads. Of one head it is left out. A weight that
            is NaN in one head is NaN in the mean.
        shared_scale: one colour bar for all panels, from the least weight to the greatest; else
            one for each panel.
        title: the title above all panels.
        cmap, vmin, vmax: as for `head`.

    Raises:
        ValueError: another shape, or an example that does not exist or has to be picked.

    >>> import numpy as np
    >>> figure = heads(np.full((6, 9, 9), 1 / 9))
    >>> [ax.get_title() for ax in figure.axes[:7]]
    ['head 0', 'head 1', 'head 2', 'head 3', 'head 4', 'head 5', 'mean']
    """
    maps = layer_maps(as_array(attention), batch=batch)
    queries, keys = maps.shape[1:]
    block = block_size(maps.shape, _MOST_CELLS)
    maps = block_means(maps, block)
    names = [f"head {number}" for number in range(len(maps))]
    if mean and len(maps) > 1:
        maps = np.concatenate([maps, maps.mean(axis=0, keepdims=True)])
        names.append("mean")
    rows, columns = arrange(len(maps))
    if figure is None:
        ratio = panel_ratio(maps.shape[1:]) or 1.0
        width, height = _PANEL_INCHES / max(ratio, 1), _PANEL_INCHES * min(ratio, 1)
        bars = _BAR_INCHES if shared_scale else _OWN_BAR_INCHES * columns
        size = (columns * width + bars + 0.4, rows * (height + 0.25) + (0.7 if title else 0.4))
        figure = plt.figure(figsize=size, layout="compressed")
    grid = figure.subplots(rows, columns, squeeze=False)
    axes: list[Axes] = list(grid.flat)
    for empty in axes[len(maps) :]:
        empty.remove()
    shared = choose_colours(maps, cmap=cmap, vmin=vmin, vmax=vmax)
    for place, (ax, weights, name) in enumerate(zip(axes, maps, names, strict=False)):
        colours = shared if shared_scale else choose_colours(weights, cmap=cmap, vmin=vmin, vmax=vmax)
        draw_heat_map(ax, weights, colours, shape=(queries, keys))
        label_token_axes(ax, (queries, keys), None, most_ticks=4)
        ax.set_title(name, fontsize="medium")
        # Numbers only where no panel follows below, or to the left, so that there is room.
        ax.tick_params(labelbottom=place + columns >= len(maps), labelleft=place % columns == 0, labelsize="small")
        if not shared_scale:
            draw_colour_bar([ax], colours, weights, label=False).ax.tick_params(labelsize="x-small")
    if shared_scale:
        of = "weight" if block == 1 else f"mean weight of {block} × {block}"
        draw_colour_bar(axes[: len(maps)], shared, maps, of=of)
    figure.supxlabel("key", fontsize="medium")
    figure.supylabel("query", fontsize="medium")
    if title is not None:
        figure.suptitle(title)
    return shown_once(figure)
