"""The functions that torch.compile traces in place of those that rewritten code calls."""

from __future__ import annotations

from functools import partial
from typing import Any

from astcapture.record import attending, attending_edited, editing, executions, inputs, reading, recording
from astcapture.record.attending import Owners
from astcapture.record.events import MISSED, STARTED, Site, Sites
from astcapture.record.reading import NOTICED, Skipped
from astcapture.record.state import state
from astcapture.record.torch import attention, compiled, fused_calls, traced_calls
from astcapture.record.torch.attention_weights import UNKNOWN, AttentionWeights, Shape, as_seen
from astcapture.record.torch.carried import GONE, NoValue
from astcapture.record.torch.expressions import RAISED, traced_value_of
from astcapture.record.torch.receiver import traced_receiver
from astcapture.record.torch.resumed import traces_resumed


def _record_compiled(result: Any, site: Site, value: Any, owner: Any = None, others: tuple[Any, ...] = ()) -> Any:
    if state.on:
        compiled.put_copy(site, value, owner, others)
    return result


def _called_compiled(result: Any, site: Site, owner: Any = None, others: tuple[Any, ...] = ()) -> Any:
    if state.on:
        compiled.put_copy(site, result, owner, others)
    return result


def given_compiled(sites: tuple[Site, ...], owners: Owners, callee: Any, /, *arguments: Any, **options: Any) -> Any:
    """Traced in place of `inputs.given`."""
    if state.on and not compiled.is_exported(None):
        first = (*traced_receiver(callee), *arguments, *options.values())
        for site in sites:
            if first:
                _record_compiled(None, site, first[0], None, owners)
            else:
                _missed_compiled(site, *owners)
    elif state.on:
        # An exported program stores a stack trace for each operation; our functions must not appear in it.
        for site in sites:
            compiled.is_exported(site)
    return _Prepared(callee, arguments, options)


def _given_starred_compiled(sites: tuple[Site, ...], owners: Owners, callee: Any, /) -> Any:
    def starred(*arguments: Any, **options: Any) -> Any:
        return given_compiled(sites, owners, callee, *arguments, **options)

    return inputs.Starred(starred)


