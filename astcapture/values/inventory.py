"""What a stored run holds, counted by function, label, model and layer from the headers alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from astcapture.record.events import cell_of
from astcapture.values.stored import stored_form

if TYPE_CHECKING:
    from astcapture.values.run import Run


@dataclass
class Line:
    """The values of one label in one function on one layer of one model.

    Attributes:
        cell: the notebook's cell that defined the function, where those of several are told apart.
        count, nbytes: how many, and the bytes of their arrays; of values that are no arrays, 0.
        shapes, dtypes: those that occur, in order of first appearance.
        processes: the names of the processes that stored some.
    """

    key: str
    label: str
    model: str | None
    layer: str | None
    cell: int | None = None
    count: int = 0
    nbytes: int = 0
    shapes: dict[tuple[int, ...], None] = field(default_factory=dict)
    dtypes: dict[str, None] = field(default_factory=dict)
    processes: dict[str, None] = field(default_factory=dict)


def inventory(run: Run, *, by_cell: bool = False) -> list[Line]:
    """A line for each function, label, model and layer, and each cell if asked, in order of first appearance."""
    lines: dict[tuple[str, str, str | None, str | None, int | None], Line] = {}
    for process in run.processes:
        for shard in process.shards:
            first = _first_of_each(shard.header.group)
            for number, count in Counter(shard.header.group).items():
                group = shard.header.groups[number]
                cell = cell_of(group.site) if by_cell else None
                where = (group.key, group.site[2], group.model, group.layer, cell)
                line = lines.setdefault(where, Line(*where))
                form = stored_form(shard, first[number])
                line.count += count
                line.nbytes += form.nbytes * count
                line.dtypes[form.dtype] = None
                line.processes[process.name] = None
                if form.shape is not None:
                    line.shapes[form.shape] = None
    return list(lines.values())


def _first_of_each(column: Iterable[int]) -> dict[int, int]:
    first: dict[int, int] = {}
    for index, number in enumerate(column):
        first.setdefault(number, index)
    return first
