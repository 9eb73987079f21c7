"""Records in memory whose value must be asked for, or whose gradient is still to come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from astcapture.record import taking
from astcapture.record.deferred import Deferred, held
from astcapture.record.kinds import is_a
from astcapture.record.torch.gradient import Gradient
from astcapture.values.record import Form, Record, form_of


class LiveRecord(Record):
    """A `Record` that looks at its value once more before it hands it out, and has a gradient."""

    __slots__ = ("_gradient", "_kept")
    _gradient: Gradient | None
    _kept: Any

    def __init__(self, kept: Any, gradient: Gradient | None, *others: Any) -> None:
        names = [name for name in Record.__dataclass_fields__ if name != "value"]
        for name, other in zip(names, others, strict=True):
            object.__setattr__(self, name, other)
        object.__setattr__(self, "_kept", kept)
        object.__setattr__(self, "_gradient", gradient)

    @property
    def value(self) -> Any:
        """The value.

        Raises:
            CaptureError: it was captured with ``copy=False`` and changed in place since.
        """
        kept = self._kept
        return kept.read() if is_a(kept, Deferred) else kept

    @property
    def grad(self) -> Any:
        """The gradient that reached the value in backward; None as long as none has.

        Raises:
            CaptureError: one came and could not be kept.
        """
        return None if self._gradient is None else self._gradient.value

    def form(self) -> Form:
        return form_of(held(self._kept))

    def __reduce__(self) -> tuple[Any, ...]:
        return Record, tuple(getattr(self, name) for name in Record.__dataclass_fields__)


def make_record(
    value: Any,
    label: str,
    module: str,
    function: str,
    lineno: int,
    layer: str | None,
    call: int | None,
    rank: int,
    thread: int,
    tags: Mapping[str, Any],
    model: str | None = None,
    cell: int | None = None,
) -> Record:
    """The record of what stands in an event."""
    kept, gradient = taking.split(value)
    kept = taking.settled(kept)
    given = (label, module, function, lineno, layer, call, rank, thread, tags, model, cell)
    if gradient is None and not is_a(kept, Deferred):
        return Record(kept, *given)
    return LiveRecord(kept, gradient, *given)


def values_in_memory(records: Iterable[Record]) -> Iterator[Any]:
    """What is in memory for records that are not on disk."""
    for record in records:
        if isinstance(record, LiveRecord):
            yield record._kept
            if record._gradient is not None and record._gradient.held is not None:
                yield record._gradient.held
        elif "_shard" not in type(record).__slots__:
            yield record.value
