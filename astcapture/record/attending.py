"""What rewritten code calls at a call that may be one of torch's attention."""

from __future__ import annotations

from functools import partial
from itertools import starmap
from typing import Any

from astcapture.record.events import Sites
from astcapture.record.reading import failed
from astcapture.record.recording import is_left_out, record
from astcapture.record.state import state
from astcapture.record.torch import attention, uncompiled
from astcapture.record.torch.attention_weights import UNKNOWN, AttentionWeights, Shape, UnfusedWeights

#: The parameters of a function that may hold the module whose work it is, in the order in which they are asked.
Owners = tuple[Any, ...]


def attend(sites: Sites, owners: Owners, callee: Any, /, *arguments: Any, **options: Any) -> Any:
    """Make ready a call that may be one of torch's attention; the user's code calls what is returned.

    Only C code runs between that call and the callee, so no frame of ours appears in a traceback.

    Args:
        sites: the sites.
        owners: what the function that calls was called on, and other parameters that may hold a module.
        callee: what is called.
        *arguments: its arguments.
        **options: its keyword arguments.
    """
    return _ready(sites, owners, UNKNOWN, callee, arguments, options)


def attend_as(sites: Sites, owners: Owners, seen_as: Shape, callee: Any, /, *arguments: Any, **options: Any) -> Any:
    """`attend`, in a function whose weights have the shape `seen_as`."""
    return _ready(sites, owners, seen_as, callee, arguments, options)


def _ready(
    sites: Sites,
    owners: Owners,
    seen_as: Shape,
    callee: Any,
    arguments: tuple[Any, ...],
    options: dict[str, Any],
) -> Any:
    if not callable(callee):
        return callee  # calling it raises what it would have raised
    call = partial(callee, *arguments, **options)
    if not state.on or not attention.is_attention(callee):
        return call
    # The first item is the call's output, once `_attended` has seen it.
    return partial(next, map(partial(_attended, sites, owners, seen_as, arguments, options), starmap(call, ((),))))


def _attended(
    sites: Sites,
    owners: Owners,
    seen_as: Shape,
    arguments: tuple[Any, ...],
    options: dict[str, Any],
    output: Any,
) -> Any:
    """Record what is captured of a finished call, and return its output."""
    if state.on:
        named = {**attention.call_arguments(arguments, options), "output": output}
        for site, name in sites:
            if is_left_out(site, owners):
                continue
            try:
                value = _weights(seen_as, **named) if name == "weights" else named[name]
            except Exception:
                failed(site)
            else:
                record(None, site, value, *owners)
    return output


def _weights(
    seen_as: Shape,
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any,
    dropout_p: Any,
    is_causal: Any,
    scale: Any,
    enable_gqa: Any,
    output: Any,
    **others: Any,
) -> AttentionWeights:
    """The weights of a call, computed later. Arguments that only another version of torch has do not change them."""
    return AttentionWeights(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa, output, seen_as)


def attend_unfused(
    sites: Sites, owners: Owners, seen_as: Shape, callee: Any, /, *arguments: Any, **options: Any
) -> Any:
    """Make ready the call that makes the weights where the function does not call torch's attention."""
    if not callable(callee):
        return callee  # calling it raises what it would have raised
    call = partial(callee, *arguments, **options)
    if not state.on:
        return call
    return partial(next, map(partial(_attended_unfused, sites, owners, seen_as), starmap(call, ((),))))


def _attended_unfused(sites: Sites, owners: Owners, seen_as: Shape, output: Any) -> Any:
    if state.on:
        for site, _ in sites:
            record(None, site, UnfusedWeights(output, seen_as), *owners)
    return output


uncompiled.leave_alone(attend, attend_as, attend_unfused, _attended, _attended_unfused)
