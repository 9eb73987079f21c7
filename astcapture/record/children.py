"""Forked processes report how many values they recorded to their parent when they end, in shared memory.

The values themselves go to a store. Without a store they are lost with the process, and the parent can report that.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import sys
from collections.abc import Callable, Mapping

#: The bytes for each child, and the number of children with a place; further children report nothing.
_BYTES, _CHILDREN = 2048, 128
_HEAD = struct.Struct("<I")

_board: mmap.mmap | None = None
_forks = 0
_mine: tuple[mmap.mmap, int] | None = None
_counts: Callable[[], Mapping[str, int]] | None = None


def watch(counts: Callable[[], Mapping[str, int]]) -> None:
    """From now on every fork reports at its end how many values it has for each function, as `counts` returns."""
    global _counts
    if _counts is None and hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_before_fork, after_in_child=_after_fork)
    _counts = counts


def told() -> dict[str, list[tuple[int, int]]]:
    """For each function, the processes that reported values, with their number."""
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
    # Children of a child report to that child.
    _board, _forks = None, 0
    util = sys.modules.get("multiprocessing.util")
    if util is not None and _mine is not None:
        # Its children end with os._exit after running these finalizers; they clear the list when they start.
        util.register_after_fork(_mine[0], lambda _: util.Finalize(None, tell, exitpriority=1))
