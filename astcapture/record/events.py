"""Recorded events, before they become records, and the declarations of rewritten modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from astcapture.record.scope import Holding
    from astcapture.record.torch.places import Where

#: ``(module, qualname, label, lineno)``: a literal in the rewritten code. In a notebook the cell's number follows.
Site = tuple[str, str, str, int] | tuple[str, str, str, int, int]
#: Sites at a call of attention, each with the name of the captured value: a parameter, ``output`` or ``weights``.
Sites = tuple[tuple[Site, str], ...]
#: A site, the recorded value, the thread, the place of the module, and the settings of the open block.
Event = tuple[Site, Any, int, "Where | None", "Holding | None"]


def cell_of(site: Site) -> int | None:
    """The number of the notebook's cell that a site is in; None where it is in none."""
    return site[4] if len(site) > 4 else None


class Missed:
    """In an event in place of a value: the name was not bound."""


class Started:
    """In an event in place of a value: an execution of the function starts, to which the next values belong."""


class Failed:
    """In an event in place of a value that could not be recorded, with the error as text."""

    def __init__(self, error: BaseException) -> None:
        self.error = f"{type(error).__name__}: {error}"


class NotRecorded(RuntimeError):
    """There was a value, but it could not be recorded."""


MISSED = Missed()
#: In a link of compiled code in place of a value that did not fit into memory.
LEFT_OUT = Missed()
STARTED = Started()


#: Recorded events that were not taken out yet, in one list for the process: appending is atomic and needs no lock.
events: list[Event] = []
append = events.append


#: The functions of a module with their lines and labels.
Functions = tuple[tuple[str, int, tuple[str, ...]], ...]
#: Functions, each with a name or label in it.
Names = tuple[tuple[str, str], ...]


#: Functions that another compiler reads, each with its line and the reason why it is not rewritten; and the targets, by
#: their text, that name a function that the module only imports, each with the places where it may be defined.
Beside = tuple[tuple[tuple[str, int, str], ...], tuple[tuple[str, tuple[tuple[str, str], ...]], ...]]
#: Why functions that a target names are not rewritten, by key.
left_alone: dict[str, str] = {}
#: The names that targets ask for and functions do not bind, by key.
not_bound: dict[str, list[str]] = {}
#: The module, qualname, name and point of what rewritten code gives to edits.
editable: set[tuple[str, str, str, str]] = set()
#: Called with what a module declares besides its functions.
on_beside: Callable[[str, Beside], None] | None = None


#: The qualname and label of what is taken at another point than a return or binding, the point, and the lines and
#: source of the calls that are meant.
TakenAt = tuple[str, str, str, tuple[tuple[int, str], ...]]


class Declaration(NamedTuple):
    """What a rewritten module declares.

    Attributes:
        module: its name.
        functions: the qualname, line and labels of each.
        skipped: functions that a wildcard matched and that do not bind a name, with the name.
        fused: the qualnames of functions that also call fused attention.
        entering, generators: the qualnames of functions that call `enter`, or `begin`, at their start.
        unbound: the labels that a function deletes again, with the line.
        beside: the functions that another compiler reads, and the targets defined in another module.
        taken_at: the labels that are taken at calls, at entry or at a yield.
        edited: the qualname, name and point of what can be edited.
    """

    module: str
    functions: Functions
    skipped: Names
    fused: tuple[str, ...] = ()
    entering: tuple[str, ...] = ()
    generators: tuple[str, ...] = ()
    unbound: tuple[tuple[str, str, int], ...] = ()
    beside: Beside | tuple[()] = ()
    taken_at: tuple[TakenAt, ...] = ()
    edited: tuple[tuple[str, str, str], ...] = ()


#: What rewritten modules declared on import.
declared: list[Declaration] = []


def declare(*parts: Any) -> None:
    """Called by a rewritten module when it is imported: declares its captured functions.

    Args:
        *parts: the fields of a `Declaration`; the last ones may be omitted.
    """
    declaration = Declaration(*parts)
    declared.append(declaration)
    module, beside = declaration.module, declaration.beside
    editable.update((module, *where) for where in declaration.edited)
    for qualname, name in declaration.skipped:
        not_bound.setdefault(f"{module}:{qualname}", []).append(name)
    if beside:
        left_alone.update((f"{module}:{qualname}", reason) for qualname, _, reason in beside[0])
        if on_beside is not None:
            on_beside(module, beside)
