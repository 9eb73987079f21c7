"""What is done with one map, and the threads that do it for large ones."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from astcapture.view.packing import How, Packed, pack_map, pooled_rows
from astcapture.view.scale import INF, MINUS_INF, NAN, Floats, Marked, mark
from astcapture.view.statistics import Measured, Places, measure
from astcapture.view.survey import Surveyed, survey

#: NumPy and zlib leave the interpreter to other threads; more of them would wait for memory.
_THREADS = min(4, os.cpu_count() or 1)
#: A map of fewer cells is done sooner than a thread is asked.
_LARGE = 2**16


class Done(NamedTuple):
    """One map of an item.

    Attributes:
        packed: as the file has it.
        measured: its statistics; None where it has none.
        least, greatest: of its numbers.
        odd: how many cells or rows are what they should not be.
    """

    packed: Packed
    measured: Measured | None
    least: float
    greatest: float
    odd: dict[str, int]


def work_on(values: Floats, how: How, places: Places) -> Done:
    """Measure and pack one map."""
    odd = dict.fromkeys(("nan", "inf", "negative", "off_sum"), 0)
    surveyed = _survey(values, how, places)
    if surveyed is not None:
        # The scale of weights begins at zero, whatever the least is.
        marked = Marked(values, None, 0.0, float(surveyed.largest.max()))
    else:
        marked = mark(values)
        if marked.least >= 0:
            # Minus zero becomes zero.
            surveyed = _survey(marked.values + marked.values.dtype.type(0), how, places)
    if marked.marks is not None:
        odd["nan"] = int((marked.marks == NAN).sum())
        # Scores have minus infinity where they are masked.
        infinite = (marked.marks == INF) | ((marked.marks == MINUS_INF) & how.attention)
        odd["inf"] = int(infinite.sum())
    measured = None
    if how.attention and marked.least < 0:
        odd["negative"] = int((marked.values < 0).sum())
        odd["off_sum"] = int((np.abs(marked.values.sum(axis=1) - 1) > 0.02).sum())
    elif surveyed is not None:
        measured = measure(marked.values, surveyed, places)
        odd["off_sum"] = measured.off_sum
    packed = pack_map(values, marked, how, surveyed)
    packed.parts.compress()
    # A map that is partly unknown has no statistics.
    return Done(packed, measured if marked.marks is None else None, marked.least, marked.greatest, odd)


def _survey(values: Floats, how: How, places: Places) -> Surveyed | None:
    if not how.attention:
        return None
    k = None if how.whole or values.dtype != np.float32 else how.k
    return survey(values, pooled_rows(how, len(values)), offset=places.in_row, k=k)


class Workers:
    """Threads for large maps; started with the first one."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def map(self, maps: Iterable[tuple[Floats, How]], places: Places) -> Iterator[Done]:
        """Work on maps, and give them in their order; no more than one for each thread is in memory."""
        return self._in_order(lambda one: work_on(one[0], one[1], places), maps)

    def _in_order(
        self, function: Callable[[tuple[Floats, How]], Done], maps: Iterable[tuple[Floats, How]]
    ) -> Iterator[Done]:
        waiting: deque[Future[Done]] = deque()
        for one in maps:
            if one[0].size < _LARGE or _THREADS == 1:
                yield function(one)
                continue
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_THREADS, "astcapture-view")
            waiting.append(self._pool.submit(function, one))
            if len(waiting) >= _THREADS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
