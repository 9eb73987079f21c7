"""The colours of a map: its range and its colour map."""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.colors import Colormap, Normalize

from astcapture.plot.arrays import FloatArray

#: Perceptually uniform, and told apart by colour-blind readers.
SEQUENTIAL = "viridis"
#: The same, pale at zero: the ground of written words.
SHADE = "magma_r"
#: For values of both signs: white at zero.
DIVERGING = "RdBu_r"
#: NaN and infinite values; a grey that neither colour map holds.
NOT_FINITE = "0.75"


@dataclass(frozen=True)
class Colours:
    """What turns the values of one or more maps into colours."""

    cmap: Colormap
    #: The values at the two ends of the colour map.
    low: float
    high: float

    @property
    def norm(self) -> Normalize:
        """From the range to 0 to 1, as matplotlib wants it."""
        return Normalize(self.low, self.high)


def choose_colours(
    values: FloatArray,
    *,
    cmap: str | Colormap | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    from_zero: bool = False,
) -> Colours:
    """Choose the range and the colour map that show `values`, of any shape.

    The range is that of the finite values, or with `from_zero` from 0 to the greatest of them.
    Where one of them is negative and no colour map is
    asked for, the map is diverging and the range symmetric, so that zero is white. NaN and
    infinite values are grey.

    Raises:
        ValueError: `vmin` is not less than `vmax`, or an unknown colour map.

    >>> colours = choose_colours(np.array([-1.0, 3.0, np.nan]))
    >>> colours.low, colours.high
    (-3.0, 3.0)
    >>> choose_colours(np.array([0.122, 0.124]), from_zero=True).low
    0.0
    """
    finite = values[np.isfinite(values)]
    least, greatest = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if cmap is None and least < 0:
        cmap = DIVERGING
        low, high = min(least, -greatest), max(-least, greatest)
    else:
        low, high = _widened(min(least, 0.0) if from_zero else least, greatest)
    low, high = low if vmin is None else vmin, high if vmax is None else vmax
    if not low < high:
        raise ValueError(f"the colour range would go from {low:g} to {high:g}: pass vmin= less than vmax=")
    return Colours(
        cmap=mpl.colormaps.get_cmap(cmap or SEQUENTIAL).with_extremes(bad=NOT_FINITE),
        low=low,
        high=high,
    )


def _widened(least: float, greatest: float) -> tuple[float, float]:
    """Make room in the range of a constant map, from zero to its value."""
    if least < greatest:
        return least, greatest
    return (0.0, 1.0) if least == 0 else (min(0.0, least), max(0.0, least))
