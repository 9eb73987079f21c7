"""The content of a file as it grows: items with their maps, axes, statistics, and what is odd about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from astcapture.errors import CaptureError
from astcapture.plot.formulas.distance import patch_centres
from astcapture.version import __version__
from astcapture.view.axes import Axis
from astcapture.view.blocks import Blocks
from astcapture.view.budget import Budget
from astcapture.view.maps import done_with, maps_of
from astcapture.view.options import Options, of_example
from astcapture.view.packing import How
from astcapture.view.page import page
from astcapture.view.plan import Entry
from astcapture.view.prepare import Planned
from astcapture.view.reading import Reader
from astcapture.view.scale import Floats
from astcapture.view.series import Series
from astcapture.view.shelf import Shelf
from astcapture.view.statistics import NAMES, Places, pairs_of
from astcapture.view.work import Done, Workers


@dataclass
class Written:
    """What is known of a series while the file is written."""

    series: Series
    thumbs: Shelf
    items: list[dict[str, Any]] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    lo: float = np.inf
    hi: float = -np.inf


class Content:
    """What is in the file so far."""

    def __init__(self, options: Options, planned: Planned, blocks: Blocks, workers: Workers) -> None:
        self._options = options
        self._planned = planned
        self._notes = planned.notes.copy()
        room = options.size - len(page().code) - len(page().style) - 4000
        self._budget = Budget(room, (one.size for one in planned.entries for _ in range(one.heads)))
        self._maps = Shelf(blocks)
        self._workers = workers
        self._written: dict[int, Written] = {}
        self._blocks = blocks
        self._sparse: dict[tuple[str, bool], list[int]] = {}

    def add(self, entry: Entry, reader: Reader) -> None:
        """Read and pack the maps of an entry."""
        series = entry.series
        written = self._written.get(id(series))
        if written is None:
            written = self._written[id(series)] = Written(series, Shelf(self._blocks, first=True, one=True))
        try:
            maps = maps_of(entry, reader)
            item = self._item(entry, written, maps, reader)
        except CaptureError as error:
            self._notes.add(f"{series.label}, {_named(entry)}: {error}; it is left out")
            return
        written.items.append(item)
        written.entries.append(entry)

    def _item(self, entry: Entry, written: Written, maps: Iterator[Floats], reader: Reader) -> dict[str, Any]:
        series, record = entry.series, entry.records[0]
        rows, columns = entry.size
        row_axis, column_axis = self._planned.sides[id(entry)]
        attention = series.kind == "attention"
        item: dict[str, Any] = {
            "layer": entry.layer,
            "call": entry.call,
            "batch": entry.batch,
            "heads": entry.heads,
            "rows": rows,
            "columns": columns,
            "row_axis": row_axis.number,
            "column_axis": column_axis.number,
            "tags": {str(name): _plain(value) for name, value in record.tags.items()},
            "lineno": record.lineno,
            "file": None,
            "maps": [],
        }
        if entry.calls:
            item["calls"] = list(entry.calls)
            if _grows(entry) and row_axis.number == column_axis.number and rows == columns:
                item["given"] = _given(entry)
        if series.kind == "channels" and self._options.images:
            image = of_example(self._options.images, entry.batch)
            item["image"] = None if image is None else self._options.images.index(image)
        places = _places(row_axis, column_axis, rows, columns, joined=_grows(entry))
        numbers: dict[str, list[float | None]] = {name: [] for name in NAMES}
        odd: Counter[str] = Counter()
        k = None if self._budget.is_whole(entry.size) else self._budget.k(entry.size)
        hows = (How(attention, self._is_exact(entry, head), k) for head in range(entry.heads))
        for done in self._workers.map(zip(maps, hows, strict=True), places):
            self._put(done, written, item, entry.size)
            reader.drop(done_with(entry, len(item["maps"])))
            odd.update(done.odd)
            for name, several in numbers.items():
                several.append(None if done.measured is None else done.measured.numbers[name])
        if attention:
            item["stats"] = numbers
        if odd.total():
            item["odd"] = dict(odd)
            self._note_odd(series.label, odd)
        return item

    def _is_exact(self, entry: Entry, head: int) -> bool:
        return (id(entry.series), entry.layer, head) in self._planned.exact

    def _put(self, done: Done, written: Written, item: dict[str, Any], size: tuple[int, int]) -> None:
        packed = done.packed
        item["maps"].append(packed.entry)
        written.thumbs.take(packed.thumb)
        nbytes = self._maps.take(packed.parts)
        if packed.entry["form"] == "sparse":
            self._budget.spent(size, packed.entry["k"], nbytes)
            if not packed.complete:
                of = written.series.label, written.series.kind == "attention"
                self._sparse.setdefault(of, []).append(packed.entry["k"])
        written.lo, written.hi = min(written.lo, done.least), max(written.hi, done.greatest)

    def _note_odd(self, label: str, odd: Mapping[str, int]) -> None:
        for name, text in (
            ("nan", "values contain NaN"),
            ("inf", "values contain infinity"),
            ("negative", "values that should be attention have negative numbers, so they have no statistics"),
            ("off_sum", "values have rows that do not sum to one (after dropout, or masked)"),
        ):
            if odd[name]:
                self._notes.add(f"{label}: {text}")

    def finish(self) -> dict[str, Any]:
        """Write what is left; gives the data of the file."""
        self._maps.close()
        for (label, attention), ks in self._sparse.items():
            of = f"{min(ks)} to {max(ks)}" if min(ks) < max(ks) else f"{ks[0]}"
            what = f"{of} largest weights" if attention else f"{of} values farthest from zero"
            share = ", with the share of the row that they are" if attention else ""
            self._notes.add(
                f"{label}: {len(ks):,} maps are too large for the file: the {what} of each row are here{share}; "
                "size= or --size and exact= or --exact keep more"
            )
        listed = []
        for one in self._written.values():
            one.thumbs.close()
            if one.items:
                listed.append(_of_series(one))
        if not listed:
            raise CaptureError("; ".join(["nothing here can be shown", *self._notes.listed()]))
        return {
            "format": 1,
            "title": self._options.title,
            "made": f"astcapture {__version__}",
            "series": listed,
            "axes": self._planned.axes.listed,
            "images": list(self._options.images),
            "notes": self._notes.listed(),
        }

    def entries(self) -> list[list[Entry]]:
        """The entries of each series in the file."""
        return [one.entries for one in self._written.values() if one.items]


def _grows(entry: Entry) -> bool:
    """Whether the queries of a map are the last of its keys."""
    return bool(entry.calls) and _given(entry) < entry.form.columns


def _given(entry: Entry) -> int:
    """How many keys there are in the first step."""
    return (entry.records[0].form().shape or (0,))[-1]


def _places(row_axis: Axis, column_axis: Axis, rows: int, columns: int, *, joined: bool) -> Places:
    same = row_axis.number == column_axis.number
    offset = columns - rows if joined else 0 if same and rows == columns else None
    words = column_axis.words
    pairs = pairs_of(words.raw, words.special, offset) if words is not None and offset is not None else None
    if same and column_axis.grid is not None:
        return Places(offset, patch_centres(column_axis.grid).astype(np.float64), column_axis.prefix, pairs)
    return Places(offset, None, 0, pairs)


def _of_series(one: Written) -> dict[str, Any]:
    series = one.series
    signed = one.lo < 0
    lo, hi = (one.lo, one.hi) if one.lo <= one.hi else (0.0, 0.0)
    if signed:
        hi = max(-lo, hi)
        lo = -hi
    elif series.kind == "attention":
        lo = 0.0
    return {
        "name": series.name,
        "label": series.label,
        "model": series.model,
        "module": series.module,
        "run": series.run,
        "kind": series.kind,
        "scale": [lo, hi],
        "signed": signed,
        "layers": list(series.layers),
        "items": one.items,
    }


def _named(entry: Entry) -> str:
    return f"layer {list(entry.series.layers)[entry.layer]}, call {entry.call}"


def _plain(value: Any) -> Any:
    """A tag as JSON has it, or its text."""
    return value if isinstance(value, (str, int, bool)) or value is None else str(value)
