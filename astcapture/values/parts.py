"""Records that are not in a cache's own list any more: on disk, or in memory for good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from astcapture.store.raw import Damaged
from astcapture.store.reading import Shard, open_shard
from astcapture.values.record import Record
from astcapture.values.stored import Process, stored_records


class Part(Protocol):
    """Some records, in call order."""

    def __len__(self) -> int: ...
    def records(self, key: str | None) -> Sequence[Record]:
        """Those of a key, or all."""


@dataclass(frozen=True)
class InMemory:
    """Records that are kept."""

    kept: tuple[Record, ...]

    def __len__(self) -> int:
        return len(self.kept)

    def records(self, key: str | None) -> Sequence[Record]:
        return self.kept if key is None else [record for record in self.kept if record.key == key]


@dataclass(frozen=True)
class OnDisk:
    """The records of a shard that this process has written: of it, its path alone is kept in memory."""

    path: Path
    count: int
    process: Process

    def __len__(self) -> int:
        return self.count

    def records(self, key: str | None) -> Sequence[Record]:
        """Those of a key, or all.

        Raises:
            Damaged: the shard is no longer what was written.
        """
        return stored_records(opened(self.path), self.process, key)


@lru_cache(maxsize=64)
def opened(path: Path) -> Shard:
    """A shard of this process.

    Raises:
        Damaged: it is not what was written, or gone.
    """
    try:
        return open_shard(path)
    except Damaged as error:
        raise Damaged(f"{path} is damaged: {error}") from None
    except OSError as error:
        raise Damaged(f"{path} cannot be read, and its values are gone: {error.strerror}") from None
