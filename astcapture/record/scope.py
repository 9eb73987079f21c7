"""The blocks of ``tag``, ``recording`` and ``pause``, which apply to the context that entered them.

A block is a `Scope` in a context variable. So it applies to the thread or task that entered it, to what that task
awaits, and to code that runs with its context (``asyncio.to_thread``). It also applies to threads started inside the
block: `threading` adds each starting thread to a dict, which is watched while a block is open. Values of other threads
and tasks are not affected.
"""

from __future__ import annotations

import os
import sys
import threading
from _thread import get_ident
from collections.abc import Callable, Mapping
from contextvars import Context, ContextVar
from types import MappingProxyType
from typing import Any, NamedTuple
from weakref import ref

_NO_TAGS: Mapping[str, Any] = MappingProxyType({})


class Holding(NamedTuple):
    """The settings for a recorded value: its tags, its cache (None for the main one), and whether recording is
    paused."""

    tags: Mapping[str, Any]
    sink: Any
    paused: bool


class Scope:
    """One open block, with the blocks around it."""

    __slots__ = ("_known", "closed", "outer", "paused", "sink", "tags")

    def __init__(
        self, outer: Scope | None, tags: Mapping[str, Any] = _NO_TAGS, sink: Any = None, paused: bool = False
    ) -> None:
        self.outer = outer
        self.tags = tags
        self.sink = sink
        self.paused = paused
        self.closed = False
        # The combined settings, and how many blocks were closed then; one attribute, so that threads see both.
        self._known: tuple[int, Holding | None] = (-1, None)

    def holding(self) -> Holding | None:
        """The combined settings of this block and those around it; None if all of them are closed."""
        number, holding = self._known
        if number != _closings:
            number = _closings
            holding = self._combined()
            self._known = number, holding
        return holding

    def _combined(self) -> Holding | None:
        outer = None if self.outer is None else self.outer.holding()
        if self.closed:
            return outer
        if outer is None:
            return Holding(self.tags, self.sink, self.paused)
        tags = MappingProxyType({**outer.tags, **self.tags}) if self.tags else outer.tags
        return Holding(tags, outer.sink if self.sink is None else self.sink, outer.paused or self.paused)


_current: ContextVar[Scope | None] = ContextVar("astcapture", default=None)
# How many blocks have been closed: combined settings from before that are outdated.
_closings = 0
_open = 0
_lock = threading.Lock()
# The block in which each thread was started, by the id of the thread object.
_started: dict[int, tuple[ref[Any], Scope]] = {}
#: Called with True when the first block opens, with False when the last one closes.
_watchers: list[Callable[[bool], None]] = []


def watch(watcher: Callable[[bool], None]) -> None:
    """From now on, call `watcher` when the first block opens and when the last one closes."""
    _watchers.append(watcher)


def enter(tags: Mapping[str, Any] = _NO_TAGS, sink: Any = None, paused: bool = False) -> Scope:
    """Open a block in this context."""
    global _open
    scope = Scope(_open_one(_here()), tags, sink, paused)
    with _lock:
        _open += 1
        if _open == 1:
            _watch_threads(True)
            for watcher in _watchers:
                watcher(True)
    _current.set(scope)
    return scope


def leave(scope: Scope) -> None:
    """Close a block, from any context: nothing is recorded in it any more."""
    global _open, _closings
    if scope.closed:
        return
    scope.closed = True
    # Contexts and threads may keep the block alive for long, but not the values captured in it.
    scope.sink, scope.tags, scope._known = None, _NO_TAGS, (-1, None)
    with _lock:
        _closings += 1
        _open = max(0, _open - 1)
        if not _open:
            _watch_threads(False)
            for watcher in _watchers:
                watcher(False)
    _current.set(_open_one(_current.get()))


def _open_one(scope: Scope | None) -> Scope | None:
    """The block itself, or the nearest around it that is still open; contexts whose blocks are left elsewhere keep the
    closed ones."""
    while scope is not None and scope.closed:
        scope = scope.outer
    return scope


def reset() -> None:
    """Close every block, from any context."""
    global _open, _closings
    _current.set(None)
    _started.clear()
    with _lock:
        _closings += 1
        if _open:
            _open = 0
            _watch_threads(False)
            for watcher in _watchers:
                watcher(False)


def innermost_pause() -> Scope | None:
    """The last pause in this context that has not ended."""
    scope = _here()
    while scope is not None and (scope.closed or not scope.paused):
        scope = scope.outer
    return scope


def holding() -> Holding | None:
    """The settings here and now; None outside any block."""
    scope = _here()
    return None if scope is None else scope.holding()


def _here() -> Scope | None:
    return _current.get() or _of_thread()


# --- threads


class _Limbo(dict[Any, Any]):
    """Replaces the dict to which `threading` adds a thread that is being started.

    No function of the program or of Python is replaced, and no frame of ours is in a traceback.
    """

    def __setitem__(self, thread: Any, value: Any) -> None:
        scope = _here()
        if scope is not None and not scope.closed:
            identity = id(thread)
            _started[identity] = ref(thread, lambda _: _started.pop(identity, None)), scope
        dict.__setitem__(self, thread, value)


def _watch_threads(on: bool) -> None:
    home: Any = threading
    limbo = getattr(home, "_limbo", None)
    if type(limbo) is not (dict if on else _Limbo) or not hasattr(home, "_active_limbo_lock"):
        return  # another Python version, or another tool's dict
    with home._active_limbo_lock:
        home._limbo = _Limbo(limbo) if on else dict(limbo)


def _of_thread() -> Scope | None:
    """The block in which this thread was started, unless it runs a function with a context of its own."""
    if not _started:
        return None
    active: Any = getattr(threading, "_active", {})
    thread = active.get(get_ident())
    started = _started.get(id(thread))
    if started is None or started[0]() is not thread or started[1].holding() is None:
        return None
    # Workers of anyio run each function in the context of the caller, and so do executors that were given a context.
    # That context has no block, or this function would not be called.
    if type(thread).__module__.partition(".")[0] == "anyio" or _runs_in_a_context():
        return None
    return started[1]


def _runs_in_a_context() -> bool:
    """Whether a worker of a thread pool runs a function that has its own context."""
    pool: Any = sys.modules.get("concurrent.futures.thread")
    run = getattr(getattr(getattr(pool, "_WorkItem", None), "run", None), "__code__", None)
    frame: Any = sys._getframe(1)
    while frame is not None:
        if frame.f_code is run:
            work = frame.f_locals.get("self")
            function = getattr(work, "fn", None) or next(iter(getattr(work, "task", ()) or ()), None)
            inside = getattr(function, "func", function)
            return isinstance(getattr(inside, "__self__", None), Context)
        frame = frame.f_back
    return False


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
