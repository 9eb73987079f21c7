"""Computes the attention weights that a fused kernel does not materialise, from the arguments of its call.

Torch is looked up among the imported modules and never imported: if its attention is called, it is there.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

from astcapture.record.torch.conversion import without_autocast

_POSITIONAL = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
_DEFAULTS = {"attn_mask": None, "dropout_p": 0.0, "is_causal": False, "scale": None, "enable_gqa": False}


def is_attention(function: Any) -> bool:
    """Whether `function` is torch's ``scaled_dot_product_attention``, or the function that has replaced it."""
    home = sys.modules.get("torch.nn.functional")
    return home is not None and (
        function is getattr(home, "scaled_dot_product_attention", None)
        or function is getattr(sys.modules.get("torch._C._nn"), "scaled_dot_product_attention", None)
    )


def call_arguments(arguments: tuple[Any, ...], options: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call by parameter name, including defaults."""
    return {**_DEFAULTS, **dict(zip(_POSITIONAL, arguments, strict=False)), **options}


def attention_weights(
    query: Any,
    key: Any,
    attn_mask: Any = None,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    **others: Any,
) -> Any:
    """Compute the attention weights of ``scaled_dot_product_attention``, without dropout.

    They follow its documentation: the softmax over the keys of ``query @ key.mT * scale`` plus the mask
    (https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html).
    A query that may attend to no key has the weights of the installed torch: zeros since 2.5, NaN before. No gradient
    is kept, autocast is off, and half precision is computed in float32.

    Args:
        query: shape (..., L, E), with the heads, if any, in the last of the leading dimensions.
        key: shape (..., S, E).
        attn_mask: broadcastable to (..., L, S): boolean, True where a query may attend; or added to the scores.
        is_causal: each query attends only to the keys up to its own position.
        scale: ``1 / sqrt(E)`` if None.
        enable_gqa: repeat each key head for its group of query heads.
        **others: the other arguments of the call, which do not affect the weights.

    Returns:
        The weights, shape (..., L, S), in the dtype of `query`.
    """
    torch = sys.modules["torch"]
    with torch.no_grad(), without_autocast(torch, query.device.type):
        return weights_with_graph(query, key, attn_mask, is_causal, scale, enable_gqa)


def weights_with_graph(
    query: Any, key: Any, attn_mask: Any, is_causal: bool, scale: float | None, enable_gqa: bool, **others: Any
) -> Any:
    """`attention_weights` with gradients where the program has them, and under its autocast."""
    torch = sys.modules["torch"]
    dtype = query.dtype
    if dtype in (torch.float16, torch.bfloat16):
        query, key = query.float(), key.float()
    if enable_gqa:
        key = key.repeat_interleave(query.size(-3) // key.size(-3), -3)
    scores = query @ key.mT * (1 / math.sqrt(query.size(-1)) if scale is None else scale)
    if is_causal:
        seen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~seen, -math.inf)
    if hasattr(attn_mask, "_materialize"):  # torch.nn.attention.bias.CausalBias
        attn_mask = attn_mask._materialize(scores.device)
    if attn_mask is not None:
        allowed = attn_mask.dtype == torch.bool
        scores = torch.where(attn_mask, scores, -math.inf) if allowed else scores + attn_mask
    # torch.compile traces this name too.
    softmax = torch.ops.aten._safe_softmax if hasattr(torch, "_safe_softmax") else torch.softmax
    return softmax(scores, -1).to(dtype)
