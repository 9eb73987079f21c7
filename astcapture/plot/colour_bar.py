"""The bar beside a map that says which colour is which value."""

from __future__ import annotations

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


def draw_colour_bar(axes: Sequence[Axes], colours: Colours, values: FloatArray, *, label: bool = True) -> Colorbar:
    """Draw a colour bar beside `axes`, with the ends of its range written out.

    Its ends are pointed where some of `values` lie outside the range.
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
        bar.set_label(colours.label)
    return bar


def tick_labels(ticks: FloatArray) -> list[str]:
    """Write numbers with as few digits as keep neighbours apart.

    >>> tick_labels(np.array([0.0, 0.0333, 0.0667, 0.1]))
    ['0', '0.033', '0.067', '0.1']
    >>> tick_labels(np.array([0.99999, 1.0]))
    ['0.99999', '1']
    """
    for digits in range(2, 17):
        labels = [f"{tick:.{digits}g}" for tick in ticks]
        if len(set(labels)) == len(labels):
            break
    return labels
