"""The shards that are mapped into memory, and the offsets of their arrays."""

from __future__ import annotations

import json
import mmap
import os
import re
import threading
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from astcapture.store.raw import Damaged

if TYPE_CHECKING:
    from astcapture.store.reading import Shard

#: How many shards stay mapped after they were read.
_MOST = 64
#: A map keeps a file descriptor open as long as a value in it is alive, and a process has few descriptors. With more
#: maps than this, values are copied.
_MOST_ALIVE = 256

#: This many arrays of a shard are searched in the header text; after that the header is parsed.
_SOUGHT = 16

_lock = threading.Lock()


class Opened:
    """A mapped shard.

    Attributes:
        data: all its bytes.
    """

    def __init__(self, shard: Shard) -> None:
        with open(shard.path, "rb") as file:
            if os.fstat(file.fileno()).st_size != shard.size:
                raise Damaged("the size of the file has changed")
            # Copy-on-write: writing to a value does not change the file.
            self.data = mmap.mmap(file.fileno(), shard.size, access=mmap.ACCESS_COPY)
        self._start = shard.start
        self._header = self.data[8 : shard.start]
        self._table: dict[str, Any] | None = None
        self._sought = 0
        _alive.add(self.data)

    def offsets(self, name: str) -> tuple[int, int]:
        """The start and the end of the array with this name, in bytes from the start of the data.

        Raises:
            Damaged: there is no such array.
        """
        if self._table is None and self._sought < _SOUGHT:
            self._sought += 1
            # A quoted name and a colon occur nowhere else: inside a string the quotes would be escaped.
            wanted = json.dumps(name, ensure_ascii=False).encode() + b":"
            at = self._header.find(wanted)
            if at < 0:
                self._sought = _SOUGHT  # not written by the safetensors library
                return self.offsets(name)
            at += len(wanted)
            entry = json.loads(self._header[at : self._header.index(b"}", at) + 1])
        else:
            if self._table is None:
                self._table = entries(self._header)
            entry = self._table.get(name)
            if entry is None:
                raise Damaged("the header has no entry for it")
        begin, end = entry["data_offsets"]
        if type(begin) is not int or type(end) is not int:
            raise Damaged("its offsets in the file are invalid")
        return begin, end

    def drop(self, name: str, share: float) -> None:
        """Give back the memory of the first part of an array, where the system offers it."""
        if not hasattr(mmap, "MADV_DONTNEED"):
            return
        begin, end = self.offsets(name)
        # Whole pages: the first may hold the end of another array.
        first = -(-(self._start + begin) // mmap.PAGESIZE) * mmap.PAGESIZE
        last = (self._start + begin + int(share * (end - begin))) // mmap.PAGESIZE * mmap.PAGESIZE
        if first < last:
            self.data.madvise(mmap.MADV_DONTNEED, first, last - first)


_opened: OrderedDict[Shard, Opened] = OrderedDict()
_alive: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()


def opened(shard: Shard) -> Opened:
    """A shard mapped into memory.

    Raises:
        Damaged: it is not the file whose header was read.
        OSError: it is gone.
    """
    with _lock:
        found = _opened.get(shard)
        if found is None:
            found = _opened[shard] = Opened(shard)
            while len(_opened) > _MOST:
                _opened.popitem(last=False)
        elif found.data.size() != shard.size:
            # Reading pages that no longer exist would kill the process.
            raise Damaged("the size of the file has changed")
        _opened.move_to_end(shard)
        return found


def close(shard: Shard) -> None:
    """Unmap a shard; its memory is free as soon as no value references the map."""
    with _lock:
        _opened.pop(shard, None)


def may_keep() -> bool:
    """Whether a value may reference the map itself, and so keep it open."""
    return len(_alive) <= _MOST_ALIVE


_FRONT = re.compile(r'\s*\{\s*"__metadata__"\s*:\s*')


def metadata(header: bytes) -> Any:
    """The `__metadata__` of a header.

    The library writes it first. Parsing only this part is the main reason why a run opens fast.
    """
    text = header.decode("utf-8")
    front = _FRONT.match(text)
    if front is not None:
        return json.JSONDecoder().raw_decode(text, front.end())[0]
    return json.loads(text).get("__metadata__")


def entries(header: bytes) -> dict[str, Any]:
    """The entries of a header, by the names of the arrays."""
    found: dict[str, Any] = json.loads(header)
    return found


def _after_fork() -> None:
    # Another thread may have held it.
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
