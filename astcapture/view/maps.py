"""The maps of an entry, read one after the other: heads of a value, steps of a generation, windows of an image."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from astcapture.plot.formulas.windows import join_windows
from astcapture.view.plan import Entry
from astcapture.view.reading import Numbers, Reader
from astcapture.view.scale import Floats


def maps_of(entry: Entry, reader: Reader) -> Iterator[Floats]:
    """The maps of an entry, one head after the other."""
    if entry.calls:
        return iter(_joined(entry, reader))
    numbers = reader.read(entry.records[0])
    if entry.windows is not None:
        return _of_windows(entry, numbers)
    flat = numbers.reshape(entry.form.batch, entry.form.heads, entry.form.rows, entry.form.columns)
    return (flat[entry.batch, head] for head in range(entry.heads))


def done_with(entry: Entry, heads: int) -> float:
    """How much of the value of an entry is not needed any more after its first heads: a part of it from its start."""
    if entry.calls or entry.windows is not None:
        return 0.0  # of several values, or all over the value
    form = entry.form
    return ((entry.batch or 0) * form.heads + heads) / (form.batch * form.heads)


def _joined(entry: Entry, reader: Reader) -> Floats:
    """(heads, queries, keys), the steps of a generation as `formulas.join_steps` puts them together.

    Steps that do not grow, of cross attention, are below each other.
    """
    form = entry.form
    whole: Floats = np.zeros((entry.heads, form.rows, form.columns), np.float32)
    row = 0
    for record in entry.records:
        numbers = reader.read(record)
        queries, keys = numbers.shape[-2:]
        step = numbers.reshape(form.batch, form.heads, queries, keys)
        for head in range(entry.heads):
            whole[head, row : row + queries, :keys] = step[entry.batch, head]
        row += queries
    return whole


def _of_windows(entry: Entry, numbers: Numbers) -> Iterator[Floats]:
    windows = entry.windows
    assert windows is not None
    count, side = windows.per_row**2, windows.side * windows.per_row
    examples = slice(entry.batch * count, (entry.batch + 1) * count)
    for head in range(entry.heads):
        one = numbers[examples, head][:, None]
        yield join_windows(one, (side, side), window=(windows.side, windows.side), shift=windows.shift)[0, 0]
