"""How widely the heads of a layer spread their attention."""

from __future__ import annotations

import numpy as np

from astcapture.plot.arrays import FloatArray, Plottable, as_array
from astcapture.plot.formulas.weights import check_not_negative, mean_of_queries, shares


def entropy(attention: Plottable) -> FloatArray:
    """Return the entropy of each map's rows, in nats, averaged over its queries.

    Of one query with weights p over the keys it is -sum p ln p (Shannon; as an average over tokens for each
    head: Clark et al., "What Does BERT Look At?" (2019), section 3.2): 0 where all weight lies on one key,
    ln(keys) where it is spread evenly.

    Args:
        attention: (..., queries, keys). Rows that do not sum to 1 (dropout) are divided by their sum; rows
            without any weight are left out of the average.

    Returns:
        (...), float64: one number for each map. NaN for a map that holds one, or no weight at all.

    Raises:
        ValueError: less than two axes, nothing in them, or negative weights.

    >>> entropy([np.eye(4), np.full((4, 4), 0.25)]) / np.log(4)
    array([0., 1.])
    """
    weights = as_array(attention).astype(np.float64)
    if weights.ndim < 2 or weights.size == 0:
        raise ValueError(f"attention has shape {weights.shape}; accepted is (..., queries, keys), not empty")
    check_not_negative(weights)
    p = shares(weights)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, -p * np.log(p), p)  # 0 ln 0 is 0, and NaN stays NaN
    # Adding 0.0 turns -0.0 into 0.0.
    return np.asarray(mean_of_queries(terms.sum(axis=-1) + 0.0, weights))
