"""The values captured in one function, in call order, with what is known of each."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, overload

from astcapture.values.arrays import one_shape, to_dask, to_numpy
from astcapture.values.counted import last_pass
from astcapture.values.differences import differences
from astcapture.values.html import ROWS, Table, only_looks
from astcapture.values.lines import shown_line
from astcapture.values.record import Record, in_cell, in_words, tags_in_words
from astcapture.values.selection import selected

if TYPE_CHECKING:
    from astcapture.view import View


class NotCaptured(KeyError):
    """A `KeyError` whose message is meant to be read."""

    def __str__(self) -> str:
        return str(self.args[0])


class Records(Sequence[Any]):
    """A sequence of captured values: an int gives a value, a slice or a label gives `Records`.

    >>> records = Records([Record(1, "a", "m", "f", 3), Record(2, "b", "m", "f", 3)])
    >>> records[0], list(records["b"]), list(records[1:])
    (1, [2], [2])
    """

    def __init__(
        self, records: Sequence[Record] = (), why_empty: Callable[[str | None], str | None] = lambda label: None
    ) -> None:
        self._records: tuple[Record, ...] = tuple(records)
        # Why there is no value, or none of a label, for those who ask for one.
        self._why_empty = why_empty

    @property
    def records(self) -> tuple[Record, ...]:
        """The `Record` of each value."""
        return self._records

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that occur, in order of first appearance."""
        return tuple(dict.fromkeys(record.label for record in self.records))

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Any]:
        return (record.value for record in self.records)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice | str) -> Records: ...
    def __getitem__(self, index: int | slice | str) -> Any:
        if isinstance(index, str):
            found = [record for record in self.records if record.label == index]
            if not found:
                reason = self._why_empty(index) or _listed("labels here", self.labels)
                raise NotCaptured(f"no value labelled {index!r}; {reason}")
            return Records(found)
        if isinstance(index, slice):
            return Records(self.records[index])
        if not self.records:
            known = self._why_empty(None)
            raise IndexError(f"there is no value here: {known}" if known else "there is no value here")
        return self.records[index].value

    def select(self, **filters: Any) -> Records:
        """The values whose record matches every filter.

        A filter is a field of `Record` or a tag. A string takes shell wildcards
        (``label="attn*"``), a function is asked (``lineno=lambda line: line > 10``), a list,
        set or tuple means any of its members, anything else is compared.

        Two filters count, after the others: ``layer=3`` is the fourth layer of each model, in order of first
        appearance among the values that the other filters select, and ``layer=-1`` the last one; ``call=-1`` is the
        last execution of each function on each layer. Lists, ranges and slices of numbers work too.

        Raises:
            CaptureError: a filter that is neither a field nor a tag of these records, and looks like a slip.

        >>> records = Records([Record(step, "a", "m", "f", 3, f"blocks.{step % 2}", step // 2) for step in range(6)])
        >>> list(records.select(layer=0)), list(records.select(layer=-1, call=-1))
        ([0, 2, 4], [5])
        """
        found, reason = selected(self.records, filters)
        return Records(found, lambda label: reason)

    def why_empty(self) -> str | None:
        """Why there is no value here, without a full stop; None where there is one, or where nothing is known.

        >>> Records([Record(1, "attn", "m", "f", 3)]).select(label="atn").why_empty()
        "no value has label='atn'; there is 'attn'"
        """
        return None if self.records else self._why_empty(None)

    def last(self) -> Records:
        """The values of the last pass through a model: of the newest model that ran, back to where its pass began.

        A pass begins where a layer is recorded that the pass has recorded already, with another execution. So in
        a generation loop it is the last step. A model that runs one layer several times in each forward, as ALBERT
        does, gives the last run of that layer: use ``select(call=...)`` there.

        >>> records = Records([Record(step, "a", "m", "f", 3, f"blocks.{step % 2}", step // 2) for step in range(6)])
        >>> list(records.last())
        [4, 5]
        """
        return Records(last_pass(self.records), self._why_empty)

    def by_layer(self) -> dict[str | None, Records]:
        """The values of each layer, in order of first appearance.

        Where records of several models are here, the keys are ``"MODEL:LAYER"``.
        """
        several = len({record.model for record in self.records if record.model is not None}) > 1
        layers: dict[str | None, list[Record]] = {}
        for record in self.records:
            key = record.layer if record.model is None or not several else f"{record.model}:{record.layer}"
            layers.setdefault(key, []).append(record)
        return {layer: Records(found) for layer, found in layers.items()}

    def stack(self) -> Any:
        """All values as one tensor (or array) with a new leading axis.

        Raises:
            CaptureError: there is nothing to stack, or the shapes differ.
        """
        one_shape(self.records, "to stack")
        values = list(self)
        torch = sys.modules.get("torch")
        if torch is not None and all(isinstance(value, torch.Tensor) for value in values):
            return torch.stack(values)
        import numpy

        return numpy.stack(values)

    def to_numpy(self) -> Any:
        """All values as one NumPy array with a new leading axis, tensors too.

        What NumPy has no dtype for becomes the next that it has: bfloat16 and float8 float32.

        Raises:
            CaptureError: there is nothing to stack, or the shapes differ.
        """
        return to_numpy(self.records)

    def to_dask(self) -> Any:
        """All values as one dask array with a new leading axis, of stored ones a chunk for each shard.

        A chunk is read where it is worked on, so that a run may be larger than memory, and the workers of a
        cluster need nothing but the folder under the same path. Dtypes are those of `to_numpy`.

        Raises:
            CaptureError: dask is not installed, there is nothing to stack, or the shapes differ.
        """
        return to_dask(self.records)

    def view(self, **options: Any) -> View:
        """The values to look around in: ``.save("map.html")`` writes one HTML file, and a notebook shows it in a frame.

        Attention of all layers and heads, other maps, rows of numbers and feature maps. Values are read when the file
        is made.

        Args:
            options: tokens, key_tokens, images, compare, exact, size and others, see `astcapture.view.View`.

        Raises:
            CaptureError: there is nothing to show, or an option that does not fit.

        >>> import numpy as np
        >>> attention = np.full((1, 2, 3, 3), 1 / 3)
        >>> records = Records([Record(attention, "attn", "model", "Attention.forward", 12, "blocks.0.attn", 0)])
        >>> records.view(tokens=["the", "cat", "sat"])
        <View of 1 values: .save('map.html') writes it, a notebook shows it>
        """
        # Looking is the last step that data takes; nothing there is imported before it is asked for.
        made: View = import_module("astcapture.view").View(self, **options)
        return made

    def __sub__(self, other: Records) -> Records:
        """The differences of the values, paired in order: of two runs of one model, or of two checkpoints.

        Both have as many values, of the same functions, labels, layers and steps, in equal shapes. The numbers of the
        calls may differ: ``records.select(call=1) - records.select(call=0)``. What is known of each difference is
        what is known of the value on the left.

        Raises:
            CaptureError: what does not fit, with the first pair that does not.

        >>> one, other = Record(3.0, "loss", "m", "f", 1), Record(1.0, "loss", "m", "f", 1)
        >>> list(Records([one]) - Records([other]))
        [2.0]
        """
        if not isinstance(other, Records):
            return NotImplemented
        return Records(differences(self.records, other.records))

    def __repr__(self) -> str:
        if not self.records:
            why = self.why_empty()
            return f"<Records: empty: {why}>" if why else "<Records: empty>"
        return f"<{self._counted()}, the first {in_words(self.records[0].form())}>"

    def _counted(self) -> str:
        cells = dict.fromkeys(record.cell for record in self.records)
        again = [in_cell(number) for number in cells if number is not None] if len(cells) > 1 else []
        return f"Records: {len(self)} × {', '.join(self.labels)}{' from ' * bool(again)}{' and '.join(again)}"

    @only_looks
    def _repr_html_(self) -> str:
        if not self.records:
            why = self.why_empty()
            return Table(caption=f"Records: empty: {why}" if why else "Records: empty").html()
        return table_of(self.records, self._counted()).html()


