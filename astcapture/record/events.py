"""What is recorded, before it is a record: the events, and what rewritten modules declare of themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from astcapture.record.scope import Holding
    from astcapture.record.torch.places import Where

#: ``(module, qualname, label, lineno)``: a literal in the rewritten code. In a notebook the number of the cell follows.
Site = tuple[str, str, str, int] | tuple[str, str, str, int, int]
#: Sites at a call of attention, each with the name of what is taken there: a parameter, ``output`` or ``weights``.
Sites = tuple[tuple[Site, str], ...]
#: A site, what was recorded there, the thread, where the module stands, and what holds for who recorded it.
Event = tuple[Site, Any, int, "Where | None", "Holding | None"]


def cell_of(site: Site) -> int | None:
    """The number of the notebook's cell that a site is in; None where it is in none."""
    return site[4] if len(site) > 4 else None


class Missed:
    """Stands in an event for a value that was not there: the name was not bound."""


class Started:
    """Stands in an event for a value: an execution of the function begins, whose values are to be told by it."""


class Failed:
    """Stands in an event for a value that could not be taken, with the error as text."""

    def __init__(self, error: BaseException) -> None:
        self.error = f"{type(error).__name__}: {error}"


class NotRecorded(RuntimeError):
    """There was a value, and no way to record it."""


MISSED = Missed()
#: Stands in a link of compiled code for a value that there was no room for.
LEFT_OUT = Missed()
STARTED = Started()


#: What was recorded and not taken out yet, the one list of the process: appending to it is atomic, and threads need no
#: lock.
events: list[Event] = []
append = events.append


#: The functions of a module with their lines and labels.
Functions = tuple[tuple[str, int, tuple[str, ...]], ...]
#: Functions, each with a name or label in it.
Names = tuple[tuple[str, str], ...]


#: Functions that another compiler reads, each with its line and why it is left alone; and the targets, by their
#: text, that name what a module only imports, each with the places where that may be defined.
Beside = tuple[tuple[tuple[str, int, str], ...], tuple[tuple[str, tuple[tuple[str, str], ...]], ...]]
#: Why functions that were asked for are left alone, by key.
left_alone: dict[str, str] = {}
#: The names that functions were asked for and do not bind, by key.
not_bound: dict[str, list[str]] = {}
#: Told of what a module declares beside its functions.
on_beside: Callable[[str, Beside], None] | None = None


class Declaration(NamedTuple):
    """What a rewritten module declares.

    Attributes:
        module: its name.
        functions: the qualname, line and labels of each.
        skipped: functions that a wildcard matched and that do not bind a name, with the name.
        fused: the qualnames of those that also call torch's fused attention.
        entering, generators: the qualnames of those that call `enter`, and `begin`, as they start.
        unbound: the labels that a function unbinds again, with the line.
        beside: the functions that are left to another compiler, and the targets that mean another module.
    """

    module: str
    functions: Functions
    skipped: Names
    fused: tuple[str, ...] = ()
    entering: tuple[str, ...] = ()
    generators: tuple[str, ...] = ()
    unbound: tuple[tuple[str, str, int], ...] = ()
    beside: Beside = ((), ())


#: What rewritten modules declared on import.
declared: list[Declaration] = []


def declare(*parts: Any) -> None:
    """Run by a rewritten module as it is imported: these functions of it are captured.

    Args:
        *parts: those of a `Declaration`, of which the last may be left out.
    """
    declaration = Declaration(*parts)
    declared.append(declaration)
    module, beside = declaration.module, declaration.beside
    for qualname, name in declaration.skipped:
        not_bound.setdefault(f"{module}:{qualname}", []).append(name)
    if beside != ((), ()):
        left_alone.update((f"{module}:{qualname}", reason) for qualname, _, reason in beside[0])
        if on_beside is not None:
            on_beside(module, beside)
