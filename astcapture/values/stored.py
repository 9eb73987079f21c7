"""Records whose values are on disk, and are read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from astcapture.record.events import cell_of
from astcapture.store.encode import nbytes
from astcapture.store.header import Gradient, Group
from astcapture.store.reading import Shard
from astcapture.values.record import Form, Record


class Process:
    """The shards that one process wrote: the gradient of a record can be in a later one.

    Args:
        shards: gives all of them, in order.
    """

    def __init__(self, shards: Callable[[], Sequence[Shard]]) -> None:
        self._shards = shards
        self._seen = 0
        self._gradients: dict[int, tuple[Shard, Gradient]] = {}

    def gradient(self, number: int) -> tuple[Shard, Gradient] | None:
        """Where the gradient of the record of this number is."""
        shards = self._shards()
        for shard in shards[self._seen :]:
            self._gradients.update((one.number, (shard, one)) for one in shard.header.gradients)
        self._seen = len(shards)
        return self._gradients.get(number)


class StoredRecord(Record):
    """A `Record` that knows where it is stored and looks there."""

    __slots__ = ("_index", "_process", "_shard")
    _index: int
    _process: Process
    _shard: Shard

    def __init__(self, shard: Shard, index: int, process: Process) -> None:
        object.__setattr__(self, "_shard", shard)
        object.__setattr__(self, "_index", index)
        object.__setattr__(self, "_process", process)

    @property
    def shard(self) -> Shard:
        """The shard that it is in."""
        return self._shard

    @property
    def index(self) -> int:
        """Its place in the shard."""
        return self._index

    @property
    def _group(self) -> Group:
        return self._shard.group(self._index)

    @property
    def value(self) -> Any:
        """The value, read now.

        Raises:
            CaptureError: the shard is damaged there.
        """
        return self._shard.value(self._index)

    @property
    def grad(self) -> Any:
        """The gradient that reached the value in backward; None where none did, or none was asked for."""
        found = self._process.gradient(self._shard.header.first + self._index)
        return None if found is None else found[0].gradient(found[1], self._group)

    @property
    def label(self) -> str:
        return self._group.site[2]

    @property
    def module(self) -> str:
        return self._group.site[0]

    @property
    def function(self) -> str:
        return self._group.site[1]

    @property
    def lineno(self) -> int:
        return self._group.site[3]

    @property
    def layer(self) -> str | None:
        return self._group.layer

    @property
    def call(self) -> int | None:
        call = self._shard.header.call[self._index]
        return None if call < 0 else call

    @property
    def rank(self) -> int:
        return self._group.rank

    @property
    def thread(self) -> int:
        return self._group.thread

    @property
    def tags(self) -> Mapping[str, Any]:
        return self._group.tags

    @property
    def model(self) -> str | None:
        return self._group.model

    @property
    def cell(self) -> int | None:
        return cell_of(self._group.site)

    def form(self) -> Form:
        return stored_form(self._shard, self._index)

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredRecord, (self._shard, self._index, Process(lambda: ()))


def stored_form(shard: Shard, index: int) -> Form:
    """What can be said of a stored value without reading it."""
    form = shard.group(index).form
    if form[0] == "json":
        value = shard.header.values.get(index)
        if isinstance(value, dict):
            ((kind, _),) = value.items()
            return Form(None, "Size" if kind == "size" else str(kind), 0)
        return Form(None, type(value).__name__ if value is not None or not form[1] else "object", 0)
    return Form(tuple(form[2]), str(form[1]).strip("'"), nbytes(form) or 0)


def stored_records(shard: Shard, process: Process, key: str | None) -> list[Record]:
    """The records of a shard, or those of one function."""
    if key is None:
        return [StoredRecord(shard, index, process) for index in range(len(shard))]
    wanted = {number for number, group in enumerate(shard.header.groups) if group.key == key}
    if not wanted:
        return []
    return [StoredRecord(shard, index, process) for index, group in enumerate(shard.header.group) if group in wanted]
