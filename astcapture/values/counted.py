"""Records by number: the fourth layer, the last execution, the last pass through a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from astcapture.values.record import Record

#: A number, or several.
Wanted = int | Iterable[int]


def in_order(records: Sequence[Record], wanted: Wanted) -> tuple[list[Record], Callable[[str | None], str | None]]:
    """The records of layers by number, and why there are none.

    Layers are numbered in order of first appearance, those of several models one after the other; a negative number
    counts from the end. What was recorded outside any module has no number.
    """
    layers = list(dict.fromkeys((record.model, record.layer) for record in records if record.layer is not None))
    chosen = {layers[number] for number in _numbers(wanted) if -len(layers) <= number < len(layers)}
    if len(layers) > 1:
        reason = f"there are {len(layers)} layers, 0 to {len(layers) - 1}"
    else:
        reason = "there is one layer, 0" if layers else "no value here was recorded in a layer"
    return [record for record in records if (record.model, record.layer) in chosen], lambda label: reason


def from_the_end(records: Sequence[Record], wanted: Wanted) -> list[Record]:
    """The records of executions by number: -1 is the last execution of each function on each layer of each model.

    Threads and processes count for themselves.
    """
    calls: dict[tuple[object, ...], dict[int, None]] = {}
    for record in records:
        if record.call is not None:
            calls.setdefault(_place(record), {})[record.call] = None
    chosen = set()
    for place, seen in calls.items():
        ordered = sorted(seen)
        for number in _numbers(wanted):
            if number >= 0:
                chosen.add((place, number))
            elif -number <= len(ordered):
                chosen.add((place, ordered[number]))
    return [record for record in records if (_place(record), record.call) in chosen]


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


def _place(record: Record) -> tuple[object, ...]:
    return record.key, record.model, record.layer, record.rank, record.thread


def _numbers(wanted: Wanted) -> Iterable[int]:
    return (wanted,) if isinstance(wanted, int) else wanted
