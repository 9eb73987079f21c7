"""The functions that rewritten code calls where a value may be edited.

What an edit does is known to the package `edits`, which sets `change`, and `begin` where executions are counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from astcapture.record.events import Site
from astcapture.record.inputs import NOTHING, Owners, first_of, given, receiver_of
from astcapture.record.torch import uncompiled

#: ``(module, qualname, name, lineno, point)``: a literal in the rewritten code.
EditSite = tuple[str, str, str, int, str]
#: Gives a value to the edits at a site, for the first of the owners that is a module, and returns what they make of it.
change: Callable[[Any, EditSite, Owners], Any] | None = None
#: Told that an execution of a function begins.
begin: Callable[[EditSite, Owners], None] | None = None


#: The installed edits, as text. What is captured while there are any is not the model's own.
in_force: list[str] = []


def edited(value: Any, site: EditSite, *owners: Any) -> Any:
    """The value that the program goes on with."""
    return value if change is None else change(value, site, owners)


def edit_begins(site: EditSite, *owners: Any) -> None:
    """An execution of a function with edits begins."""
    if begin is not None:
        begin(site, owners)


def given_edited(
    edit_sites: tuple[EditSite, ...],
    sites: tuple[Site, ...],
    owners: Owners,
    callee: Any,
    /,
    *arguments: Any,
    **options: Any,
) -> Any:
    """`inputs.given`, after edits of what the call gets first."""
    if not callable(callee):
        return callee  # calling it raises what it would have raised
    first = first_of(receiver_of(callee), arguments, options)
    if first is NOTHING:
        return given(sites, owners, callee, *arguments, **options)
    value = first
    for site in edit_sites:
        value = edited(value, site, *owners)
    if value is not first:
        callee, arguments, options = with_first(value, callee, arguments, options)
    return given(sites, owners, callee, *arguments, **options)


def with_first(
    value: Any, callee: Any, arguments: tuple[Any, ...], options: dict[str, Any]
) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """A call with another value in the place of what it gets first."""
    if receiver_of(callee) is not NOTHING:
        return getattr(value, callee.__name__), arguments, options
    if arguments:
        return callee, (value, *arguments[1:]), options
    first = next(iter(options))
    return callee, arguments, {**options, first: value}


uncompiled.leave_alone(edited, edit_begins, given_edited, with_first)
