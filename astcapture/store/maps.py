"""The shards that are mapped into memory now, with the table of where their arrays lie."""

from __future__ import annotations

import json
import mmap
import os
import threading
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from astcapture.store.raw import Damaged

if TYPE_CHECKING:
    from astcapture.store.reading import Shard

#: How many shards stay mapped after they have been read from.
_MOST = 64
#: A map holds a file descriptor for as long as a value lives that lies in it, and a process has few of
#: them. With so many maps alive, values are copied out.
_MOST_ALIVE = 256

Table = dict[str, Any]

_opened: OrderedDict[Shard, tuple[mmap.mmap, Table]] = OrderedDict()
_alive: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
_lock = threading.Lock()


def opened(shard: Shard) -> tuple[mmap.mmap, Table]:
    """The bytes of a shard, and the entries of its arrays by their names.

    Raises:
        Damaged: it is not the file whose header was read.
        OSError: it is gone.
    """
    with _lock:
        found = _opened.get(shard)
        if found is not None:
            _opened.move_to_end(shard)
            return found
        with open(shard.path, "rb") as file:
            if os.fstat(file.fileno()).st_size != shard.size:
                raise Damaged("the file has changed its size")
            # Private: a value may be written to, and the file stays as it is.
            mapped = mmap.mmap(file.fileno(), shard.size, access=mmap.ACCESS_COPY)
        found = _opened[shard] = mapped, split(mapped[8 : shard.start])[1]()
        _alive.add(mapped)
        while len(_opened) > _MOST:
            _opened.popitem(last=False)
        return found


def may_keep(mapped: mmap.mmap) -> bool:
    """Whether a value may lie in the map itself, and so keep it open."""
    return len(_alive) <= _MOST_ALIVE


def split(header: bytes) -> tuple[Any, Any]:
    """The `__metadata__` of a header, and a function for the entries of its arrays.

    The library writes the first in front, and parsing it alone is most of why a run opens fast.
    """
    text = header.decode("utf-8")
    front = '{"__metadata__":'
    if not text.startswith(front):
        plain = json.loads(text)
        return plain.get("__metadata__"), lambda: plain
    found, end = json.JSONDecoder().raw_decode(text, len(front))
    return found, lambda: json.loads("{" + text[end:].lstrip(" ,"))


def _after_fork() -> None:
    # Another thread may have held it.
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
