"""What is recorded, before it is a record: the events, and what rewritten modules declare of themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: ``(module, qualname, label, lineno)``: a literal in the rewritten code.
Site = tuple[str, str, str, int]
#: Sites at a call of attention, each with the name of what is taken there: a parameter, ``output`` or ``weights``.
Sites = tuple[tuple[Site, str], ...]
#: A site, what was recorded there, the thread, and the layer.
Event = tuple[Site, Any, int, "str | None"]


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
#: What rewritten modules declared on import, see `declare`.
declared: list[tuple[str, Functions, Names, tuple[str, ...], tuple[str, ...]]] = []


#: Functions that another compiler reads, each with its line and why it is left alone; and the targets, by their
#: text, that name what a module only imports, each with the places where that may be defined.
Beside = tuple[tuple[tuple[str, int, str], ...], tuple[tuple[str, tuple[tuple[str, str], ...]], ...]]
#: Why functions that were asked for are left alone, by key.
left_alone: dict[str, str] = {}
#: The names that functions were asked for and do not bind, by key.
not_bound: dict[str, list[str]] = {}
#: Told of what a module declares beside its functions.
on_beside: Callable[[str, Beside], None] | None = None


def declare(
    module: str,
    functions: Functions,
    skipped: Names,
    fused: tuple[str, ...] = (),
    entering: tuple[str, ...] = (),
    beside: Beside = ((), ()),
) -> None:
    """Run by a rewritten module as it is imported: these functions of it are captured.

    Args:
        module: its name.
        functions: the qualname, line and labels of each.
        skipped: functions that a wildcard matched and that do not bind a name, with the name.
        fused: the qualnames of those that also call torch's fused attention.
        entering: the qualnames of those that call `enter` as they start.
        beside: the functions that are left to another compiler, and the targets that mean another module.
    """
    declared.append((module, functions, skipped, fused, entering))
    for qualname, name in skipped:
        not_bound.setdefault(f"{module}:{qualname}", []).append(name)
    if beside != ((), ()):
        left_alone.update((f"{module}:{qualname}", reason) for qualname, _, reason in beside[0])
        if on_beside is not None:
            on_beside(module, beside)
