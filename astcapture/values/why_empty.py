"""Why nothing is there for a function or a label: one sentence for each cause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from astcapture.record.torch.bypassed import Live, why_bypassed

#: As many layers or processes are named in a sentence.
_NAMED = 3

_FUSED = (
    "the branch with fused attention ran, which builds no map; "
    "capture weights@sdpa there, or turn off fused attention in the model"
)


#: What did not run, by the point where a label is taken.
_NOT_REACHED = {
    "assign": "no line that assigns {label!r} did",
    "call": "no call of {label} in it returned",
    "input": "no call of {label} in it was made",
    "enter": "{label!r} was not recorded",
    "yield": "no yield of it was reached",
}

#: What is said where nothing else is known.
WHY_NOT_CALLED = "it was not called while recording was on, or raised an exception each time"


@dataclass(frozen=True)
class Facts:
    """What is known of a label that has no value.

    Attributes:
        missed, failed: at how many returns it was not bound, and how often its expression raised.
        error: the first error.
        fused: whether the function also calls fused attention.
        unbound: the line on which the function unbinds it again; 0 where it does not.
        begun: how many executions of a generator have begun.
        runs: whether the function is known to have run, though not where the label has a value.
        in_blocks: how many values went to `recording()` blocks.
        passed_over: some layers that ran and that `layers` does not choose.
        other_models: some models that ran, where the values of one model alone were asked for.
        processes: processes that this one started and that recorded it, with the number of values.
        point: where the label is taken, if the function can run without coming there.
        cleared: whether the cache was cleared: what is known, is known since then.
    """

    missed: int = 0
    failed: int = 0
    error: str | None = None
    fused: bool = False
    unbound: int = 0
    begun: int = 0
    runs: bool = False
    in_blocks: int = 0
    passed_over: Sequence[str | None] = ()
    other_models: Sequence[str] = ()
    processes: Sequence[tuple[int, int]] = ()
    cleared: bool = False
    point: str = "assign"


def why_empty(key: str, label: str, facts: Facts, live: Live) -> str:
    """Why a label has no value; a sentence without a full stop."""
    if facts.in_blocks:
        return f"{_values(facts.in_blocks)} captured inside recording() or attention() blocks, which hold them"
    if facts.failed:
        times = "once" if facts.failed == 1 else f"{facts.failed} times"
        return f"{label!r} failed {times}; the first time with {facts.error}"
    if facts.missed:
        return why_missed(label, facts.missed, facts.fused, facts.unbound)
    if facts.passed_over:
        return why_left_out(facts.passed_over)
    if facts.other_models:
        return f"it ran in another model alone: {', '.join(facts.other_models)}"
    if facts.runs:
        return f"it ran, but {_NOT_REACHED[facts.point].format(label=label)}"
    if facts.begun:
        runs = "one run began and did not come" if facts.begun == 1 else f"{facts.begun} runs began and none came"
        return (
            f"it is a generator, and {runs} to the end, where {label!r} is recorded: "
            f"run it to its end, or capture {label}@assign"
        )
    return _why_not_called(key, facts, live)


def why_left_out(layers: Sequence[str | None]) -> str:
    """Why a label has no value though its function ran: in none of the layers that `layers` selects."""
    more = ", …" if len(layers) > _NAMED else ""
    return f"layers= matches none of the layers that ran: {', '.join(map(_layer_in_words, layers))}{more}"


def _layer_in_words(layer: str | None) -> str:
    return "outside any module" if layer is None else layer or "the model itself"


def _why_not_called(key: str, facts: Facts, live: Live) -> str:
    module, _, qualname = key.partition(":")
    bypassed = why_bypassed(module, qualname, live)
    if bypassed is not None:
        return bypassed
    if facts.processes:
        listed = ", ".join(f"process {pid} ({_values(count, '')})" for pid, count in facts.processes[:_NAMED])
        more = f" and {len(facts.processes) - _NAMED} more" if len(facts.processes) > _NAMED else ""
        return (
            f"it ran only in processes that this one started, {listed}{more}, and their values ended with them: "
            "install(store=DIR) collects it"
        )
    return WHY_NOT_CALLED + (" since the cache was cleared" if facts.cleared else "")


def why_missed(label: str, missed: int, fused: bool, unbound: int = 0) -> str:
    """Why a label has no value though returns of its function ran.

    Args:
        label: the label.
        missed: how many returns ran where the name was not bound; at least one.
        fused: whether the function also calls fused attention.
        unbound: the line on which the function deletes it; 0 where it does not.
    """
    returns = "the one return" if missed == 1 else f"any of the {missed} returns"
    if unbound:
        reason = f"the function unbinds it on line {unbound}; capture {label}@assign to record it where it is bound"
    else:
        reason = _FUSED if fused else "a branch that does not bind it ran"
    return f"{label!r} is empty because it was not bound at {returns} that ran: {reason}"


def why_failed(label: str, failed: int, error: str | None) -> str:
    """Why a label has no value though it was asked for: it failed so many times, which is every time."""
    times = "the one time" if failed == 1 else f"each of the {failed} times"
    return f"{label!r} is empty because it failed {times} that it was to be recorded, first with {error}"


def _values(count: int, are: str = " were") -> str:
    if count == 1:
        return "1 value" + (are and " was")
    return f"{count:,} values{are}"
