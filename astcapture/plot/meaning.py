"""What the numbers of a map are called where no label is given."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from astcapture.plot.arrays import FloatArray

DIFFERENCE = "difference"


def meaning_of(maps: Iterable[FloatArray]) -> str:
    """Return "weight" where no number is negative, else "difference" of attention, or "value" of any others.

    The rows of attention have equal sums, so that those of a difference cancel out. Scores before softmax do not.

    >>> even, own = np.full((3, 3), 1 / 3), np.eye(3)
    >>> meaning_of([even, own]), meaning_of([even - own]), meaning_of([even - 1])
    ('weight', 'difference', 'value')
    """
    negative, cancels = False, True
    for one in maps:
        finite = np.where(np.isfinite(one), one, 0.0)
        negative = negative or bool((finite < 0).any())
        rest, total = np.abs(finite.sum(axis=-1)), np.abs(finite).sum(axis=-1)
        # A row with a hole lacks a part of its sum. Half precision has three digits.
        whole = np.isfinite(one).all(axis=-1)
        cancels = cancels and bool((rest <= 1e-6 + 0.02 * total)[whole].all())
    if not negative:
        return "weight"
    return DIFFERENCE if cancels else "value"