def table_of(records: Sequence[Record], caption: str) -> Table:
    """The first records, one a row: what tells them apart, and what their values look like."""
    columns: dict[str, list[str]] = {name: [] for name in _COLUMNS}
    for number, record in enumerate(records[:ROWS]):
        shape, dtype, _ = record.form()
        cells = (
            str(number),
            record.key,
            record.label,
            record.model or "",
            record.layer or "",
            "" if record.call is None else str(record.call),
            "" if shape is None else str(shape),
            dtype,
            "" if record.cell is None else in_cell(record.cell),
            shown_line(record.module, record.lineno) if record.cell is None else str(record.lineno),
            tags_in_words(record.tags),
        )
        for column, cell in zip(columns.values(), cells, strict=True):
            column.append(cell)
    if len(set(columns["function"])) == 1:
        caption = f"{caption} of {columns['function'][0]}"
    # These are there where they tell records apart; of the others those that are not empty.
    for name in ("function", "model", "tags"):
        if len(set(columns[name])) == 1:
            del columns[name]
    columns = {name: cells for name, cells in columns.items() if any(cells)}
    rows = [*zip(*columns.values(), strict=True)]
    return Table([*columns], rows, caption, right={"index", "call"}, count=len(records))


_COLUMNS = ("index", "function", "label", "model", "layer", "call", "shape", "dtype", "cell", "line", "tags")


def _listed(what: str, names: Sequence[str]) -> str:
    return f"{what}: {', '.join(names)}" if names else f"there are no {what}"
