"""The installed edits of the process, and what rewritten code calls to have a value edited."""

from __future__ import annotations

import itertools
import sys
from typing import Any

from astcapture.edits import cells
from astcapture.edits.active import Active
from astcapture.record import editing, events
from astcapture.record.editing import EditSite
from astcapture.record.inputs import Owners
from astcapture.record.torch import checkpoint, modules, places, uncompiled


class Registry:
    """The state of editing.

    Attributes:
        active: the installed edits, in the order in which they are applied.
        counts: how many executions of a function have begun, by module, qualname and layer.
        state: another object after each change of what is installed, or of what it means.
    """

    def __init__(self) -> None:
        self.active: list[Active] = []
        self.counts: dict[tuple[str, str, str | None], int] = {}
        #: The installed edits by number, which compiled code refers to.
        self.numbered: dict[int, Active] = {}
        self._counted: dict[tuple[Any, ...], None] = {}
        self._numbers = itertools.count()
        self._at: dict[EditSite, tuple[Active, ...]] = {}
        self.state = object()

    def add(self, edit: Active) -> None:
        self.active.append(edit)
        edit.number = next(self._numbers)
        self.numbered[edit.number] = edit
        self.refresh()

    def remove(self, edit: Active) -> None:
        if edit in self.active:
            self.active.remove(edit)
            del self.numbered[edit.number]
        self.refresh()

    def refresh(self) -> None:
        """What is installed, or what it means, has changed."""
        self._at.clear()
        self.state = object()
        editing.in_force[:] = [one.text for one in self.active]
        editing.change = change if self.active else None
        editing.begin = begin if any(one.needs_call for one in self.active) else None
        if not self.active:
            self.counts.clear()
            for key in self._counted:
                cells.reset(key)

    def at(self, site: EditSite) -> tuple[Active, ...]:
        """The edits of values at a site."""
        found = self._at.get(site)
        if found is None:
            found = self._at[site] = tuple(one for one in self.active if one.means(site))
        return found

    def numbers_at(self, site: EditSite, layer: str | None) -> tuple[int, ...]:
        """The numbers of the edits that apply at a site on a layer, in compiled code."""
        return tuple(one.number for one in self.at(site) if one.takes_layer(layer))

    def cell_of_executions(self, site: EditSite, layer: str | None) -> tuple[Any, ...]:
        """The key of the tensor in which compiled code counts the executions of a function."""
        key = ("executions", site[0], site[1], layer)
        self._counted[key] = None
        return key

    def was_found(self, edit: Active) -> bool:
        """Whether a module was imported, or exchanged, with a function that it means."""
        return any(edit.means((module, qualname, name, 0, at)) for module, qualname, name, at in events.editable)

    def call_of(self, site: EditSite, layer: str | None) -> int | None:
        """The number of the execution that runs, from 0; None where executions are not counted."""
        count = self.counts.get((site[0], site[1], layer))
        return None if count is None else count - 1


registry = Registry()


def layer_of(owners: Owners) -> str | None:
    """The layer for which a function works."""
    if not modules.is_found() and "torch.nn.modules.module" in sys.modules:
        modules.find_torch()
    where = places.where_again(None, owners)
    return None if where is None else where.layer


def change(value: Any, site: EditSite, owners: Owners) -> Any:
    """Give a value to the edits at a site, one after the other."""
    edits = registry.at(site)
    if not edits:
        return value
    layer = layer_of(owners)
    for edit in edits:
        value = edit.apply(value, site, layer, registry.call_of(site, layer))
    return value


def begin(site: EditSite, owners: Owners) -> None:
    """Count an execution of a function. That of a checkpoint that runs it again counts once."""
    if checkpoint.backward_pass() != -1 and checkpoint.is_second_run(sys._getframe(1)):
        return
    where = (site[0], site[1], layer_of(owners))
    registry.counts[where] = registry.counts.get(where, 0) + 1


uncompiled.leave_alone(change, begin, layer_of, Active.apply, Active.accepted)
