"""The attention of one head."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.colors import Colormap

from astcapture.plot.arrays import Plottable, as_array
from astcapture.plot.attention_maps import one_map
from astcapture.plot.colour_bar import draw_colour_bar
from astcapture.plot.colours import choose_colours
from astcapture.plot.heat_map import KEYS, MOST_LABELS, QUERIES, draw_heat_map, label_token_axes, panel_ratio
from astcapture.plot.meaning import DIFFERENCE, meaning_of
from astcapture.plot.page import new_axes
from astcapture.plot.special_tokens import special_tokens
from astcapture.plot.titles import title_of


def head(
    attention: Plottable,
    *,
    ax: Axes | None = None,
    head: int | None = None,
    batch: int | None = None,
    tokens: Sequence[str] | None = None,
    cls: bool | int | None = None,
    colorbar: bool = True,
    title: str | None = None,
    label: str | None = None,
    cmap: str | Colormap | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
) -> Axes:
    """Draw the attention map of one head, queries downwards and keys to the right, with a colour bar.

    Args:
        attention: (queries, keys), (heads, queries, keys) or (batch, heads, queries, keys):
            a tensor, an array, `Records` of one value, or a `Record`. There may be any number of queries: one in a
            decoding step, those of another text in cross attention.
        ax: where to draw; a new figure if left out.
        head: the head, where there are several.
        batch: the example, where there are several.
        tokens: labels for the axis, or the axes, with as many tokens.
        cls: how many special tokens stand before the patches of a vision transformer, to be marked on the axes: 1 for
            CLS, 5 for CLS and four registers, 0 for none. If left out, CLS is marked where the values are `Records`
            or a `Record` of a vision model and the other tokens form a square.
        colorbar: whether a colour bar is drawn.
        title: the title. If left out: the layer, where the values are `Records` or a `Record`, the head that was
            picked, and "difference", where the values are one.
        label: what the colour bar says that the colours mean. If left out: "weight"; where numbers are negative,
            "difference" if each row sums to zero, as the difference of two attention maps does, else "value".
        cmap: a colour map of matplotlib's; viridis if left out, or, where a weight is negative, a
            diverging one that is white at zero.
        vmin, vmax: the range of the colour bar. If left out, it goes from 0 to the greatest finite weight; where a
            weight is negative, it is symmetric about 0. NaN and infinite weights are grey.

    Raises:
        ValueError: another shape, a head or example that does not exist or has to be picked, as
            many tokens as neither queries nor keys, or an impossible colour range.

    >>> import numpy as np
    >>> ax = head(np.full((2, 4, 9, 9), 1 / 9), batch=0, head=3)
    >>> ax.get_title(), ax.get_xlabel(), ax.get_ylabel()
    ('head 3', 'attends to', 'attends from')
    """
    weights = one_map(as_array(attention), batch=batch, head=head)
    colours = choose_colours(weights, cmap=cmap, vmin=vmin, vmax=vmax, from_zero=True)
    if ax is None:
        ax = new_axes(*_size(tokens, weights.shape))
    draw_heat_map(ax, weights, colours)
    label_token_axes(ax, weights.shape, tokens, prefix=special_tokens(attention, weights.shape[1], cls))
    ax.set(xlabel=KEYS, ylabel=QUERIES)
    meaning = meaning_of([weights])
    difference = DIFFERENCE if meaning == DIFFERENCE else ""
    title = title_of(attention, title, "" if head is None else f"head {head}", difference)
    if title is not None:
        ax.set_title(title)
    if colorbar:
        draw_colour_bar([ax], colours, weights, label=meaning if label is None else label)
    return ax


def _size(tokens: Sequence[str] | None, shape: tuple[int, ...]) -> tuple[float, float]:
    """Return a figure's width and height in inches, with a line's height for every token that is written."""
    written = min(len(tokens or ()), MOST_LABELS)
    longest = max((len(token) for token in tokens or ()), default=0)
    side = max(4.5, 0.16 * written + 0.08 * longest + 1)
    if panel_ratio(shape) is None and shape[0] < shape[1]:
        return side + 1, 0.08 * longest + min(0.3 * shape[0], side) + 1.2  # a step of a loop: few rows
    return side + 1, side
