"""One number for each head of each layer, as dots or as cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.colors import Colormap
from matplotlib.ticker import MaxNLocator

from astcapture.plot.arrays import FloatArray
from astcapture.plot.colour_bar import draw_colour_bar
from astcapture.plot.colours import choose_colours
from astcapture.plot.layer_sequence import short_names
from astcapture.plot.measured import Measured
from astcapture.plot.page import new_axes

#: "dots": layers to the right, the number upwards, a dot for each head. "cells": layers downwards, heads to the
#: right, the number as colour. "calls": calls to the right, the number upwards, a line for each layer.
Style = Literal["dots", "cells", "calls"]

_MOST_NAMES = 30


def draw_statistic(
    ax: Axes | None,
    measured: Measured,
    *,
    meaning: str,
    style: Style,
    colorbar: bool,
    title: str | None,
    cmap: str | Colormap | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
) -> Axes:
    """Draw a number for each head of each layer; a NaN is a grey cell, or no dot and counted in the legend."""
    if style not in get_args(Style):
        raise ValueError(f'style={style!r}; accepted are "dots", "cells" and "calls"')
    names, values = measured.names, measured.means()
    shown, pattern = short_names(names)
    layer_label = f"layer ({pattern})" if pattern else "layer"
    most = max(map(len, values))
    if ax is None:
        letters = 0.09 * max(map(len, shown))
        cells = 0.36 * most + 2.6 + letters, 0.32 * len(names) + 1.3
        size = {"dots": (0.32 * len(names) + 3, 3.4), "cells": cells, "calls": (5.6, 3.4)}[style]
        ax = new_axes(max(size[0], 4.4 + letters), max(size[1], 3.2), "constrained")
    if style == "calls":
        _lines(ax, measured, shown, layer_label)
        ax.set(xlabel="call", ylabel=meaning)
        ax.set_ylim(vmin, vmax)
    elif style == "dots":
        _dots(ax, values, measured.spreads() if measured.several else None, vmin=vmin, vmax=vmax)
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
        if colorbar:
            draw_colour_bar([ax], colours, every, label=meaning)
    if title is None and measured.several and style != "calls":
        title = f"mean of {len(measured.calls)} calls"
    if title is not None:
        ax.set_title(title, fontsize="medium")
    return ax


def _lines(ax: Axes, measured: Measured, names: Sequence[str], label: str) -> None:
    """Draw a line for each layer over the calls, in the colours of a scale from the first layer to the last."""
    colours = mpl.colormaps["viridis"](np.linspace(0, 0.9, len(names)))
    for name, values, colour in zip(names, measured.values, colours, strict=True):
        ax.plot(measured.calls, values.mean(axis=1), color=colour, marker=".", label=name)
        ax.fill_between(measured.calls, values.min(axis=1), values.max(axis=1), color=colour, alpha=0.12, linewidth=0)
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    ax.grid(axis="y", color="0.9")
    ax.set_axisbelow(True)
    columns = -(-len(names) // 12)
    ax.legend(
        frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1), ncols=columns, title=label
    ).get_title().set_fontsize("small")


def _dots(
    ax: Axes,
    values: Sequence[FloatArray],
    spreads: Sequence[FloatArray] | None,
    *,
    vmin: float | None,
    vmax: float | None,
) -> None:
    places = np.repeat(np.arange(len(values)), [len(one) for one in values])
    ax.scatter(places, np.concatenate(list(values)), s=22, alpha=0.6, color="tab:blue", edgecolors="none", label="head")
    reach = np.concatenate(list(values))
    if spreads is not None:
        deviation = np.concatenate(list(spreads))
        reach = reach + deviation
        ax.errorbar(
            places,
            np.concatenate(list(values)),
            yerr=deviation,
            fmt="none",
            ecolor="tab:blue",
            elinewidth=1,
            alpha=0.3,
            label="standard deviation\nover the calls",
        )
    means = [np.mean(one) for one in values]
    ax.plot(range(len(values)), means, color="black", linewidth=1, marker="_", markersize=9, label="mean of heads")
    ax.set_xlim(-0.5, len(values) - 0.5)
    finite = reach[np.isfinite(reach)]
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
