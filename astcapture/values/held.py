"""What a cache keeps, oldest first: what came before on disk or in memory for good, then records that may go there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from astcapture.values.live import values_in_memory
from astcapture.values.parts import InMemory, Part
from astcapture.values.record import Record


class Held:
    """The values of a cache; its caller holds the lock that caches share.

    Attributes:
        parts: what came before `records`.
        hidden: records that are still to be stored though the cache no longer shows them.
        records: those in memory.
        by_key: the same by function.
    """

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.hidden: list[Record] = []
        self.records: list[Record] = []
        self.by_key: dict[str, list[Record]] = {}

    def __len__(self) -> int:
        return sum(map(len, self.parts)) + len(self.records)

    def add(self, key: str, record: Record) -> None:
        self.records.append(record)
        self.by_key.setdefault(key, []).append(record)

    def of(self, key: str | None) -> tuple[list[Part], list[Record]]:
        """The parts, to be read without the lock, and the records in memory of a function, or all."""
        return [*self.parts], [*(self.records if key is None else self.by_key.get(key, ()))]

    def values(self) -> Iterator[Any]:
        """Every value in memory."""
        kept = [record for part in self.parts if isinstance(part, InMemory) for record in part.kept]
        return values_in_memory([*kept, *self.hidden, *self.records])

    def clear(self, still_to_be_stored: bool) -> None:
        """Show nothing any more."""
        if still_to_be_stored:
            self.hidden += self.records
        self.parts.clear()
        self.records.clear()
        self.by_key.clear()

    # --- what a store asks for

    def unflushed(self, most: int, bytes_of: Callable[[Record], int], enough: int, skip: int = 0) -> list[Record]:
        """Of the records that are not on disk yet, those after `skip`: `most`, or `enough` bytes."""
        size, batch = 0, []
        for record in islice(self.hidden or self.records, skip, None):
            batch.append(record)
            size += bytes_of(record)
            if size >= enough or len(batch) >= most:
                break
        return batch

    def evict(self, batch: Sequence[Record], part: Part | None) -> None:
        """Drop from memory what `unflushed` gave; `part` has it now, or nobody."""
        if self.hidden and self.hidden[0] is batch[0]:
            del self.hidden[: len(batch)]
            return
        del self.records[: len(batch)]
        for key, count in Counter(record.key for record in batch).items():
            del self.by_key[key][:count]
        if part is not None:
            self.parts.append(part)

    def freeze(self) -> None:
        """What is in memory now is not to be stored: it stays."""
        if self.records:
            self.parts.append(InMemory(tuple(self.records)))
            self.records.clear()
            for found in self.by_key.values():
                found.clear()
        self.hidden.clear()
