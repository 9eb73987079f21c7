"""What the formulas ask of attention weights: shares, none of them negative."""

from __future__ import annotations

import numpy as np

from astcapture.plot.arrays import FloatArray


def check_not_negative(weights: FloatArray, where: str = "attention") -> None:
    """Raise a ValueError where a weight is negative; NaN is not."""
    with np.errstate(invalid="ignore"):
        least = weights.min(initial=0.0, where=~np.isnan(weights))
    if least < 0:
        raise ValueError(
            f"{where} of shape {weights.shape} has negative weights, down to {least:.3g}: this formula takes "
            "attention after softmax; were these the scores before it?"
        )


def shares(weights: FloatArray) -> FloatArray:
    """Divide the last axis by its sum, so that weights after dropout are shares again; no weight at all becomes NaN.

    >>> shares(np.array([[1.0, 3.0], [0.0, 0.0]]))
    array([[0.25, 0.75],
           [ nan,  nan]])
    """
    total = weights.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):  # infinity by infinity is NaN, as it should be
        divided: FloatArray = np.divide(weights, total, out=np.full_like(weights, np.nan), where=total != 0)
    return divided


def mean_of_queries(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Average (..., queries) over the queries that have any weight, of (..., queries, keys); NaN where none has.

    A query whose weights are all zero (padding, masked) says nothing. One with a NaN among them is NaN, and
    so is the mean then: a map that is partly undefined is not averaged into a number that looks like any other.

    >>> weights = np.array([[0.5, 0.5], [0.0, 0.0]])
    >>> float(mean_of_queries(np.array([3.0, np.nan]), weights))
    3.0
    """
    says = ~(weights == 0).all(axis=-1)
    total = np.where(says, values, 0.0).sum(axis=-1)
    count = says.sum(axis=-1)
    mean: FloatArray = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean
