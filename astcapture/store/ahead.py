"""Encodes values and computes checksums while the previous shard is written, since writing leaves a core idle."""

from __future__ import annotations

import _thread
from collections.abc import Sequence
from typing import Any, NamedTuple

from astcapture.errors import CaptureError
from astcapture.store.checksum import checksum
from astcapture.store.encode import Encoded, encode
from astcapture.store.header import Entry
from astcapture.store.raw import Refused


class Prepared(NamedTuple):
    """A value ready to be written, with the checksums of its arrays; or the reason why it is not stored."""

    encoded: Encoded | None
    sums: Sequence[int]
    refused: str | None


def prepare(entry: Entry) -> Prepared:
    """Encode the value of an entry."""
    try:
        value = entry.value
    except CaptureError as error:  # not copied, and modified since
        return Prepared(None, (), str(error))
    try:
        encoded = encode(value)
        # A list, not a tuple: `gc.get_objects`, which an install in another thread calls, can find a tuple that is
        # still being built, and the tuple can then not be completed.
        return Prepared(encoded, [checksum(raw.buffer()) for raw in encoded.arrays], None)
    except Refused as error:
        return Prepared(None, (), str(error))
    except Exception as error:  # a list that another thread changes, an unusual tensor class
        return Prepared(None, (), f"a value of type {type(value).__name__} ({type(error).__name__}: {error})")


class Ahead:
    """Prepares entries in a separate thread. Calling it with an entry returns the prepared value."""

    def __init__(self) -> None:
        self._ready: dict[int, tuple[Entry, Prepared]] = {}
        self._done = _thread.allocate_lock()

    def start(self, entries: Sequence[Entry], written: list[Any]) -> None:
        """Start preparing the entries that are written next, and free the memory of written ones."""
        if entries or written:
            self._done.acquire()
            try:
                _thread.start_new_thread(self._run, (entries, self._ready, written))
            except RuntimeError:
                # The interpreter is shutting down (from Python 3.12 on), or there are too many threads. The entries are
                # then prepared when they are written.
                self._done.release()

    def _run(self, entries: Sequence[Entry], ready: dict[int, tuple[Entry, Prepared]], written: list[Any]) -> None:
        try:
            written.clear()
            for entry in entries:
                ready[id(entry)] = entry, prepare(entry)
        finally:
            self._done.release()

    def wait(self) -> None:
        """Wait until all are prepared."""
        with self._done:
            pass

    def __call__(self, entry: Entry) -> Prepared:
        known = self._ready.pop(id(entry), None)
        return known[1] if known is not None else prepare(entry)
