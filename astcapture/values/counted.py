"""Records by number: the fourth layer, the last execution, the last pass through a model."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any

from astcapture.values.record import Record

#: What a filter takes as several alternatives.
SEVERAL = (list, tuple, set, frozenset, range)


def numbers(wanted: Any) -> list[int]:
    """The whole numbers that a filter names: one, or several; none where it names anything else.

    >>> numbers(3), numbers(range(2)), numbers("blocks.*"), numbers(True)
    ([3], [0, 1], [], [])
    """
    several = list(wanted) if isinstance(wanted, SEVERAL) else [wanted]
    found = []
    for one in several:
        if isinstance(one, bool):
            return []
        try:
            found.append(operator.index(one))
        except TypeError:
            return []
    return found


def in_order(records: Sequence[Record], wanted: Any) -> tuple[list[Record], str]:
    """The records of layers by number, and which numbers there are.

    The layers of each model are numbered in order of first appearance; a negative number counts from the end. What was
    recorded outside any module has no number.

    Args:
        records: all records.
        wanted: a number, several, or a slice.
    """
    layers: dict[str | None, dict[str, None]] = {}
    for record in records:
        if record.layer is not None:
            layers.setdefault(record.model, {})[record.layer] = None
    chosen = {(model, layer) for model, found in layers.items() for layer in _chosen(list(found), wanted)}
    most = max(map(len, layers.values()), default=0)
    if most > 1:
        reason = f"there are {most} layers, 0 to {most - 1}"
    else:
        reason = "there is one layer, 0" if most else "no value here was recorded in a layer"
    return [record for record in records if (record.model, record.layer) in chosen], reason


def from_the_end(records: Sequence[Record], wanted: Any) -> tuple[list[Record], str]:
    """The records of executions by number, and which numbers there are: -1 is the last one.

    Each function counts by itself on each layer of each model, and so do threads and processes.
    """
    calls: dict[tuple[object, ...], dict[int, None]] = {}
    for record in records:
        if record.call is not None:
            calls.setdefault(_place(record), {})[record.call] = None
    chosen: set[tuple[object, int]] = set()
    for place, seen in calls.items():
        # Numbers from 0 on are those that the records have; the others count from the end.
        own = [] if isinstance(wanted, slice) else [number for number in numbers(wanted) if number >= 0]
        counted = [wanted] if isinstance(wanted, slice) else [number for number in numbers(wanted) if number < 0]
        chosen.update((place, call) for call in own)
        chosen.update((place, call) for one in counted for call in _chosen(sorted(seen), one))
    most = max((len(seen) for seen in calls.values()), default=0)
    return [one for one in records if (_place(one), one.call) in chosen], f"there are at most {most} for each layer"


def last_pass(records: Sequence[Record]) -> list[Record]:
    """The records from the end back to where the pass through their model began; see `Records.last`."""
    newest = records[-1] if records else None
    if newest is None:
        return []
    found: list[Record] = []
    calls: dict[tuple[object, ...], int | None] = {}
    for record in reversed(records):
        if (record.model, record.rank, record.thread) != (newest.model, newest.rank, newest.thread):
            continue
        if calls.setdefault((record.key, record.layer), record.call) != record.call:
            break
        found.append(record)
    return found[::-1]


def _chosen(ordered: Sequence[Any], wanted: Any) -> Iterable[Any]:
    """The members of a list by number, those that there are."""
    if isinstance(wanted, slice):
        return ordered[wanted]
    return [ordered[number] for number in numbers(wanted) if -len(ordered) <= number < len(ordered)]


def _place(record: Record) -> tuple[object, ...]:
    return record.key, record.model, record.layer, record.rank, record.thread
