"""Words in two columns, with a line from each to what it attends to."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb

from astcapture.plot.arrays import FloatArray
from astcapture.plot.heat_map import KEYS, QUERIES

_COLOUR = "tab:blue"
#: Of values of both signs, differences for example: as the maps beside them have it, blue below zero and red above.
_BELOW, _ABOVE = "tab:blue", "tab:red"
#: Fainter lines are not seen, and are left out.
_LEAST_OPACITY = 0.02


def draw_word_lines(ax: Axes, weights: FloatArray, queries: Sequence[str], keys: Sequence[str]) -> None:
    """Write `queries` on the left and `keys` on the right, and draw a line for each weight, as opaque as it is great.

    The greatest weight is opaque. Where some are negative, as in a difference, those below zero are blue and the others
    red, and the opacity follows the distance from zero. What is NaN or infinite has no line.
    """
    finite = np.where(np.isfinite(weights), weights, 0.0)
    greatest = float(np.abs(finite).max(initial=0.0))
    opacity = np.abs(finite) / greatest if greatest > 0 else np.zeros_like(finite)
    signed = bool((finite < 0).any())
    # Both columns fill the height, each from the middle of its first word to that of its last.
    left, right = _heights(len(queries)), _heights(len(keys))
    # The faint lines first, so that the strong ones lie above.
    drawn = sorted((float(opacity[q, k]), q, k) for q, k in np.argwhere(opacity >= _LEAST_OPACITY))
    lines = LineCollection(
        [[(0.0, left[q]), (1.0, right[k])] for _, q, k in drawn],
        colors=[
            (*to_rgb((_ABOVE if finite[q, k] > 0 else _BELOW) if signed else _COLOUR), strength)
            for strength, q, k in drawn
        ],
        linewidths=mpl.rcParams["lines.linewidth"],
    )
    ax.add_collection(lines)
    for x, words, heights, side in ((0.0, queries, left, "right"), (1.0, keys, right, "left")):
        for word, y in zip(words, heights, strict=True):
            ax.annotate(
                word,
                (x, y),
                (-4 if side == "right" else 4, 0),
                textcoords="offset points",
                ha=side,
                va="center",
                fontsize="small",
                parse_math=False,
            )
    ax.set(xlim=(0, 1), ylim=(0, 1))
    ax.set_xticks([0, 1], labels=[QUERIES, KEYS])
    ax.xaxis.get_majorticklabels()[0].set_horizontalalignment("right")
    ax.xaxis.get_majorticklabels()[1].set_horizontalalignment("left")
    ax.set_yticks([])
    ax.tick_params(length=0)
    ax.set_frame_on(False)


def _heights(count: int) -> FloatArray:
    heights: FloatArray = 1 - (np.arange(count) + 0.5) / count
    return heights
