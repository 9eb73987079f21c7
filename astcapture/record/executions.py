"""Records events of an execution: that it starts, and that a name was not bound when it ended."""

from __future__ import annotations

from _thread import get_ident
from typing import Any

from astcapture.record.asked import holding_here
from astcapture.record.events import MISSED, STARTED, Site, append
from astcapture.record.state import state
from astcapture.record.torch import uncompiled
from astcapture.record.torch.checkpoint import Recomputed


def missed(site: Site, owner: Any = None, *others: Any) -> None:
    """Count a return at which the name was not bound."""
    if state.on:
        # Not `contextlib.suppress`: nothing here may call code that could be captured itself, and come back.
        try:
            holding = holding_here()
            if holding is None or not holding.paused:
                where = None if state.where is None else state.where(owner, others)
                append((site, MISSED, get_ident(), where, holding))
        except Recomputed:
            pass
        except RecursionError:
            state.recursion_failures[site] = None


def enter(site: Site) -> None:
    """Called at the start of a function whose execution can record any number of values."""
    if state.on:
        try:
            holding = holding_here()
            if holding is None or not holding.paused:
                append((site, STARTED, get_ident(), None, holding))
        except RecursionError:
            pass  # its values will be too deep as well


#: How many executions of a generator have begun, by the site of its start.
begun: dict[Site, int] = {}


def begin(site: Site) -> None:
    """Called at the start of a generator that is captured at its end."""
    if state.on:
        begun[site] = begun.get(site, 0) + 1


uncompiled.leave_alone(missed, enter, begin)
