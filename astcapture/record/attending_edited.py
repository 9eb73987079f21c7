"""The function that rewritten code calls where torch's fused attention is edited.

The kernel runs as it does in the program. If the weights are edited, what they change of the output is added to it,
``output + (edited - weights) @ value``, so that weights that stay as they are change nothing, to the last bit.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from astcapture.errors import EditError
from astcapture.record import editing
from astcapture.record.attending import Owners, attend_as, weights_of
from astcapture.record.editing import EditSite, edited
from astcapture.record.events import Sites
from astcapture.record.recording import record
from astcapture.record.state import state
from astcapture.record.torch import attention, fused_calls, uncompiled
from astcapture.record.torch.attention_weights import UNKNOWN, Shape

_INPUTS = ("query", "key", "value")


def attend_edited(
    edit_sites: tuple[EditSite, ...],
    sites: Sites,
    owners: Owners,
    seen_as: Shape | None,
    callee: Any,
    /,
    *arguments: Any,
    **options: Any,
) -> Any:
    """Prepare a call that may be torch's fused attention, with edits of it; the user's code calls what is returned."""
    if callable(callee) and editing.change is not None:
        if attention.is_attention(callee):
            return partial(_run, edit_sites, sites, owners, seen_as or UNKNOWN, callee, arguments, options)
        if fused_calls.kind_of(callee) is not None:
            raise EditError(
                f"{edit_sites[0][2]}@sdpa cannot be edited at {callee.__name__}: of fused attention, only torch's "
                "scaled_dot_product_attention can"
            )
    return attend_as(sites, owners, seen_as or UNKNOWN, callee, *arguments, **options)


def _run(
    edit_sites: tuple[EditSite, ...],
    sites: Sites,
    owners: Owners,
    seen_as: Shape,
    callee: Any,
    arguments: tuple[Any, ...],
    options: dict[str, Any],
) -> Any:
    arguments, options = edited_inputs(edit_sites, owners, arguments, options)
    output = callee(*arguments, **options)
    named = attention.call_arguments(arguments, options)
    output, weights = edited_results(edit_sites, owners, named, output)
    for site, name in sites if state.on else ():
        if name != "weights":
            record(None, site, {**named, "output": output}[name], None, owners)
        elif weights is not None:
            record(None, site, weights, None, owners)
        else:
            record(None, site, weights_of(seen_as, **named, output=output), None, owners)
    return output


def edited_inputs(
    edit_sites: tuple[EditSite, ...], owners: Owners, arguments: tuple[Any, ...], options: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call of attention, after the edits of its query, key and value."""
    given, named = list(arguments), dict(options)
    for site in edit_sites:
        for index, name in enumerate(_INPUTS):
            if site[2] != name:
                continue
            if index < len(given):
                given[index] = edited(given[index], site, *owners)
            elif name in named:
                named[name] = edited(named[name], site, *owners)
    return tuple(given), named


def edited_results(
    edit_sites: tuple[EditSite, ...], owners: Owners, named: dict[str, Any], output: Any
) -> tuple[Any, Any]:
    """The output after the edits of the weights and of itself, and the edited weights; None if they are not edited."""
    weights = None
    for site in edit_sites:
        if site[2] != "weights":
            continue
        if named["dropout_p"]:
            raise EditError("weights@sdpa cannot be edited under dropout: call model.eval() first")
        before = attention.weights_with_graph(**named)
        weights = edited(before, site, *owners)
        if weights is not before:
            value = named["value"]
            if named["enable_gqa"]:
                value = value.repeat_interleave(named["query"].size(-3) // value.size(-3), -3)
            output = output + ((weights - before) @ value).to(output.dtype)
    for site in edit_sites:
        if site[2] == "output":
            output = edited(output, site, *owners)
    return output, weights


uncompiled.leave_alone(attend_edited, _run, edited_inputs, edited_results)
