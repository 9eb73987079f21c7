"""Data on its way into blocks: what has been put somewhere learns its block and offset when the block is written."""

from __future__ import annotations

from typing import Any

from astcapture.view.blocks import Blocks, compress

#: Small parts share a block of about this size; larger ones have their own.
_FULL = 2**16


class Parts:
    """Data that stays together; each part begins where float32 may begin.

    Attributes:
        data: all of it.
        entries: what is to learn where its part is.
        packed: the compressed data, where it has a block of its own.
    """

    def __init__(self) -> None:
        self.data = bytearray()
        self.entries: list[dict[str, Any]] = []
        self.packed: bytes | None = None

    def put(self, data: bytes, entry: dict[str, Any]) -> None:
        """Add a part; `entry` gets its ``offset``, and its ``block`` once that is written."""
        self.data += bytes(-len(self.data) % 4)
        entry["offset"] = len(self.data)
        self.data += data
        self.entries.append(entry)

    def compress(self) -> None:
        """Compress what is large, wherever this runs."""
        if len(self.data) > _FULL:
            self.packed = compress(self.data)


class Shelf:
    """Blocks with the parts of many maps.

    Args:
        blocks: the blocks of the file.
        first: whether the first picture needs the data.
        one: whether all of it is one block, whatever its size.
    """

    def __init__(self, blocks: Blocks, *, first: bool = False, one: bool = False) -> None:
        self._blocks = blocks
        self._first = first
        self._one = one
        self._parts = Parts()

    def take(self, parts: Parts) -> int:
        """Add parts; gives how much text was written."""
        if parts.packed is not None and not self._one:
            return self._write(parts, parts.packed)
        start = len(self._parts.data) + -len(self._parts.data) % 4
        self._parts.data += bytes(start - len(self._parts.data)) + parts.data
        for entry in parts.entries:
            entry["offset"] += start
        self._parts.entries += parts.entries
        return self.close() if not self._one and len(self._parts.data) > _FULL else 0

    def close(self) -> int:
        """Write what has not been written yet; gives how much text that was."""
        parts, self._parts = self._parts, Parts()
        return self._write(parts, compress(parts.data)) if parts.entries else 0

    def _write(self, parts: Parts, packed: bytes) -> int:
        before = self._blocks.nbytes
        number = self._blocks.add(packed, first=self._first)
        for entry in parts.entries:
            entry["block"] = number
        return self._blocks.nbytes - before
