"""What is recorded, before it is a record: the events, and what rewritten modules declare of themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from astcapture.record.places import Where
    from astcapture.record.scope import Holding

#: ``(module, qualname, label, lineno)``: a literal in the rewritten code.
Site = tuple[str, str, str, int]
#: Sites at a call of attention, each with the name of what is taken there: a parameter, ``output`` or ``weights``.
Sites = tuple[tuple[Site, str], ...]
#: A site, what was recorded there, the thread, where the module stands, and what holds for who recorded it.
Event = tuple[Site, Any, int, "Where | None", "Holding | None"]


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


#: The functions of a module with their lines and labels.
Functions = tuple[tuple[str, int, tuple[str, ...]], ...]
#: Functions, each with a name or label in it.
Names = tuple[tuple[str, str], ...]


class Declaration(NamedTuple):
    """What a rewritten module declares; see `declare`."""

    module: str
    functions: Functions
    skipped: Names
    fused: tuple[str, ...] = ()
    entering: tuple[str, ...] = ()
    generators: tuple[str, ...] = ()
    unbound: tuple[tuple[str, str, int], ...] = ()


#: What rewritten modules declared on import.
declared: list[Declaration] = []


def declare(*parts: Any) -> None:
    """Run by a rewritten module as it is imported: these functions of it are captured.

    Args:
        *parts: those of a `Declaration`, of which the last may be left out: the module's name; the qualname, line
            and labels of each function; functions that a wildcard matched and that do not bind a name, with the
            name; the qualnames of those that also call torch's fused attention, of those that call `enter`, and of
            those that call `begin` as they start; the labels that a function unbinds again, with the line.
    """
    declared.append(Declaration(*parts))
