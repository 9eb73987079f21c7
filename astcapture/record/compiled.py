"""What torch's compiler traces in place of the recorder's functions.

It can follow neither a thread's identity nor an append to a list that grows: it would compile the
function anew for each length. What it does follow is a chain, each link holding the one before: only
the type of the last link is guarded, and the values become outputs of the graph. Each thread has a
chain of its own, so none is lost between reading the last link and replacing it.

Inside compiled code there is no stack to look at. A link has a weak reference to the module whose
method recorded, and `record.holders` names that afterwards.
"""

from __future__ import annotations

import threading
import weakref
from _thread import get_ident
from typing import Any

from astcapture.record import holders


class Link:
    """One recorded value; `before` is the link recorded before it, None in the first and in those taken out."""

    def __init__(self, site: Any, value: Any, owner: Any, before: Link | None) -> None:
        self.site = site
        self.value = value
        self.owner = owner
        self.before = before


class Chain:
    """The links of one thread, the last first."""

    def __init__(self) -> None:
        self.last = Link(None, None, None, None)
        self.thread = get_ident()
        chains.append(self)

    def take(self) -> list[tuple[Any, Any, int, str | None]]:
        """The events since the last time, oldest first; they are left to nobody else."""
        events: list[tuple[Any, Any, int, str | None]] = []
        link: Link | None = self.last
        # A compiled function may just now be adding in front, so the links are emptied where they are.
        while link is not None and link.site is not None:
            events.append((link.site, link.value, self.thread, holders.path_of(link.owner)))
            link.site = link.value = link.owner = None
            link.before, link = None, link.before
        return events[::-1]

    def values(self) -> list[Any]:
        """The values of the links, which stay."""
        values = []
        link: Link | None = self.last
        while link is not None:
            values.append(link.value)
            link = link.before
        return values


chains: list[Chain] = []


class _Local(threading.local):
    def __init__(self) -> None:
        self.chain = Chain()


_local = _Local()


def put(site: Any, value: Any, owner: Any) -> None:
    """Add to this thread's chain; traced by the compiler, and run only as what it made of it."""
    if not _exporting():
        _local.chain.last = Link(site, value, _reference(owner), _local.chain.last)


def _exporting() -> bool:
    """Whether the trace becomes a program of its own, in which nothing of ours has a place."""
    from torch import compiler

    return hasattr(compiler, "is_exporting") and compiler.is_exporting()


def _reference(owner: Any) -> Any:
    """A weak reference to `owner` if it is a module, named while it is sure to be alive: now, as it is traced."""
    from torch import nn
    from torch._dynamo.comptime import comptime

    if not isinstance(owner, nn.Module):
        return None
    comptime(_name_owner)
    return weakref.ref(owner)


def _name_owner(context: Any) -> None:
    """Run by the compiler as it traces `_reference`."""
    variable = context.get_local("owner")._i_will_not_complain_if_bc_breaks_VariableTracker()
    module = getattr(variable, "value", None)
    if module is not None:
        holders.path_of(weakref.ref(module))


def snapshot(value: Any) -> Any:
    """A detached copy of a tensor, a copy of an array; anything else itself."""
    if isinstance(value, (bool, int, float, str)):
        # A number may be a symbol here, which cannot be asked for attributes.
        return value
    if hasattr(value, "detach") and hasattr(value, "clone") and not _exporting():
        return value.detach().clone()
    return value


def take() -> list[tuple[Any, Any, int, str | None]]:
    """The events of all threads, those of each in order."""
    events = [event for chain in chains for event in chain.take()]
    holders.forget_dead()
    return events
