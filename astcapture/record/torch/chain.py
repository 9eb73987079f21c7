"""Chains of the values that compiled code records, one per thread, and how a run of the code is noticed.

torch.compile cannot trace the id of a thread, and it would recompile for each length of a growing list. It can trace a
linked chain, in which each link references the previous one: only the type of the last link is guarded, and the values
become outputs of the graph. Each thread has its own chain, so no value is lost between reading the last link and
replacing it.
"""

from __future__ import annotations

import sys
import threading
from _thread import get_ident
from collections.abc import Callable, Sequence
from typing import Any

from astcapture.record import scope
from astcapture.record.events import Site, append, events
from astcapture.record.scope import Holding
from astcapture.record.torch import places, uncompiled
from astcapture.record.torch.places import Where

#: The fields of an event, with the value as compiled code returned it.
CompiledEvent = tuple[Any, Any, int, "Where | None", "Holding | None"]
#: The site of an event without a value: compiled code ran here.
STARTS: Site = ("", "", "", 0)


class Link:
    """One recorded value and the previous link, which is None in the first link and in links that were taken out.

    Both are in one list, with the previous link first. A number that the program itself does not use must not be read
    by the compiler, which would recompile for each number. It reads attributes, and list items up to the first one that
    is not a constant.
    """

    #: The settings of the open block when the code ran; not set by compiled code.
    holding: Holding | None = None

    def __init__(self, content: list[Any]) -> None:
        self._content = content

    @property
    def before(self) -> Link | None:
        before: Link | None = self._content[0]
        return before

    @property
    def site(self) -> Any:
        return self._content[1]

    @property
    def value(self) -> Any:
        return self._content[2]

    @value.setter
    def value(self, value: Any) -> None:
        self._content[2] = value

    @property
    def owner(self) -> Any:
        """A weak reference to the module, or its place if that was known at compile time."""
        return self._content[3]

    def clear(self) -> None:
        """Drop the content but keep the link: compiled code may be adding a link after it at this moment."""
        self._content = [None] * 4
        self.holding = None


class Start:
    """Marks in the events of eager code where compiled code ran; its links come after `link`."""

    __slots__ = ("chain", "link")

    def __init__(self, chain: Chain, link: Link) -> None:
        self.chain = chain
        self.link = link

    def note(self) -> None:
        """Add the mark, unless the last event already is one."""
        last = events[-1:]
        if not (last and type(last[0][1]) is Start and last[0][1].chain is self.chain):
            append((STARTS, self, self.chain.thread, None, None))


#: Called after each run of compiled code that recorded something.
on_run: list[Callable[[Chain], None]] = []


def _run_uncompiled(function: Any, *arguments: Any) -> None:
    """Call a function without the compiler, which would otherwise compile it too."""
    disabled = _disabled.get(function)
    if disabled is None:
        disabled = _disabled[function] = sys.modules["torch._dynamo"].disable(function)
    disabled(*arguments)


_disabled: dict[Any, Any] = {}


def _has_run(chain: Chain) -> None:
    end = chain.tick
    if not isinstance(end, Link):
        return  # an older tick, deleted late
    before, chain.run_end = chain.run_end, end
    chain.tick = Tick()
    chain.note_run(before)
    for settle in on_run:
        settle(chain)


class Tick:
    """Notices by its deletion that compiled code has run: the code replaces it by the last link of the run.

    That link is the end of the run, whatever else the code has stored by then. An object that compiled code itself
    creates would be deleted too late: its frame keeps it until all parts after a graph break have run.
    """

    #: Whether it is deleted for another reason.
    silent = False

    def __del__(self) -> None:
        if self.silent:
            return
        # A plain `try`: at interpreter exit the names of this module are gone.
        try:  # noqa: SIM105
            _run_uncompiled(_has_run, of_thread.chain)
        except Exception:
            pass


uncompiled.leave_alone(Tick.__del__, _run_uncompiled)


