"""What processes that a fork made have recorded, told to their parent as they end: a line on a shared page.

Values themselves go to a store; without one, they end with the process. Then the parent can at least say so.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import sys
from collections.abc import Callable, Mapping

#: Each child has so many bytes to write to, and there is room for so many children; those after them say nothing.
_BYTES, _CHILDREN = 2048, 128
_HEAD = struct.Struct("<I")

_board: mmap.mmap | None = None
_forks = 0
_mine: tuple[mmap.mmap, int] | None = None
_counts: Callable[[], Mapping[str, int]] | None = None


def watch(counts: Callable[[], Mapping[str, int]]) -> None:
    """Have every fork from now on tell, as it ends, how many values it has by function: `counts` says it."""
    global _counts
    if _counts is None and hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_before_fork, after_in_child=_after_fork)
    _counts = counts


def told() -> dict[str, list[tuple[int, int]]]:
    """For each function, the processes that told of values, with how many."""
    found: dict[str, list[tuple[int, int]]] = {}
    if _board is None:
        return found
    for number in range(min(_forks, _CHILDREN)):
        start = number * _BYTES
        (size,) = _HEAD.unpack_from(_board, start)
        if 0 < size <= _BYTES - _HEAD.size:
            pid, counts = json.loads(_board[start + _HEAD.size : start + _HEAD.size + size])
            for key, count in counts.items():
                found.setdefault(key, []).append((pid, count))
    return found


def tell() -> None:
    """Called as a fork ends."""
    if _mine is None or _counts is None:
        return
    board, number = _mine
    counts = {key: count for key, count in _counts().items() if count}
    text = b""
    while counts:
        text = json.dumps([os.getpid(), counts]).encode()
        if len(text) <= _BYTES - _HEAD.size:
            break
        counts.popitem()  # there is no room for all
    if counts:
        start = number * _BYTES
        board[start + _HEAD.size : start + _HEAD.size + len(text)] = text
        _HEAD.pack_into(board, start, len(text))


def _before_fork() -> None:
    global _board, _forks
    if _board is None:
        _board = mmap.mmap(-1, _BYTES * _CHILDREN)
    _forks += 1


def _after_fork() -> None:
    global _board, _forks, _mine
    _mine = (_board, _forks - 1) if _board is not None and _forks <= _CHILDREN else None
    # A child's own children tell it.
    _board, _forks = None, 0
    util = sys.modules.get("multiprocessing.util")
    if util is not None and _mine is not None:
        # Its children leave by os._exit, and run this first; what is registered now, they forget as they start.
        util.register_after_fork(_mine[0], lambda _: util.Finalize(None, tell, exitpriority=1))
