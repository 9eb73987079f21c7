"""Gradients of records that are on disk already: backward comes later than the shard is full."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from astcapture.store.shard import tensor_name
from astcapture.values.record import Record

#: The number of a record, what it is called in its shard, and its gradient.
Late = tuple[int, str, Any]


class LateGradients:
    """Those that are waited for, or have come and are to be written."""

    def __init__(self) -> None:
        self._waiting: list[Late] = []
        #: Gradients that came and could not be kept: what their arrays would have been called, and why.
        self.failed: list[tuple[str, str]] = []

    def watch(self, records: Sequence[Record], first: int) -> None:
        """Wait for the gradients of records that have been stored under the numbers from `first` on."""
        for number, record in enumerate(records, first):
            gradient = getattr(record, "_gradient", None)
            if gradient is not None:
                name = tensor_name(record.module, record.function, record.label, record.layer, number)
                self._waiting.append((number, name, gradient))

    def ready(self) -> list[Late]:
        """The values of those that have come; those that never will are forgotten."""
        ready, waiting = [], []
        for late in self._waiting:
            number, name, gradient = late
            if gradient.error is not None:
                self.failed.append((name, gradient.error))
            elif gradient.value is not None:
                ready.append((number, name, gradient.value))
                waiting.append(late)
            elif gradient.pending:
                waiting.append(late)
        self._waiting = waiting
        return ready

    def written(self, gradients: Sequence[Late]) -> None:
        """These are on disk."""
        done = {number for number, _, _ in gradients}
        self._waiting = [late for late in self._waiting if late[0] not in done]


def gradients_of(records: Sequence[Record], first: int) -> list[Late]:
    """Those that have come for records that are about to be stored under the numbers from `first` on."""
    late = []
    for number, record in enumerate(records, first):
        gradient = getattr(record, "grad", None)
        if gradient is not None:
            name = tensor_name(record.module, record.function, record.label, record.layer, number)
            late.append((number, name, gradient))
    return late
