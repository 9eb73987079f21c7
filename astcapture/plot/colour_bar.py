"""The bar beside a map that says which colour is which value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar

from astcapture.plot.arrays import FloatArray
from astcapture.plot.colours import Colours

_TICKS = 5
#: matplotlib's names for (values below, values above) the range.
_POINTED: dict[tuple[bool, bool], Literal["neither", "min", "max", "both"]] = {
    (False, False): "neither",
    (True, False): "min",
    (False, True): "max",
    (True, True): "both",
}


def draw_colour_bar(
    axes: Sequence[Axes], colours: Colours, values: FloatArray, *, label: bool = True, of: str = "weight"
) -> Colorbar:
    """Draw a colour bar beside `axes`, with the ends of its range written out.

    Its ends are pointed where some of `values` lie outside the range, and its label, which tells what the
    colours are `of`, says so where some are NaN or infinite.
    """
    finite = values[np.isfinite(values)]
    outside = bool((finite < colours.low).any()), bool((finite > colours.high).any())
    figure = axes[0].get_figure()
    assert figure is not None  # they are being drawn in
    mappable = ScalarMappable(colours.norm, colours.cmap)
    bar = figure.colorbar(mappable, ax=axes, extend=_POINTED[outside], fraction=0.06, pad=0.02)
    ticks = np.linspace(colours.low, colours.high, _TICKS)
    bar.set_ticks(ticks.tolist(), labels=tick_labels(ticks))
    if label:
        bar.set_label(of if finite.size == values.size else f"{of} (grey: not finite)")
    return bar


def tick_labels(ticks: FloatArray) -> list[str]:
    """Write the ticks of one bar as numbers with three digits of its range.

    >>> tick_labels(np.array([2.2e-06, 0.1, 0.2]))
    ['0', '0.1', '0.2']
    >>> tick_labels(np.array([0.99990, 0.99995, 1.0]))
    ['0.9999', '0.99995', '1']
    """
    decimals = 3 - math.ceil(math.log10(np.ptp(ticks)))
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    return [f"{round(tick, decimals) + 0.0:.10g}" for tick in ticks.tolist()]
