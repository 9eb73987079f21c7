"""What the edits of single heads do to a number: a cell for each head of each layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap

from astcapture.plot.arrays import FloatArray, Plottable, as_array
from astcapture.plot.colour_bar import draw_colour_bar
from astcapture.plot.colours import DIVERGING, choose_colours
from astcapture.plot.layer_sequence import short_names
from astcapture.plot.page import new_axes

if TYPE_CHECKING:
    from astcapture.edits.effects import Effects

#: As many columns, and as many rows, are named at most.
_MOST_NAMES = 16


def effects(
    effects: Effects | Plottable,
    *,
    ax: Axes | None = None,
    colorbar: bool = True,
    title: str | None = None,
    label: str | None = None,
    cmap: str | Colormap | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
) -> Axes:
    """Draw how a number changes with the edit of each head of each layer.

    Layers go downwards, heads (or tokens, where each edit is of one token) to the right. White is no change, red is
    more and blue is less. A place without an edit is hatched, a change that is not finite is grey.

    Args:
        effects: what `astcapture.effects` returns for edits of one head, or of one token, of one layer each; or an
            array of changes, (layers, heads).
        ax: where to draw; a new figure if left out.
        colorbar: whether a colour bar is drawn.
        title: the title; the number without an edit if left out.
        label: what the colour bar says; "change of " and the name of the number if left out.
        cmap, vmin, vmax: the colour map and its range; symmetric around zero if left out.

    Raises:
        EditError: an effect is of no single head or token on one layer.
        ValueError: an array of another shape, or without a finite value.

    >>> ax = effects(np.array([[0.5, -0.1], [0.0, 2.0]]))
    >>> ax.get_ylabel(), ax.get_xlabel(), len(ax.get_yticks())
    ('layer', 'head', 2)
    """
    changes, missing, names, numbers, column, metric, plain = _grid(effects)
    most = float(np.abs(changes[np.isfinite(changes)]).max(initial=0.0)) or 1.0
    low, high = -most if vmin is None else vmin, most if vmax is None else vmax
    colours = choose_colours(changes, cmap=cmap or DIVERGING, vmin=low, vmax=high)
    shown, pattern = short_names(names)
    rows = f"layer ({pattern})" if pattern else "layer"
    label = label or (f"change of {metric}" if metric else "change")
    if ax is None:
        width = 0.36 * len(numbers) + 2.6 + 0.09 * max(map(len, shown))
        # The labels are upright, beside the cells.
        height = max(0.36 * len(names), 0.09 * max(len(rows), len(label)), 1.0) + 1.3
        ax = new_axes(max(width, 4.4), height, "constrained")
    shape = (-0.5, len(numbers) - 0.5, len(names) - 0.5, -0.5)
    ax.patch.set(facecolor="white", hatch="////", edgecolor="0.8", linewidth=0)
    drawn = colours.cmap(colours.norm(np.ma.masked_invalid(changes)))
    drawn[missing, 3] = 0
    ax.imshow(drawn, extent=shape, aspect="auto", interpolation="nearest")
    for axis, named in ((ax.xaxis, [*map(str, numbers)]), (ax.yaxis, shown)):
        step = -(-len(named) // _MOST_NAMES)
        axis.set_ticks(range(0, len(named), step), labels=named[::step])
    ax.set(xlabel=column, ylabel=rows)
    if title is None and plain is not None:
        title = f"{metric} without an edit: {plain:.3g}"
    if title:
        ax.set_title(title, fontsize="medium")
    if colorbar:
        draw_colour_bar([ax], colours, changes[~missing], label=label)
    return ax


def _grid(effects: Effects | Plottable) -> tuple[FloatArray, Any, list[str], list[int], str, str, float | None]:
    """The changes, where there is no edit, the rows, the columns, what these are, the number, and it without edits."""
    from astcapture.edits.effects import Effects

    if isinstance(effects, Effects):
        # The outermost module's own path is empty.
        names = [name or "the model itself" for name in effects.layers]
        changes, column = effects.array(), effects.column
        missing = np.ones(changes.shape, dtype=bool)
        for one in effects:
            missing[effects.layers.index(one.layer or ""), effects.numbers.index(getattr(one, column))] = False
        return changes, missing, names, effects.numbers, column, effects.metric, effects.plain
    changes = as_array(effects)
    if changes.ndim != 2 or changes.size == 0:
        raise ValueError(f"effects has shape {changes.shape}; accepted are Effects, or an array of (layers, heads)")
    rows, columns = changes.shape
    missing = np.zeros(changes.shape, dtype=bool)
    return changes, missing, [*map(str, range(rows))], [*range(columns)], "head", "", None