class _Prepared:
    """A call that is prepared. The compiler does not know ``__call__`` of `partial`, which rewritten code may use."""

    def __init__(self, callee: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        self.callee, self.arguments, self.options = callee, arguments, options

    def __call__(self) -> Any:
        return self.callee(*self.arguments, **self.options)


def _unread_compiled(result: Any, site: Site, owner: Any = None, *others: Any) -> Any:
    if state.on and not compiled.is_exported(site):
        compiled.put(site, NoValue(NOTICED), owner, others)
    return result


def _missed_compiled(site: Site, owner: Any = None, *others: Any) -> None:
    if state.on:
        compiled.put(site, MISSED, owner, others)


def _allow_compiled(site: Site, owner: Any = None, *others: Any) -> None:
    if compiled.is_exported(site if state.on else None):
        raise Skipped


def _failed_compiled(site: Site, owner: Any = None, *others: Any) -> None:
    if state.on and not compiled.is_exported(None):
        compiled.put(site, NoValue(RAISED), owner, others)


def _enter_compiled(site: Site) -> None:
    if state.on and not compiled.is_exported(None):
        compiled.put(site, STARTED, None, ())


def _begin_compiled(site: Site) -> None:
    """Compiled code runs a generator to its end, or the compiler reports that it does not."""


def _look_compiled(result: Any, site: Site, name: str, names: dict[str, Any], owner: Any = None, *others: Any) -> Any:
    if name in names:
        _record_compiled(None, site, names[name], owner, others)
    else:
        _not_there_compiled(site, owner, others)
    return result


def _not_there_compiled(site: Site, owner: Any, others: tuple[Any, ...]) -> None:
    if state.on:
        compiled.put(site, GONE if traces_resumed() else MISSED, owner, others)


def _evaluate_compiled(result: Any, site: Site, source: str, read: Any, owner: Any = None, *others: Any) -> Any:
    if state.on and not compiled.is_exported(site):
        value, why, is_unbound = traced_value_of(site[0], source, read)
        if is_unbound:
            _not_there_compiled(site, owner, others)
        elif why is not None:
            compiled.put(site, NoValue(why), owner, others)
        else:
            _record_compiled(None, site, value, owner, others)
    return result


def _attend_compiled(sites: Sites, owners: Owners, callee: Any, /, *arguments: Any, **options: Any) -> Any:
    return _attend_as_compiled(sites, owners, UNKNOWN, callee, *arguments, **options)


def _attend_as_compiled(
    sites: Sites, owners: Owners, seen_as: Shape, callee: Any, /, *arguments: Any, **options: Any
) -> Any:
    if compiled.is_exported(None):
        # An exported program stores a stack trace for each operation; our functions must not appear in it.
        asked_for = attention.is_attention(callee) or traced_calls.kind_of(callee) is not None
        _leave_out_exported(sites, asked_for)
        return partial(callee, *arguments, **options)
    return partial(_attended_compiled, sites, owners, seen_as, callee, arguments, options)


def _leave_out_exported(sites: Sites, asked_for: bool) -> None:
    if state.on and asked_for:
        for site, _ in sites:
            compiled.is_exported(site)


def _attended_compiled(
    sites: Sites,
    owners: Owners,
    seen_as: Shape,
    callee: Any,
    arguments: tuple[Any, ...],
    options: dict[str, Any],
) -> Any:
    output = callee(*arguments, **options)
    if not state.on:
        return output
    if attention.is_attention(callee):
        named = {**attention.call_arguments(arguments, options), "output": output}
        for site, name in sites:
            if name == "weights":
                compiled.put(site, _weights_compiled(seen_as, **named), *_first_and_others(owners))
            else:
                _record_compiled(None, site, named[name], None, owners)
    else:
        kind = traced_calls.kind_of(callee)
        if kind is not None:
            given = traced_calls.given_to(callee, arguments, options)
            for site, name in sites:
                if name == "weights":
                    weights = traced_calls.weights_of(kind, given, seen_as[5])
                    compiled.put(site, weights, *_first_and_others(owners))
                else:
                    named = fused_calls.named(kind, given, fused_calls.parts_of(kind, given), output)
                    _record_compiled(None, site, named[name], None, owners)
    return output


def _first_and_others(owners: Owners) -> tuple[Any, tuple[Any, ...]]:
    return (owners[0], owners[1:]) if owners else (None, ())


def _weights_compiled(
    seen_as: Shape,
    query: Any,
    key: Any,
    attn_mask: Any,
    is_causal: Any,
    scale: Any,
    enable_gqa: Any,
    **others: Any,
) -> AttentionWeights:
    """What stands for the weights of a call in compiled code, which are computed when that has run: of its arguments
    it has copies."""
    if hasattr(attn_mask, "_materialize"):  # torch.nn.attention.bias.CausalBias
        attn_mask = attn_mask._materialize(query.device)
    query, key, attn_mask = compiled.snapshot(query), compiled.snapshot(key), compiled.snapshot(attn_mask)
    return AttentionWeights(query, key, None, attn_mask, 0.0, is_causal, scale, enable_gqa, None, seen_as)


def _attend_unfused_compiled(
    sites: Sites, owners: Owners, seen_as: Shape, callee: Any, /, *arguments: Any, **options: Any
) -> Any:
    if compiled.is_exported(None):
        _leave_out_exported(sites, True)
        return partial(callee, *arguments, **options)
    return partial(_attended_unfused_compiled, sites, owners, seen_as, callee, *arguments, **options)


def _attended_unfused_compiled(
    sites: Sites, owners: Owners, seen_as: Shape, callee: Any, /, *arguments: Any, **options: Any
) -> Any:
    output = callee(*arguments, **options)
    if state.on:
        for site, _ in sites:
            _record_compiled(None, site, as_seen(output, seen_as), None, owners)
    return output


def _attend_edited_compiled(
    edit_sites: Any,
    sites: Sites,
    owners: Owners,
    seen_as: Shape | None,
    callee: Any,
    /,
    *arguments: Any,
    **options: Any,
) -> Any:
    if editing.change is None or not attention.is_attention(callee) or compiled.is_exported(None):
        return _attend_as_compiled(sites, owners, seen_as or UNKNOWN, callee, *arguments, **options)
    return partial(_attended_edited_compiled, edit_sites, sites, owners, seen_as or UNKNOWN, callee, arguments, options)


def _attended_edited_compiled(
    edit_sites: Any,
    sites: Sites,
    owners: Owners,
    seen_as: Shape,
    callee: Any,
    arguments: tuple[Any, ...],
    options: dict[str, Any],
) -> Any:
    arguments, options = attending_edited.edited_inputs(edit_sites, owners, arguments, options)
    output = callee(*arguments, **options)
    named = attention.call_arguments(arguments, options)
    output, weights = attending_edited.edited_results(edit_sites, owners, named, output)
    for site, name in sites if state.on else ():
        if name != "weights":
            _record_compiled(None, site, {**named, "output": output}[name], None, owners)
        elif weights is not None:
            _record_compiled(None, site, weights, None, owners)
        else:
            compiled.put(site, _weights_compiled(seen_as, **named, output=output), *_first_and_others(owners))
    return output


_COUNTERPARTS: dict[Any, Any] = {
    recording.record: _record_compiled,
    recording.called: _called_compiled,
    inputs.given: given_compiled,
    inputs.given_starred: _given_starred_compiled,
    reading.unread: _unread_compiled,
    executions.missed: _missed_compiled,
    executions.enter: _enter_compiled,
    executions.begin: _begin_compiled,
    reading.allow: _allow_compiled,
    reading.failed: _failed_compiled,
    reading.look: _look_compiled,
    reading.evaluate: _evaluate_compiled,
    attending.attend: _attend_compiled,
    attending.attend_as: _attend_as_compiled,
    attending.attend_unfused: _attend_unfused_compiled,
    attending_edited.attend_edited: _attend_edited_compiled,
}


def give_counterparts() -> None:
    """Make the compiler trace these in place of the functions that rewritten code calls."""
    for function, traced in _COUNTERPARTS.items():
        function._torchdynamo_inline = traced
