"""All heads of one layer, and their mean."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure, SubFigure

from astcapture.plot.arrays import Plottable, as_array
from astcapture.plot.attention_maps import layer_maps
from astcapture.plot.colour_bar import draw_colour_bar
from astcapture.plot.colours import choose_colours
from astcapture.plot.heat_map import KEYS, QUERIES, draw_heat_map, label_token_axes, panel_ratio
from astcapture.plot.meaning import DIFFERENCE, meaning_of
from astcapture.plot.outlier import one_hides_the_rest
from astcapture.plot.page import new_figure
from astcapture.plot.panels import arrange
from astcapture.plot.reduce import block_means, block_size
from astcapture.plot.shown_once import shown_once
from astcapture.plot.special_tokens import special_tokens
from astcapture.plot.titles import title_of

_PANEL_INCHES = 1.9
#: As many as a panel shows on the screen.
_MOST_CELLS = 256
_BAR_INCHES = 0.9
_OWN_BAR_INCHES = 0.6
#: Of the panel of a step of a loop, which has few queries and many keys: all heads below each other.
_STRIP_INCHES = 0.42, 5.0


def heads(
    attention: Plottable,
    *,
    figure: Figure | SubFigure | None = None,
    batch: int | None = None,
    mean: bool = True,
    shared_scale: bool | None = None,
    cls: bool | int | None = None,
    colorbar: bool = True,
    title: str | None = None,
    label: str | None = None,
    cmap: str | Colormap | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
) -> Figure | SubFigure:
    """Draw the attention maps of all heads of a layer, and their mean after the last.

    Maps of more than 256 tokens are averaged over blocks of tokens, and the colour range is that of the averages.

    Args:
        attention: (heads, queries, keys) or (batch, heads, queries, keys), or (queries, keys) for
            one head: a tensor, an array, `Records` of one value, or a `Record`. Of a decoding step, with one query or
            few and many keys, the heads are drawn below each other.
        figure: an empty figure or subfigure to draw in; a new one if left out.
        batch: the example, where there are several.
        mean: whether to draw the mean over the heads. Of one head it is left out. A weight that
            is NaN in one head is NaN in the mean.
        shared_scale: True for one scale of colours for all panels, up to the greatest weight; False for
            a scale of each panel's own. If left out, the scale is shared unless most heads would use less than a
            third of it, because one head's weights are so much greater. What was chosen is written on the picture.
        cls: the special tokens before the patches of a vision transformer, as for `head`.
        colorbar: whether colour bars are drawn.
        title: the title above all panels. If left out: the layer, where the values are `Records` or a `Record`, and
            "difference", where they are one.
        label: what the colour bar says that the colours mean. If left out: "weight"; where numbers are negative,
            "difference" if each row sums to zero, as the difference of two attention maps does, else "value".
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
    prefix = special_tokens(attention, keys, cls)
    meaning = meaning_of(maps)
    title = title_of(attention, title, DIFFERENCE if meaning == DIFFERENCE else "")
    label = meaning if label is None else label
    block = block_size(maps.shape, _MOST_CELLS)
    maps = block_means(maps, block)
    if shared_scale is None:
        shared_scale = not one_hides_the_rest(maps, from_zero=True) and len(maps) > 1
    names = [f"head {number}" for number in range(len(maps))]
    if mean and len(maps) > 1:
        maps = np.concatenate([maps, maps.mean(axis=0, keepdims=True)])
        names.append("mean")
    is_strip = panel_ratio((queries, keys)) is None and queries < keys
    rows, columns = (len(maps), 1) if is_strip else arrange(len(maps))
    if figure is None:
        figure = _new_figure((queries, keys), (rows, columns), shared=shared_scale, title=title)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=is_strip)
    axes: list[Axes] = list(grid.flat)
    for empty in axes[len(maps) :]:
        empty.remove()
    shared = choose_colours(maps, cmap=cmap, vmin=vmin, vmax=vmax, from_zero=True)
    for place, (ax, weights, name) in enumerate(zip(axes, maps, names, strict=False)):
        colours = shared if shared_scale else choose_colours(weights, cmap=cmap, vmin=vmin, vmax=vmax, from_zero=True)
        draw_heat_map(ax, weights, colours, shape=(queries, keys))
        label_token_axes(ax, (queries, keys), prefix=prefix, most_ticks=8 if is_strip else 4)
        # Numbers only where no panel follows below, or to the left, so that there is room.
        ax.tick_params(labelbottom=place + columns >= len(maps), labelleft=place % columns == 0, labelsize="small")
        if is_strip:
            ax.set_yticks([])
            ax.set_ylabel(name, rotation=0, ha="right", va="center")
        else:
            ax.set_title(name, fontsize="medium")
        if colorbar and not shared_scale:
            draw_colour_bar([ax], colours, weights, label=None).ax.tick_params(labelsize="x-small")
    what = label if block == 1 else f"mean {label} of {block} × {block}"
    if colorbar and shared_scale:
        draw_colour_bar(axes[: len(maps)], shared, maps, label=what)
    scale = "one scale for all panels" if shared_scale else "a scale for each panel"
    figure.supxlabel(KEYS if len(maps) == 1 else f"{KEYS}\ncolours: {what}, {scale}", fontsize="medium")
    if not is_strip:
        figure.supylabel(QUERIES, fontsize="medium")
    if title is not None:
        figure.suptitle(title)
    return shown_once(figure)


def _new_figure(shape: tuple[int, int], panels: tuple[int, int], *, shared: bool, title: str | None) -> Figure:
    rows, columns = panels
    ratio = panel_ratio(shape)
    if ratio is None and shape[0] < shape[1]:
        height, width = _STRIP_INCHES
        return new_figure(width + _BAR_INCHES + 0.8, rows * height + (1.1 if title else 0.8), "constrained")
    ratio = ratio or 1.0
    width, height = _PANEL_INCHES / max(ratio, 1), _PANEL_INCHES * min(ratio, 1)
    bars = _BAR_INCHES if shared else _OWN_BAR_INCHES * columns
    return new_figure(columns * width + bars + 0.4, rows * (height + 0.25) + (0.7 if title else 0.4))
