"""The mapping from function to captured values, and the step that takes events out of the recorder into it."""

from __future__ import annotations

import difflib
import os
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from astcapture.record import recorder
from astcapture.record.recorder import Failed, Missed
from astcapture.values.records import Record, Records, Unknown
from astcapture.values.summary import summarise
from astcapture.values.tags import open_tags, tags_of
from astcapture.values.why_empty import why_missed

#: How many keys a message lists.
_LISTED = 5


@dataclass
class Declared:
    """A function that a rewritten module declared: its key is in the cache before it has run."""

    key: str
    lineno: int
    labels: tuple[str, ...]
    #: Whether it calls torch's fused attention too, a branch that binds no map.
    fused: bool = False


@dataclass
class Counts:
    """What happened at the returns of one function for one label, besides recording."""

    missed: int = 0
    failed: int = 0
    error: str | None = None


@dataclass
class _Process:
    """The state that the caches of a process share: what is captured at all, and where values go now."""

    declared: dict[str, Declared] = field(default_factory=dict)
    skipped: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    #: Labels that one execution of a function can leave several values of, told apart by their lines.
    repeated: set[tuple[str, str]] = field(default_factory=set)
    #: For each function and label, whatever cache its values went to: that it has some, and how often it was missed.
    recorded: set[tuple[str, str]] = field(default_factory=set)
    missed: Counter[tuple[str, str]] = field(default_factory=Counter)
    sinks: list[Cache] = field(default_factory=list)
    lock: Any = field(default_factory=threading.RLock)


_process = _Process()


class Cache(Mapping[str, Records]):
    """Captured values by function: ``cache["mymodel:Attention.forward"]``, or ``cache["Attention.forward"]``.

    A key is there from the moment its function is rewritten, with empty `Records` until something
    is recorded. Reading takes in what has been recorded up to now.
    """

    def __init__(self) -> None:
        self._records: list[Record] = []
        self._by_key: dict[str, list[Record]] = {}
        self.counts: dict[tuple[str, str], Counts] = {}
        # For each function on each layer, in each thread: the number of its execution, and the labels seen in it.
        self._calls: dict[tuple[str, str | None, int], tuple[int, frozenset[str]]] = {}

    def __getitem__(self, key: str) -> Records:
        drain()
        return Records(self._by_key.get(self._full_key(key), ()))

    def __iter__(self) -> Iterator[str]:
        drain()
        return iter(dict.fromkeys((*_process.declared, *self._by_key)))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        drain()
        return f"<Cache: {len(self._records)} values of {len(self)} functions>"

    def _full_key(self, key: str) -> str:
        keys = list(self)
        if key in keys:
            return key
        if not isinstance(key, str):
            raise Unknown(f"{key!r} is not captured: write 'MODULE:QUALNAME' or 'QUALNAME'")
        candidates = [full for full in keys if full.partition(":")[2] == key]
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            listed = " or ".join(map(repr, candidates[:_LISTED]))
            more = f" or another of the {len(candidates)} that end so" if candidates[_LISTED:] else ""
            raise Unknown(f"{key!r} is ambiguous: write {listed}{more}")
        if not keys:
            raise Unknown(
                f"{key!r} is not captured, nor is any other function: "
                "call astcapture.install([...]) before the module is imported"
            )
        # Compared with names of the same kind: with the module or without.
        known = keys if ":" in key else [full.partition(":")[2] for full in keys]
        close = difflib.get_close_matches(key, known, n=3)
        hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"captured are: {', '.join(keys)}"
        raise Unknown(f"{key!r} is not captured; {hint}")

    # Two caches that hold nothing are still two.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def select(self, **filters: Any) -> Records:
        """The values of all functions, in call order, whose record matches every filter; see `Records.select`.

        >>> list(Cache().select(label="attn"))
        []
        """
        drain()
        return Records(self._records).select(**filters)

    def summary(self) -> str:
        """A table of what was captured: function, label, layer, count, shape, dtype, bytes, and what was missed."""
        with _process.lock:
            drain()
            records, skipped = list(self._records), dict(_process.skipped)
            declared = {key: one.labels for key, one in _process.declared.items()}
            counts = {key: (count.missed, count.failed, count.error) for key, count in self.counts.items()}
            fused = {key for key, one in _process.declared.items() if one.fused}
        return summarise(records, declared, counts, skipped, fused)

    def clear(self) -> None:
        """Forget every value and count; the functions stay captured."""
        drain()
        with _process.lock:
            self._records.clear()
            self._by_key.clear()
            self.counts.clear()
            self._calls.clear()

    def _add(self, event: recorder.Event, tags: Mapping[str, Any], rank: int) -> None:
        site, value, thread, layer = event
        module, function, label, lineno = site
        key = f"{module}:{function}"
        mark = f"{label}@{lineno}" if (key, label) in _process.repeated else label
        call = self._call((key, layer, thread), mark)
        if isinstance(value, Missed):
            self._count(key, label).missed += 1
            _process.missed[key, label] += 1
        elif isinstance(value, Failed):
            count = self._count(key, label)
            count.failed += 1
            count.error = count.error or value.error
        else:
            record = Record(value, label, module, function, lineno, layer, call, rank, thread, tags)
            _process.recorded.add((key, label))
            self._records.append(record)
            self._by_key.setdefault(key, []).append(record)

    def _call(self, where: tuple[str, str | None, int], label: str) -> int:
        """The number of the execution that an event belongs to: each leaves one event for each label,
        and at each line for labels taken at bindings or calls, where loops count as executions."""
        number, seen = self._calls.get(where, (0, frozenset()))
        if label in seen:
            number, seen = number + 1, frozenset()
        self._calls[where] = number, seen | {label}
        return number

    def _count(self, key: str, label: str) -> Counts:
        return self.counts.setdefault((key, label), Counts())


