"""The gradient of attention weights that a fused kernel never computed, as eager attention would give it.

In eager attention the output is ``weights @ value``, and the weights are used nowhere else. So for a gradient ``g`` of
the output, the gradient of the weights is ``g @ value.mT``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from astcapture.errors import CaptureError
from astcapture.record.options import Conversion
from astcapture.record.torch.attention_weights import AttentionWeights, UnfusedWeights
from astcapture.record.torch.conversion import convert
from astcapture.record.torch.fused import Room, converted_blocks, size_of_blocks
from astcapture.record.torch.stand_in import NoRoom

_DROPOUT = (
    "the call used dropout_p={dropout_p}, and its kernel does not report which weights it dropped: call model.eval() "
    'or set the dropout of attention to 0; with transformers, attn_implementation="eager" also works with dropout'
)
_NESTED = "the query is a nested tensor, whose gradient is not supported: pass the sequences as a padded batch"
_OWN_TENSORS = "the call used tensors of the subclass {kind}, which cannot be split into blocks"


def why_unknown(weights: AttentionWeights | UnfusedWeights) -> str | None:
    """Why the gradient of the weights cannot be computed from that of the output; None if it can."""
    if isinstance(weights, UnfusedWeights):
        return None
    if weights.dropout_p:
        return _DROPOUT.format(dropout_p=weights.dropout_p)
    if weights.query.is_nested:
        return _NESTED
    return None if weights.is_plain else _OWN_TENSORS.format(kind=type(weights.query).__name__)


def watched(weights: AttentionWeights | UnfusedWeights) -> tuple[Any, Callable[[Any, Conversion, Room], Any]]:
    """The tensor from whose gradient that of the weights is computed, and the function that does it."""
    if isinstance(weights, UnfusedWeights):
        return weights.tensor, _of_unfused(weights.seen_as)
    return weights.output, _of_fused(weights)


def _of_unfused(seen_as: Any) -> Callable[[Any, Conversion, Room], Any]:
    # The function must not reference the watched tensor, whose graph references the function.
    plan = UnfusedWeights(None, seen_as)

    def taken(gradient: Any, how: Conversion, room: Room) -> Any:
        if not room(gradient.nbytes):
            raise NoRoom
        return convert(plan.seen(gradient.contiguous()), how)

    return taken


def _of_fused(weights: AttentionWeights) -> Callable[[Any, Conversion, Room], Any]:
    value, version = weights.value.detach(), weights.value._version
    plan = weights.for_gradient()

    def taken(gradient: Any, how: Conversion, room: Room) -> Any:
        if value._version != version:
            raise CaptureError("the value argument of the call was modified in place before backward reached it")
        blocks = plan.of_gradient(gradient, value)
        if how.reduce is None and not room(size_of_blocks(blocks, how)):
            raise NoRoom
        return converted_blocks(blocks, how, room)

    return taken
