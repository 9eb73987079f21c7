"""What goes into a file: one entry for each example of each value, or for the steps of a generation together."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isqrt

from astcapture.plot.formulas.steps import growth_fault
from astcapture.values.record import Record
from astcapture.view.kinds import Form, form_of
from astcapture.view.series import Notes, Series


@dataclass(frozen=True)
class Windows:
    """How windows make an image (Swin).

    Attributes:
        side: rows of tokens of a window, and columns.
        per_row: windows in a row of the image.
        shift: by how many tokens they are shifted.
    """

    side: int
    per_row: int
    shift: int


@dataclass(frozen=True)
class Entry:
    """One item of a file, before it is read.

    Attributes:
        series: its series.
        records: the value, or the steps of a generation, one after the other.
        layer: the number of the layer.
        call: the number of the first call.
        calls: those of all steps, where there are several.
        batch: the number of the example.
        form: the axes of the value; of steps, of the map that they make together.
        heads: how many heads are shown.
        windows: how its windows make an image.
    """

    series: Series
    records: tuple[Record, ...]
    layer: int
    call: int
    calls: tuple[int, ...]
    batch: int
    form: Form
    heads: int
    windows: Windows | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(rows, columns) of each map."""
        if self.windows is None:
            return self.form.rows, self.form.columns
        tokens = (self.windows.side * self.windows.per_row) ** 2
        return tokens, tokens


def plan(series: Sequence[Series], *, batch: int | None, most: int, examples: int | None, notes: Notes) -> list[Entry]:
    """Plan the entries of all series.

    Args:
        series: with the kind of each known.
        batch: the example that is shown; None for all.
        most: how many maps a file can have.
        examples: how many examples there are, where it is known.
        notes: takes what is left out.
    """
    entries: list[Entry] = []
    grown = {id(one): _grown(one, notes) for one in series}
    loops = {(one.run, one.model, group[0][2], group[-1][2]) for one in series for group in grown[id(one)] if group[1:]}
    for one in series:
        windows = _windows(one, examples, notes)
        own = [loop[2:] for loop in loops if loop[:2] == (one.run, one.model)]
        for steps in _stacked(grown[id(one)], own):
            entries += _entries(one, steps, batch, windows)
    return _thinned(entries, most, notes)


#: A record with the number of its layer and of its call.
Numbered = tuple[Record, int, int]


def _entries(series: Series, steps: Sequence[Numbered], batch: int | None, windows: dict[int, Windows]) -> list[Entry]:
    record, layer, call = steps[0]
    shape = record.form().shape or ()
    form = form_of(shape, series.kind, heads=series.heads)
    calls: tuple[int, ...] = ()
    if len(steps) > 1:
        forms = [form_of(one.form().shape or (), series.kind, heads=series.heads) for one, *_ in steps]
        form = form._replace(rows=sum(one.rows for one in forms), columns=forms[-1].columns)
        calls = tuple(number for *_, number in steps)
    joined = windows.get(layer)
    count = form.batch if joined is None else form.batch // joined.per_row**2
    wanted = range(count) if batch is None else [batch] if 0 <= batch < count else []
    return [
        Entry(
            series, tuple(one for one, *_ in steps), layer, call, calls, number, form, form.heads, joined
        )
        for number in wanted
    ]  # fmt: skip


def _grown(series: Series, notes: Notes) -> list[list[Numbered]]:
    """The records of a series, those together whose keys grow by their queries: the steps of a generation."""
    groups: list[list[Numbered]] = []
    open_groups: dict[int, list[Numbered]] = {}
    for one in series.records:
        shape = one[0].form().shape
        if shape is None or 0 in shape:
            name = one[0].form().dtype if shape is None else f"empty, of shape {shape}"
            notes.add(f"{series.label}: a value that is {'no array: ' if shape is None else ''}{name} is left out")
            continue
        group = open_groups.get(one[1])
        if group is not None and series.kind == "attention" and _continues(group, one, series):
            group.append(one)
        else:
            open_groups[one[1]] = group = [one]
            groups.append(group)
    return groups


def _continues(group: Sequence[Numbered], one: Numbered, series: Series) -> bool:
    before, after = (found[0].form().shape or () for found in (group[-1], one))
    if len(before) < 2 or len(before) != len(after) or before[:-2] != after[:-2]:
        return False
    sizes = [(shape[-2], shape[-1]) for shape in (before, after)]
    # Only the first of two may have keys of queries that are not known.
    return after[-2] < after[-1] and growth_fault(sizes) is None and one[2] > group[-1][2]