#: The cache of the process, handed out as ``astcapture.cache``.
cache = Cache()
_process.sinks.append(cache)


def drain() -> None:
    """Move what the recorder holds into the cache that is current; called before every look."""
    with _process.lock:
        declarations = recorder.declared[:]
        del recorder.declared[: len(declarations)]
        for module, functions, skipped, fused, repeated in declarations:
            for qualname, lineno, labels in functions:
                key = f"{module}:{qualname}"
                known = _process.declared.get(key)
                merged = tuple(dict.fromkeys((*(known.labels if known else ()), *labels)))
                _process.declared[key] = Declared(key, lineno, merged, qualname in fused)
            _process.skipped[module] = list(skipped)
            _process.repeated.update((f"{module}:{qualname}", label) for qualname, label in repeated)
        taken = recorder.take()
        if not taken:
            return
        rank = _rank()
        sink = _process.sinks[-1]
        for event in taken:
            sink._add(event, tags_of(event[2]), rank)


def _rank() -> int:
    text = os.environ.get("RANK", "")
    return int(text) if text.isdigit() else 0


class recording:
    """Scope captures to a block: ``with recording() as rec:`` gives a `Cache` of what is captured inside.

    Those values are in `rec` alone and not in ``astcapture.cache``. Blocks nest; the innermost takes
    the values of every thread.
    """

    def __enter__(self) -> Cache:
        drain()
        self._cache = Cache()
        with _process.lock:
            _process.sinks.append(self._cache)
        return self._cache

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        drain()
        with _process.lock:
            _process.sinks.remove(self._cache)


class tag:
    """Attach tags to every value captured inside the block: ``with tag(image="dog.jpg"): model(x)``.

    Blocks nest, the inner one winning. See `astcapture.values.tags` for what holds in which thread.
    """

    def __init__(self, **tags: Any) -> None:
        self._tags = tags

    def __enter__(self) -> tag:
        drain()  # what was recorded before the block does not belong to it
        self._closing = open_tags(self._tags)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        drain()
        self._closing()


def _after_fork() -> None:
    # Another thread may have held the lock at the moment of the fork.
    _process.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def declared_functions() -> list[tuple[str, str]]:
    """Module and qualname of every function that was rewritten."""
    drain()
    return [(key.partition(":")[0], key.partition(":")[2]) for key in _process.declared]


def always_missed() -> list[str]:
    """One line for each label that was never bound where a value would have been taken, and why."""
    drain()
    return [
        f"{key}: {why_missed(label, missed, key in _process.declared and _process.declared[key].fused)}"
        for (key, label), missed in _process.missed.items()
        if (key, label) not in _process.recorded
    ]


def is_declared(key: str) -> bool:
    """Whether the function of this key was rewritten."""
    drain()
    return key in _process.declared
