"""What torch's compiler traces in place of the recorder's functions.

It can follow neither a thread's identity nor an append to a list that grows: it would compile the
function anew for each length. What it does follow is a chain, each link holding the one before: only
the type of the last link is guarded, and the values become outputs of the graph. Each thread has a
chain of its own, so none is lost between reading the last link and replacing it.

Inside compiled code there is no stack to look at. A link has a weak reference to the module whose
method recorded, and `places` says afterwards where that stands.
"""

from __future__ import annotations

import sys
import threading
import weakref
from _thread import get_ident
from collections.abc import Sequence
from typing import Any

from astcapture.record import scope
from astcapture.record.scope import Holding
from astcapture.record.torch import modules, places, tracing, uncompiled
from astcapture.record.torch.carried import carried
from astcapture.record.torch.places import Where

#: What an event of the recorder holds, and the value as compiled code handed it out.
CompiledEvent = tuple[Any, Any, int, "Where | None", "Holding | None"]


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


def on_run(chain: Chain) -> None:
    """Called after each run of compiled code that has recorded; the recorder puts a function of its own here."""


def on_start(start: Start) -> None:
    """Called where links of another run begin; the recorder puts a function of its own here."""


def on_exported(site: Any) -> None:
    """Called where a value is in a program that is exported; the recorder puts a function of its own here."""


def on_left_out(site: Any) -> None:
    """Called where a value has no place in what the compiler makes; the recorder puts a function of its own here."""


class Start:
    """Stands among the events of eager code where compiled code ran: its links come after `link`."""

    __slots__ = ("chain", "link")

    def __init__(self, chain: Chain, link: Link) -> None:
        self.chain = chain
        self.link = link


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
    on_run(chain)


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
            _run_uncompiled(_has_run, _local.chain)
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
        on_start(Start(self, before))
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


class _Local(threading.local):
    def __init__(self) -> None:
        self.chain = Chain()


_local = _Local()


def put(site: Any, value: Any, owner: Any, others: tuple[Any, ...]) -> None:
    """Add to this thread's chain; traced by the compiler, and run only as what it made of it."""
    if not is_exported(site) and has_place(site):
        _add(site, value, owner, others)


def put_copy(site: Any, value: Any, owner: Any, others: tuple[Any, ...]) -> None:
    """Add a copy of a value of the program's; as `put`."""
    if not is_exported(site) and has_place(site):
        _add(site, carried(value), owner, others)


def _add(site: Any, value: Any, owner: Any, others: tuple[Any, ...]) -> None:
    link = Link([_local.chain.last, site, value, _reference(owner, others)])
    _local.chain.last = link
    _local.chain.tick = link
    _arm()


def _arm() -> None:
    """Run by the compiler, after it has traced what lets go of a tick."""
    _local.chain.arm()


_arm._dynamo_marked_constant = True  # type: ignore[attr-defined]


def beside(function: Any, *arguments: Any) -> Any:
    """Call a function whose side effects cancel out, also where the compiler admits none."""
    if has_place(None):
        return function(*arguments)
    from torch._dynamo import utils

    unchecked = getattr(utils, "_disable_side_effect_safety_checks_for_current_subtracer", None)
    return function(*arguments) if unchecked is None else unchecked(function, *arguments)


def has_place(site: Any) -> bool:
    """Whether the compiler admits side effects where it is: inside a checkpoint or `torch.cond` it does not.

    Run by the compiler as it traces; the answer is a constant to it. Where there is a site, a value is told to be
    left out there.
    """
    uncompiled.tell_compiler()
    try:
        from torch._dynamo.symbolic_convert import InstructionTranslator

        tracer = InstructionTranslator.current_tx().output.current_tracer
        names = ("allow_side_effects_in_hop", "unsafe_allow_externally_visible_side_effects")
        place = tracer.parent is None or any(getattr(tracer, name, False) for name in names)
    except (ImportError, AttributeError):
        place = True  # another torch: it will say itself what it does not admit
    if site is not None:
        _local.chain.note_compilation()
        if not place:
            on_left_out(site)
    return place


has_place._dynamo_marked_constant = True  # type: ignore[attr-defined]


def is_exported(site: Any) -> bool:
    """Whether the trace becomes a program of its own, in which nothing of ours has a place.

    Run by the compiler as it traces; the answer is a constant to it. Where there is a site, its value is told to be
    left out there.
    """
    exported = tracing.exports()
    if exported and site is not None:
        on_exported(site)
    return exported


is_exported._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _reference(owner: Any, others: tuple[Any, ...]) -> Any:
    """A weak reference to the first that is a module, named while it is sure to be alive: now, as it is traced."""
    from torch import nn
    from torch._dynamo.comptime import comptime

    for one in (owner, *others):
        if isinstance(one, nn.Module):
            comptime(_name_owner)
            return weakref.ref(one)
    return None


def _name_owner(context: Any) -> None:
    """Run by the compiler as it traces `_reference`."""
    variable = context.get_local("one")._i_will_not_complain_if_bc_breaks_VariableTracker()
    module = getattr(variable, "value", None)
    if modules.is_module(module):
        places.name_all(weakref.ref(module), _running(context))


def _running(context: Any) -> list[Any]:
    """The modules that run where the compiler traces, the outermost first: those on the stack, and those it follows."""
    traced = []
    tracer = context._i_will_not_complain_if_bc_breaks_InstructionTranslator()
    while tracer is not None:
        variable = getattr(tracer, "symbolic_locals", {}).get("self")
        module = getattr(variable, "value", None)
        if modules.is_module(module):
            traced.append(module)
        tracer = getattr(tracer, "parent", None)
    return [*modules.running(sys._getframe(1))[::-1], *traced[::-1]]


def snapshot(value: Any) -> Any:
    """A copy of a value that compiled code hands out, as `carried` has it; traced by the compiler."""
    return value if is_exported(None) else carried(value)


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
    # A start may be told of twice, as the compiler traces anew.
    taken = [earlier, *(runs.pop(start.link, []) for start in starts)]
    places.forget_dead()
    return taken
