"""Which records match the filters of `select`, and if none does, which filter is the reason."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from astcapture.errors import CaptureError
from astcapture.values.counted import SEVERAL, from_the_end, in_order, numbers
from astcapture.values.record import Record

_FIELDS = ("key", *Record.__dataclass_fields__)
#: As many values of a field a reason lists.
_LISTED = 5


def selected(records: Sequence[Record], filters: Mapping[str, Any]) -> tuple[Sequence[Record], str | None]:
    """The records that match every filter, and why there are none.

    Raises:
        CaptureError: a filter that is neither a field nor a tag of these records, and looks like a slip.
    """
    for name in filters:
        _check(records, name)
    found = records
    counted: list[str] = []
    for name, wanted in filters.items():
        if _is_counted(name, wanted):
            counted.append(name)
            continue
        before, found = found, [record for record in found if _matches(record, name, wanted)]
        if before and not found:
            return found, _why_none(before, name, wanted)
    # They count what the others have left: first layers, then executions.
    for name in sorted(counted, reverse=True):
        choose: Callable[[Sequence[Record], Any], tuple[list[Record], str]]
        choose = in_order if name == "layer" else from_the_end
        before = found
        found, reason = choose(found, filters[name])
        if before and not found:
            return found, f"no value has {name}={_shown(filters[name])}; {reason}"
    return found, None


def _check(records: Sequence[Record], name: str) -> None:
    if name in _FIELDS or any(name in record.tags for record in records):
        return
    if name in ("head", "heads"):
        raise CaptureError(f"select({name}=...): heads are an axis of each value, not a filter: take value[:, head]")
    close = difflib.get_close_matches(name, _FIELDS, n=1)
    if close:
        raise CaptureError(f"select({name}=...): no record has a tag {name!r}; did you mean {close[0]!r}?")


def _is_counted(name: str, wanted: Any) -> bool:
    """Whether a filter counts layers, or executions from the end; others are compared with the record."""
    if name == "layer":
        return isinstance(wanted, slice) or bool(numbers(wanted))
    return name == "call" and (isinstance(wanted, slice) or any(number < 0 for number in numbers(wanted)))


def _matches(record: Record, name: str, wanted: Any) -> bool:
    if name in _FIELDS:
        actual = getattr(record, name)
    elif name in record.tags:
        actual = record.tags[name]
    else:
        return False
    if isinstance(wanted, str):
        return isinstance(actual, str) and fnmatch.fnmatchcase(actual, wanted)
    if isinstance(wanted, SEVERAL):
        return actual in wanted
    if callable(wanted):
        return bool(wanted(actual))
    return bool(actual == wanted)


def _why_none(records: Sequence[Record], name: str, wanted: Any) -> str:
    """Why a filter leaves nothing of these records: there is no such tag, or it has other values."""
    if name not in _FIELDS and not any(name in record.tags for record in records):
        tags = list(dict.fromkeys(tag for record in records for tag in record.tags))
        return f"no value has a tag {name!r}; " + (
            f"tags here: {', '.join(tags)}" if tags else "there are no tags here"
        )
    there = [getattr(record, name) if name in _FIELDS else record.tags.get(name) for record in records]
    if name == "value":
        return f"no value matches value={_shown(wanted)}"
    known = list(dict.fromkeys(map(_shown, there)))
    listed = ", ".join(known[:_LISTED]) + (f" and {len(known) - _LISTED} more" if len(known) > _LISTED else "")
    return f"no value has {name}={_shown(wanted)}; there {'is' if len(known) == 1 else 'are'} {listed}"


def _shown(wanted: Any) -> str:
    return getattr(wanted, "__name__", None) or repr(wanted)
