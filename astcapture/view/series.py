"""Records in series: those of one function under one label and of one model, each layer by its number."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from astcapture.errors import CaptureError
from astcapture.values.record import Record
from astcapture.view.kinds import Kind, kind_of, names_heads
from astcapture.view.reading import Numbers, Reader

#: Rows that are looked at to tell what a series is.
_SAMPLED = 64


@dataclass
class Series:
    """The records of one function, label and model.

    Attributes:
        name, module, label, model: of the records.
        run: 0, or 1 for the second run.
        layers: the names of the layers, with their numbers.
        records: with the number of the layer and of the call of each.
        kind: what the values are.
        heads: whether the first axis of three is heads.
    """

    name: str
    module: str
    label: str
    model: str | None
    run: int
    layers: dict[str, int] = field(default_factory=dict)
    records: list[tuple[Record, int, int]] = field(default_factory=list)
    kind: Kind = "map"
    heads: bool = False

    @property
    def place(self) -> tuple[str, str, str | None]:
        """What a series of the second run must share."""
        return f"{self.module}:{self.name}", self.label, self.model


def in_series(records: Iterable[Record], run: int, partners: Sequence[Series], notes: Notes) -> list[Series]:
    """Put records in series, in order of first appearance.

    Args:
        records: in call order.
        run: 0, or 1 for the second run.
        partners: the series of the first run, whose layers have the same numbers.
        notes: takes what is odd.
    """
    records = list(records)
    several_lines = _several_lines(records)
    found: dict[tuple[object, ...], Series] = {}
    of_first = {one.place: one for one in partners}
    for record in records:
        label = record.label
        if (record.key, label) in several_lines:
            label = f"{label} (line {record.lineno})"
        series = Series(record.function, record.module, label, record.model, run)
        series = found.setdefault(series.place, series)
        partner = of_first.get(series.place)
        if partner is not None:
            series.layers = partner.layers
        layer = series.layers.setdefault(layer_name(record), len(series.layers))
        series.records.append((record, layer, -1))
    for series in found.values():
        _number_calls(series, of_first.get(series.place), notes)
    return list(found.values())


def layer_name(record: Record) -> str:
    """The name of the layer of a record.

    >>> layer_name(Record(0, "attn", "m", "f", 1)), layer_name(Record(0, "attn", "m", "f", 1, ""))
    ('f', '(the model)')
    """
    return record.function if record.layer is None else record.layer or "(the model)"


def find_kinds(series: Sequence[Series], reader: Reader, asked: Kind | None) -> None:
    """Find out what the values of each series are, by the first of them that can be read."""
    attention: set[tuple[str, tuple[int, ...]]] = set()
    samples: list[tuple[Series, tuple[int, ...], Any]] = []
    for one in series:
        found = _first_readable(one, reader)
        if found is not None:
            samples.append((one, found[0], found[1]))
    for again in (False, True):
        for one, shape, sample in samples:
            named = " ".join((one.label, one.name, next(iter(one.layers), "")))
            label = named if len(shape) > 2 and re.search(r"score|logit", one.label, re.I) is None else one.label
            beside = (one.name, shape) in attention
            one.kind = asked or kind_of(sample, shape, label, beside_attention=beside)
            one.heads = names_heads(one.kind, shape, one.label)
            if one.kind == "attention" and not again:
                attention.add((one.name, shape))


def _first_readable(series: Series, reader: Reader) -> tuple[tuple[int, ...], Any] | None:
    """The shape and some rows of the first value that is not NaN altogether."""
    first = None
    for record, *_ in series.records[:8]:
        try:
            numbers = reader.read(record)
        except CaptureError:
            continue
        sample = sampled(numbers)
        first = first or (numbers.shape, sample)
        if np.isfinite(sample).any():
            return numbers.shape, sample
    return first


def sampled(numbers: Numbers) -> Any:
    """(rows, columns), some rows of an array, evenly over all of it.

    >>> sampled(Numbers(np.arange(6.0).reshape(3, 2))).tolist()
    [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]
    """
    columns = numbers.shape[-1] if numbers.shape else 1
    flat = numbers.reshape(-1, columns)
    count = flat.shape[0]
    rows = np.unique(np.linspace(0, count - 1, min(count, _SAMPLED)).astype(np.intp))
    return flat[rows]


def _several_lines(records: Sequence[Record]) -> set[tuple[str, str]]:
    """Functions and labels with several values in one execution, of several lines, as ``attn@assign`` takes them."""
    lines: dict[tuple[object, ...], set[int]] = {}
    for record in records:
        place = record.key, record.label, record.model, record.layer, record.call, record.rank, record.thread
        lines.setdefault(place, set()).add(record.lineno)
    return {(str(place[0]), str(place[1])) for place, found in lines.items() if len(found) > 1}


def _number_calls(series: Series, partner: Series | None, notes: Notes) -> None:
    """Give each record the number of its call; where several have the same, they are counted."""
    known = [record.call or 0 for record, *_ in series.records]
    places = Counter((layer, call) for (_, layer, _), call in zip(series.records, known, strict=True))
    several = max(places.values(), default=1) > 1
    if several:
        counts: Counter[int] = Counter()
        numbers = []
        for _, layer, _ in series.records:
            numbers.append(counts[layer])
            counts[layer] += 1
        notes.add(
            f"{series.label}: several values share a layer and a call (processes, threads or loops): counted in order"
        )
    else:
        numbers = known
    if partner is not None and partner.records and not several:
        # The second of two executions of one model begins where the first ended.
        shift = min(call for *_, call in partner.records) - min(numbers)
        if shift:
            numbers = [number + shift for number in numbers]
            notes.add(f"{series.label}: calls of the second run are counted from the first call of the first run")
    series.records = [(record, layer, call) for (record, layer, _), call in zip(series.records, numbers, strict=True)]


class Notes:
    """What a reader of the page is to know, each once, with how often.

    >>> notes = Notes()
    >>> notes.add("a row is odd"); notes.add("a row is odd"); notes.listed()
    ['a row is odd (2 times)']
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, text: str) -> None:
        """Take note of something."""
        self._counts[text] += 1

    def copy(self) -> Notes:
        """The same notes, to add others."""
        made = Notes()
        made._counts.update(self._counts)
        return made

    def listed(self) -> list[str]:
        """All notes, in order of first appearance."""
        return [text if count == 1 else f"{text} ({count:,} times)" for text, count in self._counts.items()]