class Chain:
    """The links of one thread, newest first."""

    def __init__(self) -> None:
        self.last = Link([None] * 4)
        # The last link that `settled` has returned, and the last link at its last call.
        self._done = self.last
        self._next = self.last
        self.tick: Tick | Link = Tick()
        #: The last link of the last run that was noticed.
        self.run_end = self.last
        self.thread = get_ident()
        # Runs with other settings than the run before, each with the last link before it.
        self._runs: list[tuple[Link, Holding | None]] = []
        chains.append(self)

    def note_compilation(self) -> None:
        """Called when the compiler traces code that records, which runs next."""
        self.run_end = self.last
        self.note_run(self.last)

    def arm(self) -> None:
        """Put a new tick in place: the compiler keeps the one that it has seen alive."""
        if type(self.tick) is Tick:
            self.tick.silent = True
        self.tick = Tick()

    def note_run(self, before: Link) -> None:
        """Called after compiled code has run: the present settings apply to the links that it added after `before`."""
        Start(self, before).note()
        holding = scope.holding()
        if holding is not (self._runs[-1][1] if self._runs else None):
            self._runs.append((before, holding))

    def take(self, starts: Sequence[Link] = ()) -> list[list[CompiledEvent]]:
        """Take out the events since the last call, oldest first.

        Returns:
            First what is left of earlier runs, then the events of the run after each of `starts`.
        """
        pieces: list[list[CompiledEvent]] = []
        newest: list[CompiledEvent] = []
        waiting = [*starts]
        self._say_what_held()
        link: Link | None = self.last
        while True:
            while waiting and waiting[-1] is link:
                waiting.pop()
                pieces.append(newest[::-1])
                newest = []
            # A compiled function may be adding a link now, so the links stay and only their content is removed.
            if link is None or link.site is None:
                break
            newest.append((link.site, link.value, self.thread, self.where(link), link.holding))
            emptied, link = link, link.before
            emptied.clear()
        del self._runs[:-1]
        # If earlier runs were already taken out, these events came after the last of them.
        rest = [newest[::-1], *([] for _ in waiting)]
        return [*(rest[::-1] if waiting else rest), *pieces[::-1]]

    def where(self, link: Link) -> Where | None:
        """The place of the module of a link."""
        return link.owner if isinstance(link.owner, Where) else places.where_of(link.owner)

    def settled(self, all_of_them: bool) -> list[Link]:
        """The links since the last call, oldest first.

        Compiled code sets the attributes of its links one after the other, and the run is noticed somewhere in
        between. So the links of the last run wait for the next call, unless `all_of_them` is set.
        """
        new = []
        self._say_what_held()
        link: Link | None = self.last if all_of_them else self._next
        end, self._done = self._done, link or self._done
        self._next = self.last
        while link is not None and link is not end and link.site is not None:
            new.append(link)
            link = link.before
        return new[::-1]

    def _say_what_held(self) -> None:
        """Store in each link the settings with which it was recorded."""
        runs = self._runs[::-1]
        if not runs or (len(runs) == 1 and runs[0][1] is None):
            return
        link: Link | None = self.last
        while link is not None and link.site is not None and runs:
            while runs and link is runs[0][0]:
                del runs[0]
            if runs:
                link.holding = runs[0][1]
            link = link.before

    def forget_runs(self) -> None:
        """Called when no block is open any more: store the settings in the links, and release the caches of blocks."""
        self._say_what_held()
        self._runs.clear()

    def values(self) -> list[Any]:
        """The values of the links, without taking them out."""
        values = []
        link: Link | None = self.last
        while link is not None:
            values.append(link.value)
            link = link.before
        return values


chains: list[Chain] = []


def _watch_scopes(open_ones: bool) -> None:
    if not open_ones:
        for chain in chains[:]:
            chain.forget_runs()


scope.watch(_watch_scopes)


class _OfThread(threading.local):
    def __init__(self) -> None:
        self.chain = Chain()


of_thread = _OfThread()


def take(starts: Sequence[Start]) -> list[list[CompiledEvent]]:
    """The events of all threads, those of each in order.

    Returns:
        What is left of earlier runs, then the events after each start.
    """
    after: dict[Chain, dict[Link, None]] = {chain: {} for chain in chains[:]}
    for start in starts:
        after.setdefault(start.chain, {})[start.link] = None
    earlier: list[CompiledEvent] = []
    runs: dict[Link, list[CompiledEvent]] = {}
    for chain, links in after.items():
        rest, *pieces = chain.take([*links])
        earlier += rest
        runs.update(zip(links, pieces, strict=True))
    # If the compiler abandoned a trace, several starts precede one link; the run belongs to the last of them.
    in_order = [runs.pop(start.link, []) for start in reversed(starts)]
    places.forget_dead()
    return [earlier, *reversed(in_order)]