def _stacked(groups: Sequence[list[Numbered]], loops: Sequence[tuple[int, int]]) -> list[list[Numbered]]:
    """The groups, those together that are one query at each step of a loop, of the same keys: cross attention.

    Args:
        groups: in order.
        loops: the first and the last call of each generation.
    """
    found: list[list[Numbered]] = []
    last: dict[int, list[Numbered]] = {}
    for group in groups:
        record, layer, call = group[0]
        shape = record.form().shape or ()
        before = last.get(layer)
        if before is not None and len(group) == 1 and len(shape) > 2 and shape[-2] == 1:
            known = before[-1][0].form().shape or ()
            in_loop = any(first <= before[0][2] and call <= end for first, end in loops)
            of_same_keys = len(known) == len(shape) and (known[:-2], known[-1]) == (shape[:-2], shape[-1])
            if in_loop and of_same_keys and call == before[-1][2] + 1 and not _is_grown(before):
                before += group
                continue
        last[layer] = group
        found.append(group)
    return found


def _is_grown(group: Sequence[Numbered]) -> bool:
    shapes = [group[place][0].form().shape or (0,) for place in (0, -1)]
    return shapes[0][-1] != shapes[1][-1]


_WINDOWED = re.compile(r"swin|window", re.I)


def _windows(series: Series, examples: int | None, notes: Notes) -> dict[int, Windows]:
    """How the windows of each layer make an image; nothing for models without windows."""
    named = f"{series.module} {series.name} {series.model or ''}"
    if series.kind != "attention" or not _WINDOWED.search(named):
        return {}
    counts: dict[int, tuple[int, int]] = {}
    names = {number: name for name, number in series.layers.items()}
    for record, layer, _ in series.records:
        shape = record.form().shape or ()
        if len(shape) != 4 or shape[2] != shape[3] or isqrt(shape[2]) ** 2 != shape[2]:
            return {}
        if counts.setdefault(layer, (shape[0], shape[2])) != (shape[0], shape[2]):
            return {}
    several = len({count for count, _ in counts.values()}) > 1
    # The last stage of a Swin has one window for each example.
    batch = examples or (min(count for count, _ in counts.values()) if several else 1)
    found = {}
    for layer, (count, inside) in counts.items():
        per_row = isqrt(count // batch)
        if per_row * per_row * batch != count:
            notes.add(
                f"{series.label}: windows are shown one by one: {count} windows of {batch} examples form no square"
            )
            return {}
        side = isqrt(inside)
        numbers = re.findall(r"\d+", names[layer])
        shifted = bool(numbers) and int(numbers[-1]) % 2 == 1 and per_row > 1
        found[layer] = Windows(side, per_row, side // 2 if shifted else 0)
    return found


def _thinned(entries: list[Entry], most: int, notes: Notes) -> list[Entry]:
    """At most about `most` maps: fewer examples, then fewer calls, then fewer heads; the notes say what is left out."""
    if sum(one.heads for one in entries) <= most:
        return entries
    batches = sorted({one.batch for one in entries})
    if len(batches) > 1:
        of_one = max(Counter(one.batch for one in entries for _ in range(one.heads)).values())
        kept = batches[: max(1, most // of_one)]
        if len(kept) < len(batches):
            notes.add(
                f"{_counted(len(kept), 'example')} of {len(batches)} {'is' if len(kept) == 1 else 'are'} here: "
                "choose another with batch= or --batch"
            )
            entries = [one for one in entries if one.batch in set(kept)]
    calls = sorted({one.call for one in entries})
    if sum(one.heads for one in entries) > most and len(calls) > 1:
        of_one = max(Counter(one.call for one in entries for _ in range(one.heads)).values())
        number = max(1, most // of_one)
        if number < len(calls):
            chosen = {calls[place * (len(calls) - 1) // max(number - 1, 1)] for place in range(number)}
            notes.add(
                f"{_counted(len(chosen), 'call')} of {len(calls)} {'is' if len(chosen) == 1 else 'are'} here, evenly "
                "over all: choose others with select(call=...) or --call"
            )
            entries = [one for one in entries if one.call in chosen]
    if sum(one.heads for one in entries) > most:
        limit = max(1, most // len(entries))
        notes.add(f"only the first {limit} heads or channels of each value are here: they are too many for one file")
        entries = [replace(one, heads=min(one.heads, limit)) for one in entries]
        if len(entries) > most:
            notes.add(f"only the first {most:,} of {len(entries):,} values are here: select some by layer or label")
            entries = entries[:most]
    return entries


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
