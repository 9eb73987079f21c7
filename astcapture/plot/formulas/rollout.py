"""Attention rollout: how much of each input token arrives at each output token, through all layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from astcapture.plot.arrays import FloatArray, Plottable, as_array
from astcapture.plot.formulas.weights import check_not_negative
from astcapture.plot.one_execution import check_if_records

#: How the heads of a layer become one map.
Fusion = Literal["mean", "max", "min"]


def rollout(
    layers: Sequence[Plottable], *, fusion: Fusion = "mean", discard: float = 0.0, residual: float = 0.5
) -> FloatArray:
    """Multiply the attention of all layers, the residual connections counted in.

    Of each layer, with W its heads fused to one map, A = (1 - residual) W + residual I with rows divided by
    their sum; the result is A[last] ... A[1] A[0]. That is attention rollout, Abnar and Zuidema, "Quantifying
    Attention Flow in Transformers" (2020), section 3, with the mean over heads and a residual of 0.5. Fusing
    by max or min, and leaving out the smallest weights, are Gildenblat's variants
    (https://jacobgil.github.io/deeplearning/vision-transformer-explainability).

    Args:
        layers: for each layer from the first to the last, (tokens, tokens) or (heads, tokens, tokens); a list, or
            `Records` of one execution of the model.
        fusion: how the heads of a layer become one map.
        discard: the share of weights in each fused map that is set to zero, the smallest first and of
            equal ones those that come first; rounded down to a number of weights.
        residual: the share of the residual connection, 0 for none.

    Returns:
        (tokens, tokens), float64; row i holds what arrives at token i, and sums to 1.

    Raises:
        CaptureError: `Records` that are not one value for each layer, of one label, model and call.
        ValueError: no layer, a layer of another shape, NaN, infinite or negative weights, or an option out of
            its range.

    >>> rollout([np.full((2, 2), 0.5)]).tolist()
    [[0.75, 0.25], [0.25, 0.75]]
    """
    if fusion not in get_args(Fusion):
        raise ValueError(f"fusion={fusion!r}; accepted are {', '.join(map(repr, get_args(Fusion)))}")
    if not 0 <= discard < 1:
        raise ValueError(f"discard={discard}; accepted is a share of the weights, from 0 to less than 1")
    if not 0 <= residual < 1:
        raise ValueError(f"residual={residual}; accepted is a share, from 0 to less than 1")
    check_if_records(layers)
    if len(layers) == 0:
        raise ValueError("rollout of no layers: there is nothing to multiply")
    result: FloatArray | None = None
    for number, values in enumerate(layers):
        fused = _fused(as_array(values), f"layer {number}", fusion)
        if result is not None and fused.shape != result.shape:
            raise ValueError(
                f"layer {number} has {len(fused)} tokens and layer 0 has {len(result)}: rollout takes layers of the "
                "same tokens; of a model that merges tokens on the way, pass the layers of one stage"
            )
        mixed = (1 - residual) * _without_smallest(fused, discard) + residual * np.eye(len(fused))
        total = mixed.sum(axis=1, keepdims=True)
        mixed = np.divide(mixed, total, out=np.zeros_like(mixed), where=total > 0)
        result = mixed if result is None else mixed @ result
    assert result is not None  # there is a layer
    return result


def _fused(weights: FloatArray, where: str, fusion: Fusion) -> FloatArray:
    if weights.ndim not in (2, 3) or weights.shape[-1] != weights.shape[-2] or weights.size == 0:
        raise ValueError(
            f"{where} has shape {weights.shape}; accepted are (tokens, tokens) and (heads, tokens, tokens)"
        )
    if not np.isfinite(weights).all():
        raise ValueError(f"{where} holds NaN or infinite weights: a product of layers would be NaN throughout")
    check_not_negative(weights, where)
    heads = weights if weights.ndim == 3 else weights[None]
    fused = heads.mean(axis=0) if fusion == "mean" else heads.max(axis=0) if fusion == "max" else heads.min(axis=0)
    result: FloatArray = fused.astype(np.float64)
    return result


def _without_smallest(fused: FloatArray, discard: float) -> FloatArray:
    count = int(discard * fused.size)
    if count == 0:
        return fused
    kept = fused.flatten()
    kept[np.argsort(kept, kind="stable")[:count]] = 0
    return kept.reshape(fused.shape)
