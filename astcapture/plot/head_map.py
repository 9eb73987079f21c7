"""The attention of one head."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import Colormap

from astcapture.plot.arrays import Plottable, as_array
from astcapture.plot.attention_maps import one_map
from astcapture.plot.colour_bar import draw_colour_bar
from astcapture.plot.colours import choose_colours
from astcapture.plot.heat_map import MOST_LABELS, draw_heat_map, label_token_axes


def head(
    attention: Plottable,
    *,
    ax: Axes | None = None,
    head: int | None = None,
    batch: int | None = None,
    tokens: Sequence[str] | None = None,
    title: str | None = None,
    label: str = "weight",
    cmap: str | Colormap | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
) -> Axes:
    """Draw the attention map of one head, queries downwards and keys to the right, with a colour bar.

    Args:
        attention: (queries, keys), (heads, queries, keys) or (batch, heads, queries, keys):
            a tensor, an array, or `Records` of one value.
        ax: where to draw; a new figure if left out.
        head: the head, where there are several.
        batch: the example, where there are several.
        tokens: labels for the axis, or the axes, with as many tokens.
        title: the title; "head 3" if left out and a head was picked.
        label: what the colour bar says that the colours mean.
        cmap: a colour map of matplotlib's; viridis if left out, or, where a weight is negative, a
            diverging one that is white at zero.
        vmin, vmax: the range of the colour bar; that of the finite weights if left out. NaN and
            infinite weights are grey.

    Raises:
        ValueError: another shape, a head or example that does not exist or has to be picked, as
            many tokens as neither queries nor keys, or an impossible colour range.

    >>> import numpy as np
    >>> ax = head(np.full((2, 4, 9, 9), 1 / 9), batch=0, head=3)
    >>> ax.get_title(), ax.get_xlabel(), ax.get_ylabel()
    ('head 3', 'key', 'query')
    """
    weights = one_map(as_array(attention), batch=batch, head=head)
    colours = choose_colours(weights, cmap=cmap, vmin=vmin, vmax=vmax)
    if ax is None:
        _, ax = plt.subplots(figsize=_size(tokens), layout="compressed")
    draw_heat_map(ax, weights, colours)
    label_token_axes(ax, weights.shape, tokens)
    ax.set(xlabel="key", ylabel="query")
    if title is None and head is not None:
        title = f"head {head}"
    if title is not None:
        ax.set_title(title)
    draw_colour_bar([ax], colours, weights, of=label)
    return ax


def _size(tokens: Sequence[str] | None) -> tuple[float, float]:
    """Return a figure's width and height in inches, with a line's height for every token that is written."""
    written = min(len(tokens or ()), MOST_LABELS)
    longest = max((len(token) for token in tokens or ()), default=0)
    side = max(4.5, 0.16 * written + 0.08 * longest + 1)
    return side + 1, side
