"""Where in an image a convolutional network found what: its feature map, weighted."""

from __future__ import annotations

import numpy as np

from astcapture.plot.arrays import FloatArray, Plottable, as_array


def attention_map(feature_map: Plottable, weights: Plottable) -> FloatArray:
    """Multiply a feature map by weights, average over the channels, cut off below zero, divide by the maximum.

    Args:
        feature_map: (channels, rows, columns), or with a batch axis before.
        weights: one for each channel, (channels,) or, where there is a batch, (batch, channels); or an array of
            as many axes as the feature map, each as long as there or 1: (batch, channels, 1, 1) from a
            squeeze-and-excitation block, (batch, 1, rows, columns) from spatial attention; or (rows, columns)
            for a feature map without a batch.

    Returns:
        (rows, columns), or (batch, rows, columns), from 0 to 1. The maximum is that of the whole batch. A map
        that is nowhere above zero is zero everywhere. NaN stays NaN, and counts for no maximum.

    Raises:
        ValueError: other shapes.

    >>> attention_map(np.ones((2, 2, 2)), np.array([[0.0, 1.0], [2.0, -4.0]])).tolist()
    [[0.0, 0.5], [1.0, 0.0]]
    """
    features, factors = _feature_map(feature_map), as_array(weights)
    if factors.ndim == 1 or (factors.ndim == 2 and features.ndim == 4):
        factors = factors[..., None, None]
    broadcasts = factors.ndim in (2, 3, features.ndim) and all(
        have in (1, wanted) for have, wanted in zip(factors.shape[::-1], features.shape[::-1], strict=False)
    )
    if not broadcasts:
        raise ValueError(
            f"weights of shape {as_array(weights).shape} do not fit a feature map of shape {features.shape}; accepted "
            "are (channels,), (batch, channels), or as many axes as the feature map, each as long as there or 1"
        )
    cut: FloatArray = np.maximum((features * factors).mean(axis=-3), 0)
    greatest = cut.max(initial=0, where=np.isfinite(cut))
    return cut / greatest if greatest > 0 else cut


def grad_cam(feature_map: Plottable, gradient: Plottable) -> FloatArray:
    """Return Grad-CAM: the feature map weighted by how much each channel moves a class's score.

    ReLU of the sum over channels k of a_k A_k, where a_k is the mean over all places of the gradient of the
    score with respect to A_k: Selvaraju et al., "Grad-CAM" (2017), equations 1 and 2.

    Args:
        feature_map: (channels, rows, columns), or with a batch axis before.
        gradient: of the score with respect to the feature map, in the same shape.

    Returns:
        (rows, columns), or (batch, rows, columns), nowhere below zero; in units of the score, not stretched to 1.

    Raises:
        ValueError: other shapes.

    >>> features = np.array([[[1.0, 2.0]], [[3.0, 0.0]]])
    >>> grad_cam(features, np.array([[[1.0, 3.0]], [[-1.0, -1.0]]])).tolist()
    [[0.0, 4.0]]
    """
    features, slope = _feature_map(feature_map), as_array(gradient)
    if slope.shape != features.shape:
        raise ValueError(
            f"the gradient has shape {slope.shape} and the feature map {features.shape}: both must be (channels, rows, "
            "columns) or (batch, channels, rows, columns), of the same value"
        )
    weights = slope.mean(axis=(-2, -1), keepdims=True)
    summed: FloatArray = np.maximum((weights * features).sum(axis=-3), 0)
    return summed


def _feature_map(values: Plottable) -> FloatArray:
    features = as_array(values)
    if features.ndim not in (3, 4) or features.size == 0:
        raise ValueError(
            f"the feature map has shape {features.shape}; accepted are (channels, rows, columns) "
            "and (batch, channels, rows, columns)"
        )
    return features
