"""How one value is recorded: copied, or processed as the hook's options say, with its future gradient."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from astcapture.record.containers import everything_in, whole
from astcapture.record.kinds import is_a
from astcapture.record.options import PLAIN, Conversion
from astcapture.record.snapshot import snapshot
from astcapture.record.torch import checkpoint
from astcapture.record.torch.attention_weights import AttentionWeights, UnfusedWeights, is_of_attention
from astcapture.record.torch.conversion import convert, dtype_of
from astcapture.record.torch.fused import converted, size_of_weights
from astcapture.record.torch.gradient import Gradient, Room
from astcapture.record.torch.graph_kept import check_reference
from astcapture.record.torch.tensors import PLAIN_TENSORS, copy_tensor, is_tensor
from astcapture.record.torch.tracing import check_run
from astcapture.record.torch.transforms import is_wrapped, outside, unwrap
from astcapture.record.weight import own_size, rough_size, whole_size

_COMPILED = (
    "torch.compile returns captured values as extra outputs, which receive no gradient: "
    "run the model without torch.compile"
)


@dataclass(frozen=True, slots=True)
class WithGradient:
    """A value in an event, with the gradient that is still to come."""

    value: Any
    gradient: Gradient


def taken(
    value: Any,
    how: Conversion,
    site: Any = None,
    room: Room = lambda size: True,
    compiled: bool = False,
) -> Any:
    """Process a value for recording.

    Args:
        value: the program's value; from compiled code already a copy.
        how: the options.
        site: where it is recorded.
        room: called with the size of a gradient when it arrives; returns whether there is room for it.
        compiled: whether compiled code recorded it, and so no gradient will come.

    Raises:
        Exception: why there is nothing to record.
    """
    if is_of_attention(value):
        return _of_attention(value, how, site, room, compiled)
    if how == PLAIN:
        return (
            _settled_copy(value, compiled) if compiled else whole(value, _settled_copy, partial(check_reference, site))
        )
    check_run(value)
    kept = convert(value, how, own=compiled, by_reference=partial(check_reference, site))
    if how.grad and compiled and is_tensor(value) and value.is_floating_point():
        return WithGradient(kept, Gradient.out_of_reach(_COMPILED))
    if how.grad and not compiled and is_tensor(value):
        gradient = Gradient(how, room)
        if gradient.watch(value) or checkpoint.wait(site, gradient):
            return WithGradient(kept, gradient)
    return kept


def _settled_copy(value: Any, own: bool = False) -> Any:
    if type(value) in PLAIN_TENSORS and not own:
        return settled(copy_tensor(value))
    check_run(value)
    return settled(value if own else snapshot(value))


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
    """The size of a value after conversion in bytes; without a copy, including everything it keeps alive."""
    if is_a(value, AttentionWeights):
        return size_of_weights(value, how)
    if is_a(value, UnfusedWeights):
        value = value.tensor
    if how.dtype is None:
        return rough_size(value) if how.copy else whole_size(value)
    if not how.copy and not is_tensor(value):
        return whole_size(value)
    return sum(_converted_size(one, how) for one in everything_in(value))


def _converted_size(value: Any, how: Conversion) -> int:
    if not is_tensor(value):
        return own_size(value)
    size = own_size(value) if how.copy else whole_size(value)
    dtype = dtype_of(value, how) if size else None
    return size if dtype is None else size * dtype.itemsize // value.dtype.itemsize


def settled(value: Any) -> Any:
    """A recorded value as the user gets it: tensors of ``torch.func`` transforms become plain tensors."""
    if not is_tensor(value) or not is_wrapped(value):
        return value
    with outside():
        return unwrap(value)


def split(value: Any) -> tuple[Any, Gradient | None]:
    """The value and the gradient in an event."""
    return (value.value, value.gradient) if is_a(value, WithGradient) else (value, None)


def parts(value: Any) -> tuple[Any, ...]:
    """The objects in memory for a value in an event."""
    if is_a(value, AttentionWeights):
        # Copies from compiled code, kept until the weights are computed from them.
        return tuple(value.parts)
    if not is_a(value, WithGradient):
        return (value,)
    gradient = value.gradient.held
    return (value.value,) if gradient is None else (value.value, gradient)
