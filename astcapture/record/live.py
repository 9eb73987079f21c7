"""Finds the live objects of a type through the garbage collector."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from itertools import chain, compress, repeat, starmap
from operator import is_, is_not
from types import FrameType, FunctionType
from typing import Any


def live_objects(accepts: Callable[[type], bool]) -> list[Any]:
    """Every live object whose type `accepts`, which must be implemented in C, returns True for.

    After `gc.freeze`, which programs call before they fork, the collector lists only newer objects. The others are
    found through references from these and from modules.

    >>> from functools import partial
    >>> from operator import is_
    >>> class Kind: ...
    >>> one = Kind()
    >>> live_objects(partial(is_, Kind)) == [one]
    True
    """
    if _all_are_listed():
        return _listed(lambda types: map(accepts, types))
    return [one for one in _reached() if accepts(type(one))]


def live_functions() -> list[FunctionType]:
    """Every live function that was written in Python."""
    if _all_are_listed():
        return _listed(lambda types: map(is_, types, repeat(FunctionType)))
    return [one for one in _reached() if type(one) is FunctionType]


def all_classes() -> list[type]:
    """Every class of the process; none is looked for among all objects."""
    found: dict[int, type] = {id(object): object}
    waiting: list[type] = [object]
    while waiting:
        # A metaclass may have a method of this name.
        below: list[type] = type.__subclasses__(waiting.pop())
        waiting += [one for one in below if id(one) not in found]
        found.update((id(one), one) for one in below)
    return list(found.values())


def _all_are_listed() -> bool:
    """Whether the collector lists every object: no program has frozen them."""
    if not gc.get_freeze_count():
        return True
    # Python 3.12 starts with a few hundred objects frozen.
    dicts: list[Any] = _listed(lambda types: map(is_, types, repeat(dict)))
    return any(one is sys.modules for one in dicts)


#: The flag of code whose locals are not globals.
CO_OPTIMIZED = 1
#: The number of references to the dict of a frame's locals if nobody else has one: the frame's, ours, the call's.
_REFERENCES = 3


def _reached() -> list[Any]:
    """Every object that the collector lists, and those reachable from them."""
    layer = [*_listed(lambda types: map(is_not, types, repeat(tuple))), *sys.modules.values(), *_running_locals()]
    reached: list[Any] = []
    seen = {id(layer)}
    while layer:
        new = {id(one): one for one in layer if id(one) not in seen and gc.is_tracked(one)}
        seen.update(new)
        reached += new.values()
        layer = gc.get_referents(*new.values())
    return reached


def _running_locals() -> Iterator[Any]:
    """The values of locals of running functions, whose frames the collector does not list or traverse."""
    for frame in sys._current_frames().values():
        outer: FrameType | None = frame
        while outer is not None:
            if outer.f_code.co_flags & CO_OPTIMIZED:
                names = outer.f_locals
                found = [*names.values()]
                # Up to Python 3.12 the frame keeps this dict and its values; clear it, unless somebody else has it.
                if type(names) is dict and sys.getrefcount(names) <= _REFERENCES:
                    names.clear()
                yield from found
            outer = outer.f_back


def _listed(chosen: Callable[[Iterator[type]], Iterator[bool]]) -> list[Any]:
    """The objects that the collector lists, of the types of which `chosen` says True, by C code alone.

    No other thread runs while the list of all objects exists. It may contain a tuple that another thread is building
    from a generator, and that thread gets a `SystemError` if anybody else holds a reference to the tuple.
    """
    every: list[Any] = [()]
    found: list[Any] = []
    wanted = compress(chain.from_iterable(every), chosen(map(type, chain.from_iterable(every))))
    # Between threads the interpreter changes at calls and at jumps back, and the body of this loop has neither.
    # It runs once: even getting the list is an iteration, and not a call. The list holds what iterates over it,
    # so it would live on if it were not emptied.
    for every[0] in starmap(gc.get_objects, ((),)):
        found += wanted
        del every[0][:]
    return found
