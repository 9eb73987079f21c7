"""One number for each head of each layer, as dots or as cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.colors import Colormap
from matplotlib.ticker import MaxNLocator

from astcapture.plot.arrays import FloatArray
from astcapture.plot.colour_bar import draw_colour_bar
from astcapture.plot.colours import choose_colours
from astcapture.plot.layer_sequence import short_names

#: "dots": layers to the right, the number upwards, a dot for each head. "cells": layers downwards, heads to the
#: right, the number as colour.
Style = Literal["dots", "cells"]

_MOST_NAMES = 30


def draw_statistic(
    ax: Axes | None,
    names: Sequence[str],
    values: Sequence[FloatArray],
    *,
    meaning: str,
    style: Style,
    title: str | None,
    cmap: str | Colormap | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
) -> Axes:
    """Draw `values`, (heads,) for each layer; a NaN is a grey cell, or no dot and counted in the legend."""
    if style not in ("dots", "cells"):
        raise ValueError(f'style={style!r}; accepted are "dots" and "cells"')
    shown, pattern = short_names(names)
    layer_label = f"layer ({pattern})" if pattern else "layer"
    most = max(map(len, values))
    if ax is None:
        letters = 0.09 * max(map(len, shown))
        cells = 0.36 * most + 2.6 + letters, 0.32 * len(names) + 1.3
        size = (0.32 * len(names) + 3, 3.4) if style == "dots" else cells
        _, ax = plt.subplots(figsize=(max(size[0], 4.4 + letters), max(size[1], 3.2)), layout="constrained")
    if style == "dots":
        _dots(ax, values, vmin=vmin, vmax=vmax)
        ax.set(xlabel=layer_label, ylabel=meaning)
        _name(ax.xaxis, shown)
    else:
        every = np.concatenate(list(values))
        colours = choose_colours(every, cmap=cmap, vmin=vmin, vmax=vmax)
        for row, one in enumerate(values):
            # A row of its own, so that the place of a head that a layer does not have stays empty.
            extent = (-0.5, len(one) - 0.5, row + 0.5, row - 0.5)
            ax.imshow(one[None], cmap=colours.cmap, norm=colours.norm, extent=extent, interpolation="nearest")
        ax.set(xlabel="head", ylabel=layer_label, xlim=(-0.5, most - 0.5), ylim=(len(values) - 0.5, -0.5))
        ax.xaxis.set_major_locator(MaxNLocator(min(12, most), integer=True, min_n_ticks=1))
        _name(ax.yaxis, shown)
        draw_colour_bar([ax], colours, every, of=meaning)
    if title is not None:
        ax.set_title(title, fontsize="medium")
    return ax


def _dots(ax: Axes, values: Sequence[FloatArray], *, vmin: float | None, vmax: float | None) -> None:
    places = np.repeat(np.arange(len(values)), [len(one) for one in values])
    ax.scatter(places, np.concatenate(list(values)), s=22, alpha=0.6, color="tab:blue", edgecolors="none", label="head")
    means = [np.mean(one) for one in values]
    ax.plot(range(len(values)), means, color="black", linewidth=1, marker="_", markersize=9, label="mean of heads")
    ax.set_xlim(-0.5, len(values) - 0.5)
    finite = np.concatenate(list(values))[np.isfinite(np.concatenate(list(values)))]
    # From zero, with room for whole dots above.
    ax.set_ylim(0 if vmin is None else vmin, 1.08 * finite.max(initial=0) or 1 if vmax is None else vmax)
    ax.grid(axis="y", color="0.9")
    ax.set_axisbelow(True)
    undefined = sum(int((~np.isfinite(one)).sum()) for one in values)
    if undefined:
        ax.plot([], [], linestyle="none", label=f"{undefined} undefined")
    ax.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))


def _name(axis: Axis, names: Sequence[str]) -> None:
    """Write the layers' names on their axis: every second, third, ... where they are many."""
    step = -(-len(names) // _MOST_NAMES)
    places = range(0, len(names), step)
    # Side by side where there is room, about 0.08 inches for a letter; else they stand.
    wide = 0.08 * max(map(len, names)) * len(places) > 0.32 * len(names) + 1.0
    upright = isinstance(axis, XAxis) and wide
    axis.set_ticks(places, labels=[names[place] for place in places], rotation=90 if upright else 0)
