"""The functions that rewritten code calls where it may call fused attention."""

from __future__ import annotations

from functools import partial
from itertools import starmap
from typing import Any

from astcapture.record.events import Sites
from astcapture.record.reading import failed
from astcapture.record.recording import is_left_out, record
from astcapture.record.state import state
from astcapture.record.torch import attention, flex, fused_calls, uncompiled
from astcapture.record.torch.attention_weights import UNKNOWN, AttentionWeights, Shape, UnfusedWeights
from astcapture.record.torch.blocks import unseen
from astcapture.record.torch.call_weights import CallWeights

#: The parameters of a function that may be the module that it works for, in the order in which they are tried.
Owners = tuple[Any, ...]


def attend(sites: Sites, owners: Owners, callee: Any, /, *arguments: Any, **options: Any) -> Any:
    """Prepare a call that may be fused attention; the user's code calls the returned object.

    Only C code runs between that call and the callee, so no frame of ours appears in a traceback.

    Args:
        sites: the sites.
        owners: the ``self`` of the calling function, and other parameters that may be a module.
        callee: the function that is called.
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
    if not state.on:
        return call
    if attention.is_attention(callee):
        after = partial(_attended, sites, owners, seen_as, arguments, options)
    else:
        kind = fused_calls.kind_of(callee)
        if kind is None:
            return call
        after = partial(_attended_by, kind, sites, owners, seen_as, callee, arguments, options)
    # The first item is the call's output, once `after` has seen it.
    return partial(next, map(after, starmap(call, ((),))))


def _attended(
    sites: Sites,
    owners: Owners,
    seen_as: Shape,
    arguments: tuple[Any, ...],
    options: dict[str, Any],
    output: Any,
) -> Any:
    """Record what is captured of a finished call of torch's attention, and return its output."""
    if state.on:
        named = {**attention.call_arguments(arguments, options), "output": output}
        for site, name in sites:
            if is_left_out(site, owners):
                continue
            try:
                value = weights_of(seen_as, **named) if name == "weights" else named[name]
            except Exception:
                failed(site)
            else:
                record(None, site, value, None, owners)
    return output


def weights_of(
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
    """The weights of a call, computed later. Unknown arguments, of other versions of torch, do not change them."""
    return AttentionWeights(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa, output, seen_as)


def _attended_by(
    kind: str,
    sites: Sites,
    owners: Owners,
    seen_as: Shape,
    callee: Any,
    arguments: tuple[Any, ...],
    options: dict[str, Any],
    output: Any,
) -> Any:
    """Record what is captured of a finished call of another fused attention, and return its output."""
    if state.on:
        for site, name in sites:
            if is_left_out(site, owners):
                continue
            try:
                value = _of_call(kind, name, seen_as, callee, arguments, options, output)
            except Exception:
                failed(site)
            else:
                record(None, site, value, None, owners)
    return output


def _of_call(
    kind: str,
    name: str,
    seen_as: Shape,
    callee: Any,
    arguments: tuple[Any, ...],
    options: dict[str, Any],
    output: Any,
) -> Any:
    given = fused_calls.by_name(callee, arguments, options)
    with unseen():  # parts of packed arguments are taken
        call = fused_calls.parts_of(kind, given)
    if name != "weights":
        return fused_calls.named(kind, given, call, output)[name]
    fused_calls.check(kind, given)
    if seen_as[5] is not None:
        call["sinks"] = seen_as[5]
    if kind == fused_calls.FLEX and fused_calls.is_compiled(callee):
        call["blocks"] = flex.block_mask_of(call["block_mask"])
    return CallWeights(kind, call, fused_calls.first_of(output))


def attend_unfused(
    sites: Sites, owners: Owners, seen_as: Shape, callee: Any, /, *arguments: Any, **options: Any
) -> Any:
    """Prepare the call that computes the weights in a function that does not call torch's attention."""
    if not callable(callee):
        return callee  # calling it raises what it would have raised
    call = partial(callee, *arguments, **options)
    if not state.on:
        return call
    return partial(next, map(partial(_attended_unfused, sites, owners, seen_as), starmap(call, ((),))))


def _attended_unfused(sites: Sites, owners: Owners, seen_as: Shape, output: Any) -> Any:
    if state.on:
        for site, _ in sites:
            record(None, site, UnfusedWeights(output, seen_as), None, owners)
    return output


uncompiled.leave_alone(attend, attend_as, attend_unfused, _attended, _attended_by, _attended_unfused)
