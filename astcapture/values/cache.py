"""The mapping from function to captured values, and the step that takes events out of the recorder into it."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from types import MappingProxyType, TracebackType
from typing import Any

from astcapture.record import budget, children, draining, events, executions, policy, scope
from astcapture.record.events import Declaration, Event, Failed, Missed, Started
from astcapture.record.torch.bypassed import Live, also_bypassed
from astcapture.store.rank import rank_of_process
from astcapture.values.captured import Captured
from astcapture.values.live import make_record, values_in_memory
from astcapture.values.notes import Notes
from astcapture.values.parts import InMemory, Part
from astcapture.values.record import Record
from astcapture.values.summary import summarise
from astcapture.values.why_empty import WHY_NOT_CALLED, Facts, why_empty, why_failed, why_missed


@dataclass
class Declared:
    """A function that a rewritten module declared: its key is in the cache before it has run."""

    key: str
    lineno: int
    labels: tuple[str, ...]
    #: Whether it calls torch's fused attention too, a branch that binds no map.
    fused: bool = False
    #: The recipe that it is captured for, where no other target names it.
    recipe: str = ""
    #: The labels that the function unbinds again, with the line.
    unbound: Mapping[str, int] = field(default_factory=dict)


@dataclass
class Counts:
    """What happened at the returns of one function for one label, besides recording."""

    missed: int = 0
    failed: int = 0
    error: str | None = None
    #: Values that were not recorded because the memory limit was reached.
    left_out: int = 0


#: A key, where the module stands, and the thread.
_Place = tuple[str, "tuple[str, str] | None", int]


@dataclass
class _Process:
    """The state that the caches of a process share: what is captured at all, and where values go now."""

    declared: dict[str, Declared] = field(default_factory=dict)
    skipped: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    #: Functions that tell when an execution of theirs starts.
    entering: set[str] = field(default_factory=set)
    #: For each function and label, whatever cache its values went to: that it has some, and how often it was missed.
    recorded: set[tuple[str, str]] = field(default_factory=set)
    missed: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: The same of what failed, with the first error.
    failed: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    #: How many values went to `recording()` blocks.
    in_blocks: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: Whether what comes to `cache` goes on to a store.
    streaming: bool = False
    #: Called from the user's thread: raises what went wrong in the background, if that was asked for.
    check: Callable[[], None] | None = None
    lock: Any = field(default_factory=threading.RLock)


_process = _Process()


class Cache(Captured):
    """Captured values by function: ``cache["mymodel:Attention.forward"]``, or ``cache["Attention.forward"]``.

    A key is there from the moment its function is rewritten, with empty `Records` until something
    is recorded. Reading takes in what has been recorded up to now. What a store has taken out of memory is
    read back from there.
    """

    _nothing = "nor is any other function: call astcapture.install([...]) before the module is imported"

    def __init__(self) -> None:
        # What came before `_records`: on disk, or in memory for good; and what is to be stored though it is
        # no longer shown.
        self._parts: list[Part] = []
        self._hidden: list[Record] = []
        self._records: list[Record] = []
        self._by_key: dict[str, list[Record]] = {}
        self.counts: dict[tuple[str, str], Counts] = {}
        #: For each function and label: how many values could not be stored, and why the first could not.
        self.refused: dict[tuple[str, str], tuple[int, str]] = {}
        # For each function on each layer of each model, in each thread: the number of its execution, and the labels
        # seen in it.
        self._calls: dict[_Place, tuple[int, frozenset[str]]] = {}
        # The functions, each with its thread, of which an execution has started and left nothing yet.
        self._started: set[tuple[str, int]] = set()
        # The functions that have left anything here.
        self._ran: set[str] = set()
        self._cleared = False
        budget.hold(self)

    def _keys(self) -> list[str]:
        drain()
        return list(dict.fromkeys((*_process.declared, *self._by_key)))

    def _found(self, key: str | None) -> list[Record]:
        drain()
        with _process.lock:
            parts = list(self._parts)
            recent = list(self._records if key is None else self._by_key.get(key, ()))
        return [*(record for part in parts for record in part.records(key)), *recent]

    def __repr__(self) -> str:
        drain()
        return f"<Cache: {sum(map(len, self._parts)) + len(self._records)} values of {len(self)} functions>"

    def summary(self, *, all: bool = False) -> str:  # noqa: A002
        with _process.lock:
            records, notes, live = self._found(None), self._notes(), Live()
            also = self._also(live)
            return summarise(records, notes, partial(self._why, live=live), also=also, everything=all)

    def _also(self, live: Live) -> list[str]:
        """What is said of functions that are left to another compiler, and of layers that ran where no Python does."""
        places: dict[str, set[tuple[str, str]]] = {}
        for key, where, _ in self._calls:
            if where is not None:
                places.setdefault(key, set()).add(where)
        told = {key: also_bypassed(key.partition(":")[0], ran, live) for key, ran in places.items()}
        left_alone = [f"{key}: {reason}" for key, reason in events.left_alone.items()]
        return left_alone + [f"{key}: {text}" for key, text in told.items() if text is not None]

    def _notes(self) -> Notes:
        with _process.lock:
            drain()
            return Notes(
                {key: one.labels for key, one in _process.declared.items()},
                {key for key, one in _process.declared.items() if one.fused},
                {module: list(pairs) for module, pairs in _process.skipped.items()},
                {key: (count.missed, count.failed, count.error) for key, count in self.counts.items()},
                self._not_kept(),
                {key: one.recipe for key, one in _process.declared.items() if one.recipe},
            )

    def _final_notes(self) -> Notes:
        notes, live = self._notes(), Live()
        for key, labels in notes.declared.items():
            for label in labels:
                if (key, label) not in _process.recorded:
                    text = self._why(key, label, live)
                    if text != WHY_NOT_CALLED:
                        notes.why[key, label] = text
        return notes

    def _why(self, key: str, label: str, live: Live) -> str:
        with _process.lock:
            drain()
            count = self.counts.get((key, label), Counts())
            declared = _process.declared.get(key, Declared(key, 0, ()))
            module, _, qualname = key.partition(":")
            begun = sum(number for site, number in executions.begun.items() if site[:2] == (module, qualname))
            facts = Facts(
                missed=count.missed,
                failed=count.failed,
                error=count.error,
                fused=declared.fused,
                unbound=declared.unbound.get(label, 0),
                begun=begun,
                runs=key in self._ran,
                in_blocks=_process.in_blocks[key, label] if self is cache else 0,
                passed_over=policy.passed_over(module, qualname, label),
                processes=children.told().get(key, ()),
                cleared=self._cleared,
            )
        return why_empty(key, label, facts, live)

    def _not_kept(self) -> dict[tuple[str, str], tuple[int, str]]:
        """For each function and label: how many values are neither in memory nor on disk, and why."""
        not_kept = dict(self.refused)
        for where, count in self.counts.items():
            if count.left_out:
                number, why = not_kept.get(where, (0, "recording had stopped at the memory limit"))
                not_kept[where] = (number + count.left_out, why)
        return not_kept

    def clear(self) -> None:
        """Forget every value and count; the functions stay captured.

        Where values are streamed to a store, those that it has stay there, and those that it has not yet
        still go there.
        """
        drain()
        with _process.lock:
            if _process.streaming and self is cache:
                self._hidden += self._records
            self._parts.clear()
            self.refused.clear()
            self._records.clear()
            self._by_key.clear()
            self.counts.clear()
            self._calls.clear()
            self._started.clear()
            self._ran.clear()
            self._cleared = True
        budget.made_room()

    def held_values(self) -> Iterator[Any]:
        """What is in memory, for the memory limit."""
        kept = [record for part in self._parts if isinstance(part, InMemory) for record in part.kept]
        return values_in_memory([*kept, *self._hidden, *self._records])

    def _add(self, event: Event, rank: int) -> None:
        site, value, thread, where, holding = event
        module, function, label, lineno = site
        key = f"{module}:{function}"
        self._ran.add(key)
        if type(value) is Started:
            self._started.add((key, thread))
            return
        call = self._call((key, where, thread), label)
        if type(value) is Missed:
            self._count(key, label).missed += 1
            _process.missed[key, label] += 1
        elif type(value) is Failed:
            count = self._count(key, label)
            count.failed += 1
            count.error = count.error or value.error
            number, error = _process.failed.get((key, label), (0, value.error))
            _process.failed[key, label] = number + 1, error
        else:
            layer, model = (None, None) if where is None else where
            tags = _NO_TAGS if holding is None else holding.tags
            record = make_record(value, label, module, function, lineno, layer, call, rank, thread, tags, model)
            _process.recorded.add((key, label))
            if self is not cache:
                _process.in_blocks[key, label] += 1
            self._records.append(record)
            self._by_key.setdefault(key, []).append(record)

    def _call(self, place: _Place, label: str) -> int:
        """The number of the execution that an event belongs to: each leaves one event for each label, or
        any number of events once it has told that it starts."""
        key, _, thread = place
        number, seen = self._calls.get(place, (0, frozenset()))
        if key in _process.entering:
            begins = (key, thread) in self._started and bool(seen)
            self._started.discard((key, thread))
        else:
            begins = label in seen
        if begins:
            number, seen = number + 1, frozenset()
        self._calls[place] = number, seen | {label}
        return number

    def _waiting(self, most: int, bytes_of: Callable[[Record], int], enough: int, skip: int = 0) -> list[Record]:
        """Of the records that are not on disk yet, those after `skip`: `most`, or `enough` bytes; hold the lock."""
        size, batch = 0, []
        for record in islice(self._hidden or self._records, skip, None):
            batch.append(record)
            size += bytes_of(record)
            if size >= enough or len(batch) >= most:
                break
        return batch

    def _let_go(self, batch: Sequence[Record], part: Part | None) -> None:
        """Drop from memory what `_waiting` gave; `part` has it now, or nobody; hold the lock."""
        if self._hidden and self._hidden[0] is batch[0]:
            del self._hidden[: len(batch)]
            return
        del self._records[: len(batch)]
        for key, count in Counter(record.key for record in batch).items():
            del self._by_key[key][:count]
        if part is not None:
            self._parts.append(part)

    def _settle(self) -> None:
        """What is in memory now is not to be stored: it stays; hold the lock."""
        if self._records:
            self._parts.append(InMemory(tuple(self._records)))
            self._records.clear()
            for found in self._by_key.values():
                found.clear()
        self._hidden.clear()

    def _count(self, key: str, label: str) -> Counts:
        return self.counts.setdefault((key, label), Counts())


#: The cache of the process, handed out as ``astcapture.cache``.
cache = Cache()


def drain() -> None:
    """Move what the recorder holds into the caches that it belongs to; called before every look."""
    if _process.check is not None:
        _process.check()
    with _process.lock:
        declarations = events.declared[:]
        del events.declared[: len(declarations)]
        for declaration in declarations:
            _declare(declaration)
        taken = draining.drain()
        for ((module, function, label, _), sink), number in budget.take_left_out().items():
            (cache if sink is None else sink)._count(f"{module}:{function}", label).left_out += number
        rank = rank_of_process() if taken else 0
        for event in taken:
            holding = event[4]
            sink = None if holding is None else holding.sink
            (cache if sink is None else sink)._add(event, rank)


def _declare(declaration: Declaration) -> None:
    """Note the functions of a rewritten module; hold the lock."""
    module = declaration.module
    for qualname, lineno, labels in declaration.functions:
        key = f"{module}:{qualname}"
        known = _process.declared.get(key)
        merged = tuple(dict.fromkeys((*(known.labels if known else ()), *labels)))
        unbound = {label: line for name, label, line in declaration.unbound if name == qualname}
        recipe = policy.recipe_of(module, qualname)
        _process.declared[key] = Declared(key, lineno, merged, qualname in declaration.fused, recipe, unbound)
        (_process.entering.add if qualname in declaration.entering else _process.entering.discard)(key)
    _process.skipped[module] = list(declaration.skipped)


class recording:
    """Scope captures to a block: ``with recording() as rec:`` gives a `Cache` of what is captured inside.

    Those values are in `rec` alone and not in ``astcapture.cache``. The block holds for the thread or task that
    enters it, for what that awaits, and for threads that are started inside it; values of others stay where they
    are. Blocks nest; the innermost takes the values.
    """

    def __enter__(self) -> Cache:
        cache = Cache()
        self._scope = scope.enter(sink=cache)
        return cache

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        drain()
        scope.leave(self._scope)


class tag:
    """Attach tags to every value captured inside the block: ``with tag(image="dog.jpg"): model(x)``.

    The block holds for the thread or task that enters it, for what that awaits, and for threads that are started
    inside it. Blocks nest, the inner one winning. A value has the tags that hold as it is recorded.
    """

    def __init__(self, **tags: Any) -> None:
        self._tags = tags
        self._scopes: list[scope.Scope] = []

    def __enter__(self) -> tag:
        self._scopes.append(scope.enter(tags=dict(self._tags)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        scope.leave(self._scopes.pop())


_NO_TAGS: Mapping[str, Any] = MappingProxyType({})


def _after_fork() -> None:
    # Another thread may have held the lock at the moment of the fork.
    _process.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _values_by_function() -> dict[str, int]:
    """How many values the main cache holds of each function; a fork tells it as it ends."""
    drain()
    return {key: len(found) for key, found in cache._by_key.items()}


children.watch(_values_by_function)


def declared_functions() -> list[tuple[str, str]]:
    """Module and qualname of every function that was rewritten."""
    drain()
    return [(key.partition(":")[0], key.partition(":")[2]) for key in _process.declared]


def declared_labels() -> list[tuple[str, str, str]]:
    """Module, qualname and label of everything that is captured."""
    drain()
    return [
        (*function, label)
        for function, one in zip(declared_functions(), _process.declared.values(), strict=True)
        for label in one.labels
    ]


def always_missed() -> list[str]:
    """One line for each label that was never bound where a value would have been taken, or failed each time, and why.

    Not of a function whose calls of attention, or bindings, left something: of ``attn,weights@sdpa`` one is asked for.
    """
    drain()
    told = {key for key, _ in _process.recorded if key in _process.entering}
    failed = [
        f"{key}: {why_failed(label, *failures)}"
        for (key, label), failures in _process.failed.items()
        if (key, label) not in _process.recorded
    ]
    return failed + [
        f"{key}: {why_missed(label, missed, *_fused_and_unbound(key, label))}"
        for (key, label), missed in _process.missed.items()
        if key not in told and (key, label) not in _process.recorded and (key, label) not in _process.failed
    ]


def _fused_and_unbound(key: str, label: str) -> tuple[bool, int]:
    declared = _process.declared.get(key)
    return (False, 0) if declared is None else (declared.fused, declared.unbound.get(label, 0))


def is_declared(key: str) -> bool:
    """Whether the function of this key was rewritten."""
    drain()
    return key in _process.declared
