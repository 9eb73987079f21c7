"""The functions that rewritten code calls. They are the only code of ours on the user's hot path.

`events` is the one list of the process: appending to it is atomic, so threads need no lock. Each
event is ``(site, value, thread)``; `values.cache` takes them out when somebody looks.

Nothing here raises into the program, imports anything, or takes a lock, and a compiler that traces
Python (torch's) can follow `record` down to the append.
"""

from __future__ import annotations

import sys
import threading
from _thread import get_ident
from typing import Any

from astcapture.record.snapshot import BY_REFERENCE, snapshot
from astcapture.record.tensors import PLAIN_TENSORS

#: ``(module, qualname, label, lineno)``: a literal in the rewritten code.
Site = tuple[str, str, str, int]


class Missed:
    """Stands in an event for a value that was not there: the name was not bound."""


class Failed:
    """Stands in an event for a value that could not be taken, with the error as text."""

    def __init__(self, error: BaseException) -> None:
        self.error = f"{type(error).__name__}: {error}"


MISSED = Missed()

events: list[tuple[Site, Any, int]] = []
#: What rewritten modules declared on import: ``(module, functions, skipped)``.
declared: list[tuple[str, tuple[tuple[str, int, tuple[str, ...]], ...], tuple[tuple[str, str], ...]]] = []

_append = events.append
_tensors = PLAIN_TENSORS
# The types whose values are kept as they are. Emptied while recording is off, so that the fast
# path needs no check of its own: everything then takes the slow path, which looks.
_kept: set[type] = set()
_on = False


def record(result: Any, site: Site, value: Any) -> Any:
    """Record `value` and hand `result` back, which is what the user's function returns."""
    kind = type(value)
    if kind in _kept:
        _append((site, value, get_ident()))
    elif _on:
        try:
            if kind in _tensors:
                # `copy_tensor` written out: the call would cost a tenth of what copying a small tensor does.
                kept = value.detach().clone() if value.requires_grad else value.clone()
            else:
                kept = snapshot(value)
            _append((site, kept, get_ident()))
        except Exception as error:
            _append((site, Failed(error), get_ident()))
    return result


def missed(site: Site) -> None:
    """Count a return at which the name was not bound."""
    if _on:
        _append((site, MISSED, get_ident()))


def failed(site: Site) -> None:
    """Called in an ``except``: keep what went wrong with a capture's expression, unless it is not ours to keep."""
    error = sys.exc_info()[1]
    if not isinstance(error, Exception):
        raise  # KeyboardInterrupt and the like go on their way
    if _on:
        _append((site, Failed(error), get_ident()))


class _Held(threading.local):
    """Return values that wait while captures are read, last in first out; one stack for each thread."""

    def __init__(self) -> None:
        self.values: list[Any] = []


_held = _Held()


def hold(value: Any) -> None:
    """Keep a return value while captures that may fail are read."""
    _held.values.append(value)


def release() -> Any:
    """Give back what `hold` kept last."""
    return _held.values.pop()


def declare(
    module: str,
    functions: tuple[tuple[str, int, tuple[str, ...]], ...],
    skipped: tuple[tuple[str, str], ...],
) -> None:
    """Run by a rewritten module as it is imported: these functions of it are captured."""
    declared.append((module, functions, skipped))


def switch(on: bool) -> None:
    """Turn recording on or off for the process."""
    global _on
    _on = on
    if on:
        _kept.update(BY_REFERENCE)
    else:
        _kept.clear()
