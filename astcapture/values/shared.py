"""What the caches of a process share: what is captured at all, and where values go now."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from astcapture.record import policy
from astcapture.record.events import Declaration


@dataclass
class Declared:
    """A function that a rewritten module declared: its key is in the cache before it has run."""

    key: str
    lineno: int
    labels: tuple[str, ...]
    #: Whether it calls fused attention too, a branch that binds no map.
    fused: bool = False
    #: The recipe that it is captured for, where no other target names it.
    recipe: str = ""
    #: The labels that the function unbinds again, with the line.
    unbound: Mapping[str, int] = field(default_factory=dict)
    #: The points of labels that are taken at calls, at entry or at a yield.
    points: Mapping[str, str] = field(default_factory=dict)
    #: The source of the calls that a label is taken at, by line.
    calls: Mapping[str, Sequence[tuple[int, str]]] = field(default_factory=dict)


@dataclass
class Counts:
    """What happened at the returns of one function for one label, besides recording."""

    missed: int = 0
    failed: int = 0
    error: str | None = None
    #: Values that were not recorded because the memory limit was reached.
    left_out: int = 0


@dataclass
class Shared:
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
    _threads_that_look: set[int] = field(default_factory=set)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Raise nothing of the background meanwhile: a repr must not, and it is raised only once."""
        thread = threading.get_ident()
        outermost = thread not in self._threads_that_look
        self._threads_that_look.add(thread)
        try:
            yield
        finally:
            if outermost:
                self._threads_that_look.discard(thread)

    def raise_what_went_wrong(self) -> None:
        """Raise what went wrong in the background, if that was asked for."""
        if self.check is not None and threading.get_ident() not in self._threads_that_look:
            self.check()


shared = Shared()


def declare(declaration: Declaration) -> None:
    """Note the functions of a rewritten module; hold the lock."""
    module = declaration.module
    for qualname, lineno, labels in declaration.functions:
        key = f"{module}:{qualname}"
        known = shared.declared.get(key)
        merged = tuple(dict.fromkeys((*(known.labels if known else ()), *labels)))
        unbound = {label: line for name, label, line in declaration.unbound if name == qualname}
        recipe = policy.recipe_of(module, qualname)
        points = {label: point for name, label, point, _ in declaration.taken_at if name == qualname}
        calls = {label: lines for name, label, _, lines in declaration.taken_at if name == qualname and lines}
        fused = qualname in declaration.fused
        shared.declared[key] = Declared(key, lineno, merged, fused, recipe, unbound, points, calls)
        (shared.entering.add if qualname in declaration.entering else shared.entering.discard)(key)
    shared.skipped[module] = list(declaration.skipped)


def _after_fork() -> None:
    # Another thread may have held the lock at the moment of the fork.
    shared.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
