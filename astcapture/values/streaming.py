"""Takes records out of `cache` and has them written, in the background: what ``install(store=...)`` switches on.

Every second, and whenever there is enough for a shard, the thread drains the recorder, writes what is in
`cache`, and puts the shard in its place. The model's thread waits for that only where the memory limit is
reached. Nobody is left to write in a child that a fork makes: it starts anew there, with a folder of its own.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from astcapture.errors import CaptureError
from astcapture.record import budget, draining
from astcapture.record.events import events as waiting
from astcapture.record.taking import parts
from astcapture.record.weight import rough_size
from astcapture.store.ahead import Ahead
from astcapture.store.background import Background
from astcapture.store.encode import STORABLE
from astcapture.store.process_folder import NotWritten, ProcessFolder
from astcapture.store.shard import Written
from astcapture.values.cache import cache, drain
from astcapture.values.gradients import LateGradients
from astcapture.values.live import values_in_memory
from astcapture.values.parts import OnDisk, opened
from astcapture.values.record import Record
from astcapture.values.shared import shared
from astcapture.values.stored import Process
from astcapture.warn import warn

#: A shard is full with so many bytes, or so many records.
FULL = 32 * 2**20
MOST = 4096
#: What cannot be written is kept and tried again, up to so many bytes.
PATIENCE = 256 * 2**20
#: At the memory limit, a thread waits at most this many seconds for the background thread to finish a shard.
_STUCK = 60.0


class Stream:
    """The store that this process has open.

    Attributes:
        root: the folder of the run.
        folder: that of this process.
        lost: how many values could not be written and are gone, with why.
    """

    def __init__(self, root: Path, targets: Sequence[str], strict: bool) -> None:
        self.root = root
        self.strict = strict
        self._forked = False
        self.users = 0
        self._begin(targets)
        self.background = Background(self._work, self._enough)

    def _begin(self, targets: Sequence[str]) -> None:
        self.folder = ProcessFolder(self.root, targets)
        self.lost = 0
        self.why = ""
        self._told = 0
        self._refused: set[tuple[str, str]] = set()
        self._failing = False
        self._raise: str | None = None
        self._progress = 0
        self._notes: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._owner: int | None = None
        self._paths: list[Path] = []
        self._process = Process(lambda: [opened(path) for path in self._paths])
        self._late = LateGradients()
        self._ahead = Ahead()
        self._written: list[Record] = []

    # --- when

    def _enough(self) -> bool:
        """Whether a shard is full. An estimate, since recording keeps no exact count."""
        events, records = waiting, cache.held.records
        return not self._failing and (
            len(events) + len(records) >= MOST or _estimate(events) + _estimate(records) >= self._full()
        )

    def _full(self) -> int:
        limit = budget.limit()
        return min(FULL, max(limit // 4, 1)) if isinstance(limit, int) else FULL

    def _work(self) -> None:
        try:
            self.flush()
        except Exception as error:
            # A bug of ours is not the program's; what is in memory stays there.
            self._tell(f"the store {self.root}: {type(error).__name__}: {error}")

    # --- writing

    def flush(self, final: bool = False) -> None:
        """Write all records in memory. With `final`, write the last notes too, and drop what cannot be written."""
        more = True
        while more and (final or not self.background.stopping):
            with self._lock:  # released after each shard, so that a thread in `spill` can go on
                more = self._write_one(final)

    def spill(self) -> None:
        """Make room, called where the limit is reached: one shard is written, here or by the thread."""
        if self._owner == threading.get_ident():
            return  # recorded while a shard is being written, by code that this runs
        before, deadline = self._progress, time.monotonic() + _STUCK
        while not self._lock.acquire(timeout=0.05):
            if self._progress != before:
                return
            if time.monotonic() > deadline:
                return
        try:
            self._write_one(False)
        finally:
            self._lock.release()

    def _write_one(self, final: bool) -> bool:
        """Write one shard, and return whether there may be more. The caller holds `_lock`."""
        self._owner = threading.get_ident()
        try:
            return self._write_some(final)
        finally:
            self._owner = None

    def _write_some(self, final: bool) -> bool:
        drain()
        with shared.lock:
            batch = cache.held.unflushed(MOST, _size, self._full())
            following = cache.held.unflushed(MOST, _size, self._full(), skip=len(batch)) if batch else []
            notes = (cache.final_notes() if final else cache.notes()).plain() if batch or final else {}
        gradients = self._late.ready()
        worth = bool(batch or gradients) or (final and self._worth_telling(notes))
        if not worth:
            return False
        if notes == self._notes:
            notes = {}
        try:
            first = self.folder.count
            ready, self._ahead = self._ahead, Ahead()
            self._ahead.start(following, self._written)
            try:
                all_written = self.folder.write(batch, notes, gradients, ready)
            finally:
                self._ahead.wait()
        except NotWritten as error:
            return self._not_written(batch, str(error), final)
        self._failing = False
        self._notes = notes or self._notes
        self._late.written(gradients)
        self._settle(batch, all_written, first)
        self._progress += 1
        if following:
            self._written = batch
        return bool(batch)

    def _worth_telling(self, notes: dict[str, Any]) -> bool:
        """Whether a shard without records is to tell that there are none, and why."""
        if not any(notes.values()) or notes == self._notes:
            return False
        processes = sys.modules.get("multiprocessing.process")
        helps = self._forked or (processes is not None and processes.parent_process() is not None)
        return bool(self._paths or notes["counts"] or notes["refused"]) or not helps

    def _settle(self, batch: Sequence[Record], all_written: Sequence[Written], first: int) -> None:
        """Take out of memory what is on disk."""
        stored = iter(batch)
        for written in all_written:
            refused = {id(one.entry): one for one in written.refused}
            part = OnDisk(written.path, written.count, self._process)
            taken: list[Record] = []
            while len(taken) < written.count + len(refused):
                taken.append(next(stored))
            kept = [record for record in taken if id(record) not in refused]
            self._late.watch(kept, first)
            first += written.count
            self._paths.append(written.path)
            for one in refused.values():
                self._refuse(one.entry, one.why)
            if taken:
                with shared.lock:
                    cache.held.evict(taken, part)
        budget.on_room()

    def _refuse(self, entry: Any, why: str) -> None:
        where = (f"{entry.module}:{entry.function}", entry.label)
        with shared.lock:
            count, first = cache.refused.get(where, (0, why))
            cache.refused[where] = (count + 1, first)
        if where not in self._refused:
            self._refused.add(where)
            warn(f"{where[0]}: {where[1]!r} is not stored: {why}; {STORABLE}. cache.summary() counts what is left out")

    # --- what goes wrong

    def _not_written(self, batch: Sequence[Record], why: str, final: bool) -> bool:
        """Keep the batch for another try. Drop it if this is the final flush, or if too much is held."""
        self._failing, self.why = True, why
        self._progress += 1
        with shared.lock:
            held = sum(_size(record) for record in (*cache.held.hidden, *cache.held.records))
        limit = budget.limit()
        patience = limit // 2 if isinstance(limit, int) else PATIENCE
        if self.strict and self._raise is None:
            self._raise = f"the store {self.root} cannot be written to: {why}"
        if not final and held < patience:
            return False
        if final and not batch and not self.lost:
            self._tell(
                f"the store {self.root} cannot be written to ({why}): what came last, gradients or counts, is lost"
            )
        if batch:
            self.lost += len(batch)
            with shared.lock:
                cache.held.evict(batch, None)
            budget.on_room()
        if not final:
            self.tell_of_loss()
        return bool(batch)

    def tell_of_loss(self) -> None:
        """Warn of lost values: at the first loss, and again at the end if more were lost."""
        if self.lost > self._told and (not self._told or not self.background.running):
            self._told = self.lost
            many = f"{self.lost:,} values are" if self.lost > 1 else "1 value is"
            warn(
                f"the store {self.root} cannot be written to ({self.why}): {many} lost"
                + (" up to now. The program goes on, and what comes is tried again" if self.background.running else "")
            )

    def _tell(self, text: str) -> None:
        self.why = text
        warn(text)

    def check(self) -> None:
        """Raise what went wrong in the background, once, where ``strict=True`` asks for that.

        Raises:
            CaptureError: the store could not be written to.
        """
        if self._raise is not None and self._owner != threading.get_ident():
            text, self._raise = self._raise, ""
            if text:
                raise CaptureError(text)

    def _tell_of_gradients(self) -> None:
        failed = self._late.failed
        if failed:
            name, why = failed[0]
            warn(f"{len(failed)} gradients could not be kept and are not stored, the first of them {name}: {why}")

    # --- the end, and forks

    def close(self) -> None:
        """Stop the thread and write what is left."""
        self.background.stop()
        self.flush(final=True)
        self.tell_of_loss()
        self._tell_of_gradients()

    def before_fork(self) -> None:
        self._was_running = self.background.running
        self.background.stop()
        self._lock.acquire()
        shared.lock.acquire()

    def after_fork_in_parent(self) -> None:
        shared.lock.release()
        self._lock.release()
        if self._was_running:
            self.background.start()

    def after_fork_in_child(self) -> None:
        """The parent stores what was recorded before the fork, so the child's cache begins empty.

        `shared.lock`, which the parent holds at the fork, is a new one by now: `shared` has done that, imported first.
        """
        # First what cannot fail: neither the lock nor the thread is the child's, nor what went wrong.
        self._lock = threading.Lock()
        self._owner = None
        self._raise = None
        self.background.forget()
        draining.drain()
        with shared.lock:
            shared.streaming = False
            cache.clear()
            shared.streaming = True
        self._begin(self.folder.targets)
        self._forked = True
        if self._was_running:
            self.background.start()


def _estimate(waiting: Sequence[Any]) -> float:
    count = len(waiting)
    seen = waiting[:: max(1, count // 8)][:16]
    if not seen:  # also where another thread takes them out just now
        return 0
    return sum(_size_of(one[1]) if type(one) is tuple else _size(one) for one in seen) / len(seen) * count


def _size(record: Record) -> int:
    return record.form().nbytes or sum(map(_size_of, values_in_memory([record])))


def _size_of(value: Any) -> int:
    try:
        return max(100, sum(map(rough_size, parts(value))))
    except Exception:
        return 100
