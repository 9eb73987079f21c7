"""The bar beside a map that says which colour is which value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.ticker import Formatter, Locator

from astcapture.plot.arrays import FloatArray
from astcapture.plot.colours import Colours
from astcapture.plot.page import page_of

#: The numbers of ticks that divide a bar evenly, and the points of height that each asks for.
_TICKS = ((5, 75.0), (3, 45.0), (2, 28.0), (1, 0.0))
#: matplotlib's names for (values below, values above) the range.
_POINTED: dict[tuple[bool, bool], Literal["neither", "min", "max", "both"]] = {
    (False, False): "neither",
    (True, False): "min",
    (False, True): "max",
    (True, True): "both",
}


def draw_colour_bar(
    axes: Sequence[Axes],
    colours: Colours,
    values: FloatArray,
    *,
    label: bool = True,
    of: str = "weight",
    slender: float = 20.0,
) -> Colorbar:
    """Draw a colour bar beside `axes`, `slender` times as high as wide, with the ends of its range written out.

    Its ends are pointed where some of `values` lie outside the range, and its label, which tells what the
    colours are `of`, says so where some are NaN or infinite.
    """
    finite = values[np.isfinite(values)]
    outside = bool((finite < colours.low).any()), bool((finite > colours.high).any())
    figure = axes[0].get_figure()
    assert figure is not None  # they are being drawn in
    mappable = ScalarMappable(colours.norm, colours.cmap)
    bar = figure.colorbar(mappable, ax=axes, extend=_POINTED[outside], fraction=0.06, pad=0.02, aspect=slender)
    bar.ax.yaxis.set_major_locator(_EvenTicks(bar.ax, colours.low, colours.high))
    bar.ax.yaxis.set_major_formatter(_Labels())
    if label:
        bar.set_label(of if finite.size == values.size else f"{of} (grey: not finite)")
    return bar


class _EvenTicks(Locator):
    """Ticks from end to end, as many as the bar has room for, which only drawing tells; of one, the greatest."""

    def __init__(self, ax: Axes, low: float, high: float) -> None:
        self.ax = ax
        self.ends = high, low

    def __call__(self) -> list[float]:
        points = self.ax.get_window_extent().height * 72 / page_of(self.ax).dpi
        count = next(count for count, needed in _TICKS if points >= needed)
        return [float(tick) for tick in np.linspace(*self.ends, count)[::-1]]


class _Labels(Formatter):
    def __call__(self, value: float, position: int | None = None) -> str:
        return f"{value:.3g}"

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        return tick_labels(np.asarray(values))


def tick_labels(ticks: FloatArray) -> list[str]:
    """Write the ticks of one bar as numbers with three digits of its range.

    >>> tick_labels(np.array([2.2e-06, 0.1, 0.2]))
    ['0', '0.1', '0.2']
    >>> tick_labels(np.array([0.99990, 0.99995, 1.0]))
    ['0.9999', '0.99995', '1']
    """
    extent = float(np.ptp(ticks)) or abs(float(ticks[0])) or 1.0
    decimals = 3 - math.ceil(math.log10(extent))
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    return [f"{round(tick, decimals) + 0.0:.10g}" for tick in ticks.tolist()]
