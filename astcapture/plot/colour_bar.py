"""The bar beside a map that says which colour is which value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar, make_axes, make_axes_gridspec
from matplotlib.ticker import Formatter, Locator, MaxNLocator
from matplotlib.transforms import Bbox

from astcapture.plot.arrays import FloatArray
from astcapture.plot.colours import Colours
from astcapture.plot.page import in_scale, page_of

#: The numbers of ticks of a bar, and the points of height that each asks for.
_TICKS = ((6, 75.0), (4, 45.0), (3, 28.0), (2, 0.0))
#: From one tick to the next.
_LEAST_POINTS = 13.0
#: Of the bar, its numbers and its label together, where no layout engine makes room.
_BAR_INCHES = 0.95
_NUMBERS_INCHES = 0.65
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
    label: str | None = "weight",
    slender: float = 20.0,
) -> Colorbar:
    """Draw a colour bar beside `axes`, `slender` times as high as wide, with ticks at round numbers.

    Its ends are pointed where some of `values` lie outside the range, and its label says so where some are NaN
    or infinite. Beside one axes it is as high as what is drawn there, and takes its room from these axes.
    """
    finite = values[np.isfinite(values)]
    outside = bool((finite < colours.low).any()), bool((finite > colours.high).any())
    figure = axes[0].get_figure()
    assert figure is not None  # they are being drawn in
    place: dict[str, Any] = {"fraction": 0.06, "pad": 0.02, "aspect": slender}
    mappable = ScalarMappable(colours.norm, colours.cmap)
    if len(axes) == 1:
        cax = _beside(axes[0], place, labelled=label is not None)
        bar = figure.colorbar(mappable, cax=cax, extend=_POINTED[outside])
    else:
        bar = figure.colorbar(mappable, ax=axes, extend=_POINTED[outside], **place)
    bar.ax.yaxis.set_major_locator(_RoundTicks(bar.ax))
    bar.ax.yaxis.set_major_formatter(_Labels())
    if label is not None:
        bar.set_label(label if finite.size == values.size else f"{label} (grey: not finite)")
    return bar


def _beside(ax: Axes, place: dict[str, Any], *, labelled: bool) -> Axes:
    """Make the axes of a bar beside `ax`, as high as what `ax` shows."""
    figure = page_of(ax)
    engine = figure.get_layout_engine()
    if engine is None:
        # Nothing moves the neighbours away: the numbers and the label get their room here.
        wide = ax.get_position().width * figure.get_figwidth()
        place = place | {"fraction": min(in_scale(_BAR_INCHES if labelled else _NUMBERS_INCHES) / wide, 0.6)}
    split = ax.get_subplotspec() is not None and (engine is None or engine.colorbar_gridspec)
    cax, _ = make_axes_gridspec(ax, **place) if split else make_axes(ax, **place)
    given = cax.get_axes_locator()

    def locate(bar: Any, renderer: Any) -> Bbox:
        box = given(bar, renderer) if given is not None else bar.get_position(original=True)
        ax.apply_aspect()  # of an image, the axes take its proportions
        shown = ax.get_position()
        return Bbox.from_extents(box.x0, shown.y0, box.x1, shown.y1)

    cax.set_axes_locator(locate)
    bar_axes: Axes = cax
    return bar_axes


class _RoundTicks(Locator):
    """Round numbers inside the range, as many as the bar has room for, which only drawing tells."""

    def __init__(self, ax: Axes) -> None:
        self.ax = ax

    def __call__(self) -> list[float]:
        points = self.ax.get_window_extent().height * 72 / page_of(self.ax).dpi / in_scale(1)
        most = next(count for count, needed in _TICKS if points >= needed)
        low, high = sorted(self.ax.get_ylim())
        ticks = round_ticks(low, high, most)
        # A bar beside a single row of cells has room for one number.
        apart = points * (ticks[1] - ticks[0]) / (high - low) if len(ticks) > 1 else points
        return ticks if apart >= _LEAST_POINTS else ticks[-1:]


def round_ticks(low: float, high: float, most: int) -> list[float]:
    """Return up to `most` round numbers from `low` to `high`; more only where there were less than two.

    >>> [round(tick, 3) for tick in round_ticks(0.0017, 0.0158, 5)]
    [0.005, 0.01, 0.015]
    """
    slack = 1e-9 * (high - low)
    ticks: list[float] = []
    for count in range(max(most - 1, 1), 12):
        found = MaxNLocator(count, steps=[1, 2, 5, 10]).tick_values(low, high)
        ticks = [float(tick) for tick in found if low - slack <= tick <= high + slack]
        if len(ticks) >= 2:
            break
    return ticks


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
    if len(ticks) == 0:
        return []
    extent = float(np.ptp(ticks)) or abs(float(ticks[0])) or 1.0
    decimals = 3 - math.ceil(math.log10(extent))
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    return [f"{round(tick, decimals) + 0.0:.10g}" for tick in ticks.tolist()]
