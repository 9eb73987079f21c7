"""How much memory is left for values. Held values are measured when an estimate says that the room is used up.

The recorder counts down from the room that `look` returns, which costs one subtraction per value, and asks again when
nothing is left. Measuring everything is slow, but rare: it happens when the room is nearly used up, or when the size of
the held values has doubled.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from astcapture.record.free_memory import accelerators, free_on
from astcapture.record.limit import AUTO, in_words
from astcapture.record.weight import EVENT, Scale, forget_references
from astcapture.warn import warn

#: With "auto", the smallest number of bytes that may be recorded before free memory is checked again.
STEP = 64 * 2**20
#: "auto" allows one part in this many of the free memory.
SHARE = 4


class Holder(Protocol):
    """An object that keeps captured values: a cache."""

    def held_values(self) -> Iterable[Any]:
        """Every value that is kept in memory, gradients among them."""


#: Called when the limit is reached and there is a store: writes what it can to disk and returns when that is done.
spill: Callable[[], None] | None = None


def on_room() -> None:
    """Called when memory was freed; the recorder replaces it with its own function."""


def on_limit() -> None:
    """Called when the limit changes; replaced like `on_room`."""


_holders: dict[int, weakref.ref[Any]] = {}
_sources: list[Callable[[], Iterable[Any]]] = []
_limits: dict[object, int | str | None] = {}
# For each device, the bytes that "auto" allows there, found when the first value on it was weighed.
_allowed: dict[str, int] = {}
_lock = threading.RLock()
_busy = False
# How often the held values were measured.
_looks = 0
_warned = False
# For each site and cache, how many values were not recorded because of the limit. Not a `Counter`, which is Python code
# that may be captured itself, and would recurse.
_left_out: dict[Any, int] = {}
_counting = threading.RLock()


def hold(holder: Holder) -> None:
    """Count what `holder` keeps as long as it is alive."""
    identity = id(holder)

    def gone(_: Any) -> None:
        _holders.pop(identity, None)
        on_room()

    _holders[identity] = weakref.ref(holder, gone)


def source(values: Callable[[], Iterable[Any]]) -> None:
    """Also count the values that this function lists: recorded values that are in no cache yet."""
    _sources.append(values)


def ask(hook: object, limit: int | str | None) -> None:
    """Apply a hook's limit until the hook is released.

    The process has one limit: that of the newest hook that sets one; "auto" does not count as set.
    """
    _limits[hook] = limit
    _on_change()


def release(hook: object) -> None:
    if hook in _limits:
        del _limits[hook]
        _on_change()


def _on_change() -> None:
    _allowed.clear()
    made_room()
    on_limit()


def limit() -> int | str | None:
    """The limit that applies now."""
    said = [one for one in _limits.values() if one != AUTO]
    return said[-1] if said else AUTO


def weigh() -> dict[str, int]:
    """The bytes that are held, by device."""
    return dict(_weighed()[0])


def _weighed() -> tuple[Counter[str], int]:
    """The bytes that are held, by device, and by how many values."""
    scale, number = Scale(), 0
    # Compared with None: the truth value of a cache would count its keys and take in pending events.
    holders = [holder for one in list(_holders.values()) if (holder := one()) is not None]
    for values in [*_sources, *(holder.held_values for holder in holders)]:
        for value in values():
            scale.put(value)
            number += 1
    scale.bytes["cpu"] += number * EVENT
    return scale.bytes, number


def look(wanted: int) -> int | None:
    """The bytes that are left for values, of which `wanted` are needed next; 0 if there are not as many.

    With a store, held values are written to disk first. Without one, a warning is issued. None if another thread has
    measured meanwhile: measuring is slow, and once is enough for all threads that wait. The result is an integer,
    because subtracting from it is faster.
    """
    global _busy, _looks
    bound = limit()
    if bound is None:
        return sys.maxsize
    before = _looks
    with _lock:
        if _looks != before:
            return None
        if _busy:
            return STEP  # recorded by code that runs while this looks
        _busy = True
        try:
            held, number = _weighed()
            room = _room(bound, held, number, wanted)
            if room < wanted and spill is not None:
                spill()
                held, number = _weighed()
                room = _room(bound, held, number, wanted)
                if room > 0:
                    room = max(room, wanted)  # one value may be larger than the limit: it is stored next
        finally:
            _busy = False
            _looks += 1
        if room <= 0 or room < wanted:
            _say(bound, sum(held.values()))
            return 0
        return room


def admits_unweighed() -> bool:
    """Whether a value of unknown size may be kept: without a limit, or with "auto" while memory is free."""
    bound = limit()
    if isinstance(bound, int):
        return False
    return bound is None or free_on("cpu") >= _allowed.setdefault("cpu", free_on("cpu") // SHARE)


def _room(bound: int | str, held: Counter[str], number: int, wanted: int) -> int:
    total = sum(held.values())
    if isinstance(bound, int):
        room = bound - total
        # This near the limit, measuring many values again and again would cost more than it gains.
        return 0 if number > 1000 and room < bound // 100 else room
    # Check again when the size has doubled, because the program also allocates memory for itself.
    left = min(_left(device, held[device]) for device in {*held, *accelerators()})
    return min(left, max(STEP, total, wanted))


def _left(device: str, held: int) -> int:
    """The bytes that "auto" leaves on a device, at most half of what is free there now."""
    free = free_on(device)
    allowed = _allowed.setdefault(device, (free + held) // SHARE)
    return min(allowed - held, free // 2)


def _say(bound: int | str, held: int) -> None:
    """Warn that recording stops, once until `made_room`."""
    global _warned
    if _warned:
        return
    _warned = True
    allows = (
        f"limit={in_words(bound)!r} allows no more"
        if isinstance(bound, int)
        else 'limit="auto" allows a quarter of the free memory'
    )
    text = (
        f"recording has stopped: captured values take {in_words(held)}, and {allows}. The program continues, and "
        "cache.summary() counts the values that are left out. To keep all values, stream them to disk with store=DIR; "
        "to keep more, make them smaller with reduce= or dtype=, or raise limit=. After cache.clear() recording resumes"
    )
    warn(text)


def made_room() -> None:
    """Values were released: measure again before the next one is left out, and warn again at the limit."""
    global _warned
    _warned = False
    forget_references()
    on_room()


def leave_out(site: Any, holding: Any = None) -> None:
    """Count a value that is not recorded because there is no room."""
    where = site, None if holding is None else holding.sink
    with _counting:
        _left_out[where] = _left_out.get(where, 0) + 1


def take_left_out() -> dict[tuple[Any, Any], int]:
    """How many values were left out since the last time, at each site for each cache; None is the main one."""
    with _counting:
        taken = dict(_left_out)
        _left_out.clear()
    return taken


def _after_fork() -> None:
    global _lock, _counting, _busy
    _lock = threading.RLock()
    _counting = threading.RLock()
    _busy = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
