"""Why nothing is there for a function or a label: the sentences that `summary`, an error and the exit tell."""

from __future__ import annotations

from astcapture.record.bypassed import why_bypassed

_FUSED = (
    "the branch that calls torch's fused attention was taken, which makes no map; "
    "capture weights@sdpa there, or have the model not use fused attention"
)


def why_missed(label: str, missed: int, fused: bool) -> str:
    """Why a label has no value though its function ran.

    Args:
        label: the label.
        missed: how many returns ran where the name was not bound; at least one.
        fused: whether the function also calls torch's fused attention.
    """
    returns = "the one return" if missed == 1 else f"any of the {missed} returns"
    reason = _FUSED if fused else "a branch that does not bind it was taken"
    return f"{label!r} is empty because it was not bound at {returns} that ran: {reason}"


def why_failed(label: str, failed: int, error: str) -> str:
    """Why a label has no value though it was asked for: it failed so many times, which is every time."""
    times = "the one time" if failed == 1 else f"each of the {failed} times"
    return f"{label!r} is empty because it failed {times} that it was to be recorded, first with {error}"


def why_not_run(key: str) -> str:
    """Why a function has no value and no miss either."""
    module, _, qualname = key.partition(":")
    return why_bypassed(module, qualname) or "no return of it has run while recording was on"
