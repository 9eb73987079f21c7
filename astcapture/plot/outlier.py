"""Whether a map among several, or a few values of one map, would leave the others no colours. Pure array functions."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from astcapture.plot.arrays import FloatArray


def one_hides_the_rest(maps: Iterable[FloatArray], least_share: float = 1 / 3, *, from_zero: bool = False) -> bool:
    """Whether most of several maps would use less than this share of a scale of colours for all.

    With `from_zero` every scale begins at 0, unless a value is negative.

    >>> even, peak = np.array([[0.5, 0.4], [0.6, 0.5]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> one_hides_the_rest(np.stack([even, even, peak])), one_hides_the_rest(np.stack([even, peak, peak]))
    (True, False)
    """
    ranges = []
    for one in maps:
        finite = one[np.isfinite(one)]
        if finite.size:
            least, greatest = float(finite.min()), float(finite.max())
            ranges.append((min(least, 0.0) if from_zero else least, greatest))
    if len(ranges) < 2:
        return False
    least, greatest = min(low for low, _ in ranges), max(high for _, high in ranges)
    used = float(np.median([high - low for low, high in ranges]))
    return used < least_share * (greatest - least)


def top_without_outliers(values: FloatArray, least_share: float = 1 / 3) -> float | None:
    """Where a scale of colours should end so that a few high values do not hide the others; None for the greatest.

    That is the 99th percentile, if it is less than this share of the greatest value.

    >>> top_without_outliers(np.r_[np.linspace(0, 1, 400), 50.0]), top_without_outliers(np.linspace(0, 1, 400))
    (0.9924812030075187, None)
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None
    top = float(np.percentile(finite, 99))
    return top if 0 < top < least_share * float(finite.max()) else None
