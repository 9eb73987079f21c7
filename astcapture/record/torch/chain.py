"""Chains of what compiled code has recorded, one for each thread, and how one knows that the code has run.

Torch's compiler can follow neither a thread's identity nor an append to a list that grows: it would compile the
function anew for each length. What it does follow is a chain, each link holding the one before: only
the type of the last link is guarded, and the values become outputs of the graph. Each thread has a
chain of its own, so none is lost between reading the last link and replacing it.
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

#: What an event of the recorder holds, and the value as compiled code handed it out.
CompiledEvent = tuple[Any, Any, int, "Where | None", "Holding | None"]
#: The site of an event that is no value: compiled code ran here.
STARTS: Site = ("", "", "", 0)


class Link:
    """One recorded value, with the link recorded before it; that is None in the first and in those taken out.

    All of it is in one list, and the link before comes first there. A number that the program never reads must not be
    read by the compiler either, which would compile anew for each number. It reads what becomes an attribute, and what
    is in a list as far as the first thing that is no constant.
    """

    #: What held where the code ran; compiled code does not set it.
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
        """A weak reference to the module, or its place where that is known as the code is compiled."""
        return self._content[3]

    def clear(self) -> None:
        """Drop the content. Compiled code may be adding a link in front at this moment, so the link itself stays."""
        self._content = [None] * 4
        self.holding = None


class Start:
    """Stands among the events of eager code where compiled code ran: its links come after `link`."""

    __slots__ = ("chain", "link")

    def __init__(self, chain: Chain, link: Link) -> None:
        self.chain = chain
        self.link = link

    def note(self) -> None:
        """Put it there, unless nothing else was recorded since the last one: what comes now is in order behind that."""
        last = events[-1:]
        if not (last and type(last[0][1]) is Start and last[0][1].chain is self.chain):
            append((STARTS, self, self.chain.thread, None, None))


#: Called after each run of compiled code that has recorded, by what settles its values.
on_run: list[Callable[[Chain], None]] = []


def _run_uncompiled(function: Any, *arguments: Any) -> None:
    """Keep the compiler, to which everything that compiled code calls is more code to compile, out of a call."""
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
    """Tells that compiled code has run, as it is let go of: the code puts the last link of the run in its place.

    That link is where the run ends, whichever of its other stores the code has made by then. An object that compiled
    code has made itself would be let go of late: it lives on in the frame of the code, which is there until all pieces
    after a graph break have run.
    """

    #: Whether it is let go of for another reason.
    silent = False

    def __del__(self) -> None:
        if self.silent:
            return
        # By a plain `try`: as the interpreter leaves, what stood in this module is gone.
        try:  # noqa: SIM105
            _run_uncompiled(_has_run, of_thread.chain)
        except Exception:
            pass


uncompiled.leave_alone(Tick.__del__, _run_uncompiled)


class Chain:
    """The links of one thread, the last first."""

    def __init__(self) -> None:
        self.last = Link([None] * 4)
        # The last link that has been handed out by `settled`, and the last one when that was last asked.
        self._done = self.last
        self._next = self.last
        self.tick: Tick | Link = Tick()
        #: The last link of the last run that was told of.
        self.run_end = self.last
        self.thread = get_ident()
        # Runs, each with the last link before it and what held as it ran; only where that is not what held before.
        self._runs: list[tuple[Link, Holding | None]] = []
        chains.append(self)

    def note_compilation(self) -> None:
        """The compiler traces code that records, and runs it next."""
        self.run_end = self.last
        self.note_run(self.last)

    def arm(self) -> None:
        """Put a tick in place that the compiler has not looked at: it keeps what it has."""
        if type(self.tick) is Tick:
            self.tick.silent = True
        self.tick = Tick()

    def note_run(self, before: Link) -> None:
        """Compiled code has run: what holds now, holds for the links that it has added to `before`."""
        Start(self, before).note()
        holding = scope.holding()
        if holding is not (self._runs[-1][1] if self._runs else None):
            self._runs.append((before, holding))

    def take(self, starts: Sequence[Link] = ()) -> list[list[CompiledEvent]]:
        """The events since the last time, oldest first; they are left to nobody else.

        Returns:
            Those of each run that came after one of `starts`, and before them what is left of an earlier run.
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
            # A compiled function may just now be adding in front, so the links are emptied where they are.
            if link is None or link.site is None:
                break
            newest.append((link.site, link.value, self.thread, self.where(link), link.holding))
            emptied, link = link, link.before
            emptied.clear()
        del self._runs[:-1]
        # Where runs were taken out before, what is there came after the last of them.
        rest = [newest[::-1], *([] for _ in waiting)]
        return [*(rest[::-1] if waiting else rest), *pieces[::-1]]

    def where(self, link: Link) -> Where | None:
        """Where the module of a link stands."""
        return link.owner if isinstance(link.owner, Where) else places.where_of(link.owner)

    def settled(self, all_of_them: bool) -> list[Link]:
        """The links that are new since this was last asked, oldest first.

        Compiled code fills in its links one attribute after the other, and says that it has run somewhere in
        between: unless `all_of_them` are there for sure, those of the last run are left for the next time.
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
        """Note in each link what held as it was recorded."""
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
        """No block is open any more: say what held in the links that are there, and keep no cache alive that did."""
        self._say_what_held()
        self._runs.clear()

    def values(self) -> list[Any]:
        """The values of the links, which stay."""
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
        What is left of earlier runs, and what came after each start.
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
    # Where the compiler gave a trace up there are several starts before one link; what ran came after the last of them.
    in_order = [runs.pop(start.link, []) for start in reversed(starts)]
    places.forget_dead()
    return [earlier, *reversed(in_order)]
