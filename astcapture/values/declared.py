"""What was rewritten, and what came to nothing of it: for the report at exit, and for reasons."""

from __future__ import annotations

from astcapture.record import policy
from astcapture.values.cache import drain
from astcapture.values.shared import shared
from astcapture.values.why_empty import why_failed, why_left_out, why_missed


def declared_functions() -> list[tuple[str, str]]:
    """Module and qualname of every function that was rewritten."""
    drain()
    return [(key.partition(":")[0], key.partition(":")[2]) for key in shared.declared]


def declared_labels() -> list[tuple[str, str, str]]:
    """Module, qualname and label of everything that is captured."""
    drain()
    return [
        (*function, label)
        for function, one in zip(declared_functions(), shared.declared.values(), strict=True)
        for label in one.labels
    ]


def always_missed() -> list[str]:
    """One line for each label that was never bound where a value would have been taken, or failed each time, and why.

    Not of a function whose calls of attention, or bindings, left something: of ``attn,weights@sdpa`` one is asked for.
    """
    drain()
    told = {key for key, _ in shared.recorded if key in shared.entering}
    left_out = {
        f"{module}:{qualname}": why_left_out(ran)
        for module, qualname, label in declared_labels()
        if (f"{module}:{qualname}", label) not in shared.recorded
        and (ran := policy.passed_over(module, qualname, label))
    }
    failed = [
        f"{key}: {why_failed(label, *failures)}"
        for (key, label), failures in shared.failed.items()
        if (key, label) not in shared.recorded
    ]
    layers = [f"{key}: {reason}" for key, reason in left_out.items()]
    return (
        layers
        + failed
        + [
            f"{key}: {why_missed(label, missed, *_fused_and_unbound(key, label))}"
            for (key, label), missed in shared.missed.items()
            if key not in told and (key, label) not in shared.recorded and (key, label) not in shared.failed
        ]
    )


def _fused_and_unbound(key: str, label: str) -> tuple[bool, int]:
    declared = shared.declared.get(key)
    return (False, 0) if declared is None else (declared.fused, declared.unbound.get(label, 0))


def is_declared(key: str) -> bool:
    """Whether the function of this key was rewritten."""
    drain()
    return key in shared.declared
