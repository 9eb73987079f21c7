"""The mapping from function to captured values, and the step that takes events out of the recorder into it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Any

from astcapture.record import budget, children, draining, editing, events, executions, policy, scope
from astcapture.record.events import Event, Failed, Missed, Started, cell_of
from astcapture.record.torch.bypassed import Live, also_bypassed
from astcapture.store.rank import rank_of_process
from astcapture.values import cells
from astcapture.values.captured import Captured
from astcapture.values.held import Held
from astcapture.values.html import Summary, Table, counted
from astcapture.values.live import make_record
from astcapture.values.notes import Notes
from astcapture.values.record import Record
from astcapture.values.records import Records
from astcapture.values.shared import Counts, Declared, declare, shared
from astcapture.values.summary import summarise
from astcapture.values.why_empty import WHY_NOT_CALLED, Facts, why_empty
from astcapture.warn import warn_at

#: A key, where the module stands, and the thread.
_Place = tuple[str, "tuple[str, str] | None", int]


class Cache(Captured):
    """Captured values by function: ``cache["mymodel:Attention.forward"]``, or ``cache["Attention.forward"]``.

    A key is there from the moment its function is rewritten, with empty `Records` until something
    is recorded. Reading takes in what has been recorded up to now. What a store has taken out of memory is
    read back from there.
    """

    _nothing = "and neither is any other function: call astcapture.install([...]) or astcapture.attention(model) first"

    def __init__(self) -> None:
        #: The blocks for one model that are open around the block which this cache is of, the innermost first.
        self.blocks: tuple[policy.OneModel, ...] = ()
        self.held = Held()
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
        #: The edits that were in force as values came, as text.
        self.edits: dict[str, None] = {}
        # Of what old values the user was warned: one warning for each time that a cell defines a function again.
        self._told: set[tuple[str, int, bool]] = set()
        budget.hold(self)

    def _keys(self) -> list[str]:
        drain()
        return list(dict.fromkeys((*shared.declared, *self.held.by_key)))

    def _found(self, key: str | None) -> list[Record]:
        drain()
        with shared.lock:
            parts, recent = self.held.of(key)
        # Without the lock: the writer, and so a thread at the memory limit, would wait for the disk.
        return [*(record for part in parts for record in part.records(key)), *recent]

    def __repr__(self) -> str:
        return f"<{self._in_words()}>"

    def _in_words(self) -> str:
        with shared.looking():
            drain()
            text = f"Cache: {counted(len(self.held), 'value')} of {counted(len(self), 'function')}"
            why = None if len(self) else cells.why_not_captured(None, ())
            return text if why is None else f"{text}; {why}"

    def _as_table(self) -> Table:
        table = self.summary().table
        return replace(table, caption=self._in_words()) if table.rows else table

    def summary(self, *, all: bool = False) -> Summary:  # noqa: A002
        with shared.lock:
            records, notes, live = self._found(None), self.notes(), Live()
            also = self._also(live)
            in_cells = cells.why_not_captured(None, notes.declared)
            if notes.declared and in_cells is not None:
                also.append(in_cells)
            why = partial(self._why, live=live)
            return summarise(records, notes, why, also=also, everything=all, no_function=in_cells)

    def _why_not_captured(self, key: str) -> str | None:
        return cells.why_not_captured(key, self._keys())

    def _noted(self, records: Records) -> Records:
        found = cells.mixed(records.records) if cells.defined else None
        if found is not None and found[:3] not in self._told:
            self._told.add(found[:3])
            warn_at(found.text, stacklevel=3)
        return records

    def _also(self, live: Live) -> list[str]:
        """What is said of functions that are left to another compiler, and of layers that ran where no Python does."""
        places: dict[str, set[tuple[str, str]]] = {}
        for key, where, _ in self._calls:
            if where is not None:
                places.setdefault(key, set()).add(where)
        told = {key: also_bypassed(key.partition(":")[0], ran, live) for key, ran in places.items()}
        left_alone = [f"{key}: {reason}" for key, reason in events.left_alone.items()]
        return left_alone + [f"{key}: {text}" for key, text in told.items() if text is not None]

    def notes(self) -> Notes:
        with shared.lock:
            drain()
            return Notes(
                {key: one.labels for key, one in shared.declared.items()},
                {key for key, one in shared.declared.items() if one.fused},
                {module: list(pairs) for module, pairs in shared.skipped.items()},
                {key: (count.missed, count.failed, count.error) for key, count in self.counts.items()},
                self._not_kept(),
                {key: one.recipe for key, one in shared.declared.items() if one.recipe},
                calls={
                    (key, label): tuple(lines)
                    for key, one in shared.declared.items()
                    for label, lines in one.calls.items()
                },
                edits=tuple(self.edits),
            )

    def final_notes(self) -> Notes:
        notes, live = self.notes(), Live()
        for key, labels in notes.declared.items():
            for label in labels:
                if (key, label) not in shared.recorded:
                    text = self._why(key, label, live)
                    if text != WHY_NOT_CALLED:
                        notes.why[key, label] = text
        return notes

    def _why(self, key: str, label: str, live: Live) -> str:
        with shared.lock:
            drain()
            count = self.counts.get((key, label), Counts())
            declared = shared.declared.get(key, Declared(key, 0, ()))
            module, _, qualname = key.partition(":")
            begun = sum(number for site, number in executions.begun.items() if site[:2] == (module, qualname))
            facts = Facts(
                missed=count.missed,
                failed=count.failed,
                error=count.error,
                fused=declared.fused,
                unbound=declared.unbound.get(label, 0),
                point=declared.points.get(label, "assign"),
                begun=begun,
                runs=key in self._ran,
                in_blocks=shared.in_blocks[key, label] if self is cache else 0,
                passed_over=policy.passed_over(module, qualname, label),
                other_models=policy.other_models(module, qualname, label),
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
        with shared.lock:
            self.held.clear(still_to_be_stored=shared.streaming and self is cache)
            self.refused.clear()
            self.counts.clear()
            self._calls.clear()
            self._started.clear()
            self._ran.clear()
            self.edits.clear()
            self._cleared = True
            if self is cache:
                executions.begun.clear()  # those that came to their end left values, which are gone
        budget.made_room()

    def held_values(self) -> Iterator[Any]:
        """What is in memory, for the memory limit."""
        return self.held.values()

    def _add(self, event: Event, rank: int) -> None:
        site, value, thread, where, holding = event
        module, function, label, lineno = site[:4]
        key = f"{module}:{function}"
        self._ran.add(key)
        if type(value) is Started:
            self._started.add((key, thread))
            return
        call = self._call((key, where, thread), label)
        if type(value) is Missed:
            self._count(key, label).missed += 1
            shared.missed[key, label] += 1
        elif type(value) is Failed:
            count = self._count(key, label)
            count.failed += 1
            count.error = count.error or value.error
            number, error = shared.failed.get((key, label), (0, value.error))
            shared.failed[key, label] = number + 1, error
        else:
            layer, model = (None, None) if where is None else where
            tags = _NO_TAGS if holding is None else holding.tags
            cell = cell_of(site)
            record = make_record(value, label, module, function, lineno, layer, call, rank, thread, tags, model, cell)
            shared.recorded.add((key, label))
            self.edits.update(dict.fromkeys(editing.in_force))
            if self is not cache:
                shared.in_blocks[key, label] += 1
            self.held.add(key, record)

    def _call(self, place: _Place, label: str) -> int:
        """The number of the execution that an event belongs to: each leaves one event for each label, or
        any number of events once it has told that it starts."""
        key, _, thread = place
        number, seen = self._calls.get(place, (0, frozenset()))
        if key in shared.entering:
            begins = (key, thread) in self._started and bool(seen)
            self._started.discard((key, thread))
        else:
            begins = label in seen
        if begins:
            number, seen = number + 1, frozenset()
        self._calls[place] = number, seen | {label}
        return number

    def _count(self, key: str, label: str) -> Counts:
        return self.counts.setdefault((key, label), Counts())


#: The cache of the process, handed out as ``astcapture.cache``.
cache = Cache()


def drain() -> None:
    """Move what the recorder holds into the caches that it belongs to; called before every look."""
    shared.raise_what_went_wrong()
    with shared.lock:
        declarations = events.declared[:]
        del events.declared[: len(declarations)]
        for declaration in declarations:
            declare(declaration)
        taken = draining.drain()
        for (site, sink), number in budget.take_left_out().items():
            module, function, label = site[:3]
            (cache if sink is None else sink)._count(f"{module}:{function}", label).left_out += number
        rank = rank_of_process() if taken else 0
        blocks = policy.any_block()
        for event in taken:
            holding = event[4]
            sink = None if holding is None else holding.sink
            if sink is not None:
                sink._add(event, rank)
            elif not (blocks and policy.asked_in_blocks_alone(event[0])):
                cache._add(event, rank)


class recording:
    """Scope captures to a block: ``with recording() as rec:`` gives a `Cache` of what is captured inside.

    Those values are in `rec` alone and not in ``astcapture.cache``. The block holds for the thread or task that
    enters it, for what that awaits, and for threads that are started inside it; values of others stay where they
    are. Blocks nest; the innermost takes the values.
    """

    def __enter__(self) -> Cache:
        cache = Cache()
        around = scope.holding()
        if around is not None and around.sink is not None:
            cache.blocks = around.sink.blocks
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


def _values_by_function() -> dict[str, int]:
    """How many values the main cache holds of each function; a fork tells it as it ends."""
    drain()
    return {key: len(found) for key, found in cache.held.by_key.items()}


children.watch(_values_by_function)
