"""The cell that a reader has chosen in a page, with the value that was captured there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from astcapture.errors import CaptureError
from astcapture.values.record import Record
from astcapture.view.maps import maps_of
from astcapture.view.plan import Entry
from astcapture.view.reading import Reader


@dataclass(frozen=True)
class Cell:
    """One cell of a map.

    Attributes:
        value: the captured number, as a float; of "mean" and "max" that of the heads.
        record: the record that it is of; of the steps of a generation, the first.
        layer: the name of the layer.
        head: its number, or "mean" or "max".
        query, key: the row and the column.
        call, batch: the execution and the example.
    """

    __module__ = "astcapture.view"

    value: float
    record: Record
    layer: str
    head: int | str
    query: int
    key: int
    call: int
    batch: int


def chosen_cell(state: Mapping[str, Any], entries: Sequence[Sequence[Entry]]) -> Cell:
    """The cell that the state of a page names; its value is read now.

    Args:
        state: what is chosen: series, layer, head, query, key, call and batch.
        entries: of each series in the file.

    Raises:
        CaptureError: there is no such cell.
    """
    wanted = tuple(state.get(name, 0) for name in ("layer", "call", "batch"))
    number, head, query, key = (state.get(name, 0) for name in ("series", "head", "query", "key"))
    found = [
        one for several in entries[number : number + 1] for one in several if (one.layer, one.call, one.batch) == wanted
    ]
    if not found:
        raise CaptureError(f"nothing is chosen: there is no series {number} with layer, call and example {wanted}")
    entry = found[0]
    rows, columns = entry.size
    if not (0 <= query < rows and 0 <= key < columns) or not (head in ("mean", "max") or 0 <= head < entry.heads):
        raise CaptureError(
            f"there is no cell {query}, {key} of head {head!r}: {entry.heads} heads of {rows} × {columns}"
        )
    with Reader() as reader:
        maps = enumerate(maps_of(entry, reader))
        several = [float(one[query, key]) for place, one in maps if head in (place, "mean", "max")]
    value = max(several) if head == "max" else float(np.mean(several))
    name = list(entry.series.layers)[entry.layer]
    return Cell(value, entry.records[0], name, head, query, key, entry.call, entry.batch)
