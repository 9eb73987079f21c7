"""One value as it is recorded: a copy, or what its hook's options make of it, with its gradient to come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from astcapture.record import checkpoint
from astcapture.record.attention_weights import AttentionWeights, UnfusedWeights, is_of_attention
from astcapture.record.conversion import convert, dtype_of
from astcapture.record.fused import converted, size_of_weights
from astcapture.record.gradient import Gradient, Room
from astcapture.record.kinds import is_a
from astcapture.record.options import PLAIN, Conversion
from astcapture.record.snapshot import snapshot
from astcapture.record.tensors import is_tensor
from astcapture.record.tracing import check_run
from astcapture.record.transforms import is_wrapped, outside, unwrap
from astcapture.record.weight import rough_size, whole_size

_COMPILED = (
    "compiled code hands captured values out beside its result, where no gradient reaches them: "
    "run the model without torch.compile"
)


@dataclass(frozen=True, slots=True)
class WithGradient:
    """Stands in an event for a value whose gradient is waited for."""

    value: Any
    gradient: Gradient


def taken(
    value: Any,
    how: Conversion,
    site: Any = None,
    room: Room = lambda size: True,
    compiled: bool = False,
) -> Any:
    """What is recorded of a value.

    Args:
        value: the program's own; of compiled code a copy already.
        how: what the options ask for.
        site: where it is recorded.
        room: asked whether there is room when a gradient arrives.
        compiled: whether compiled code has recorded it: no gradient can be waited for.

    Raises:
        Exception: why there is nothing to be recorded.
    """
    if is_of_attention(value):
        return _of_attention(value, how, site, room, compiled)
    check_run(value)
    if how == PLAIN:
        return settled(value) if compiled else settled(snapshot(value))
    kept = convert(value, how, own=compiled)
    if how.grad and compiled and is_tensor(value) and value.is_floating_point():
        return WithGradient(kept, Gradient.out_of_reach(_COMPILED))
    if how.grad and not compiled and is_tensor(value):
        gradient = Gradient(how, room)
        if gradient.watch(value) or checkpoint.wait(site, gradient):
            return WithGradient(kept, gradient)
    return kept


def _of_attention(
    weights: AttentionWeights | UnfusedWeights, how: Conversion, site: Any, room: Room, compiled: bool
) -> Any:
    kept = converted(weights, how, room)
    if how.grad and compiled:
        return WithGradient(kept, Gradient.out_of_reach(_COMPILED))
    gradient = Gradient(how, room)
    if how.grad and (gradient.watch(weights) or checkpoint.wait(site, gradient)):
        return WithGradient(kept, gradient)
    return kept


def expected_size(value: Any, how: Conversion) -> int:
    """The bytes that a value will take when it has been converted; with what it keeps alive if it is not copied."""
    if is_a(value, AttentionWeights):
        return size_of_weights(value, how)
    if is_a(value, UnfusedWeights):
        value = value.tensor
    size = rough_size(value) if how.copy else whole_size(value)
    if how.dtype is not None and size and is_tensor(value):
        dtype = dtype_of(value, how)
        return size if dtype is None else size * dtype.itemsize // value.dtype.itemsize
    return size


def settled(value: Any) -> Any:
    """A recorded value as it is handed out: what a ``torch.func`` transform wrapped is a plain tensor."""
    if not is_tensor(value) or not is_wrapped(value):
        return value
    with outside():
        return unwrap(value)


def split(value: Any) -> tuple[Any, Gradient | None]:
    """The value and the gradient of what stands in an event."""
    return (value.value, value.gradient) if is_a(value, WithGradient) else (value, None)


def parts(value: Any) -> tuple[Any, ...]:
    """What is in memory for what stands in an event."""
    if is_a(value, AttentionWeights):
        # Copies that compiled code has made, until the weights are computed from them.
        return tuple(value.parts)
    if not is_a(value, WithGradient):
        return (value,)
    gradient = value.gradient.held
    return (value.value,) if gradient is None else (value.value, gradient)
