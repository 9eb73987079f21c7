"""What stands behind our bytecode in its file: whether the file is whole, and which state of the source it was made of.

Python reads a code object and ignores what comes after it.
"""

from __future__ import annotations

import os
import time
from importlib.util import source_hash

_FIELD = 8
_SIZE = 3 * _FIELD
# Two, since code repeats itself: at the steps of one alone there may be nothing but zeros all the way.
_STEPS = 29, 31
# A file's times are as coarse as two seconds on some file systems: within them, an edit may leave no trace.
_COARSE = 2 * 10**9
#: The state of a source that cannot be told from a later one.
UNKNOWN = bytes(_FIELD)


def state_of(path: str) -> bytes:
    """What changes whenever a file does, eight bytes: its times in nanoseconds, its size, which file it is.

    `UNKNOWN` where it was changed just now, or in the future, or is no file.
    """
    try:
        found = os.stat(path)
    except OSError:
        return UNKNOWN
    changed = max(found.st_mtime_ns, found.st_ctime_ns)
    if changed > time.time_ns() - _COARSE:
        return UNKNOWN
    return source_hash(repr((found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev)).encode())


def seal(bytecode: bytes, state: bytes) -> bytes:
    """The bytecode, with what stands behind it.

    It is no signature: who can write to ``__pycache__`` can write this too. Python looks for no damage in its own.
    """
    return bytecode + state + _checks(bytecode, state)


def is_whole(sealed: bytes) -> bool:
    """False for a file that was cut short, or has a block of something else: a disk was full, a machine went down."""
    end = len(sealed) - _SIZE
    return end >= 0 and sealed[end + _FIELD :] == _checks(sealed, sealed[end : end + _FIELD], end)


def made_of(sealed: bytes) -> bytes:
    """The state of the source, as of when it was compiled."""
    return sealed[-_SIZE : _FIELD - _SIZE]


def _checks(bytecode: bytes, state: bytes, end: int | None = None) -> bytes:
    """Its length and a digest of every so many bytes, since one of all would be a thirtieth of a warm import."""
    size = len(bytecode) if end is None else end
    looked_at = b"".join(bytecode[:end:step] for step in _STEPS)
    return size.to_bytes(_FIELD, "little") + source_hash(looked_at + state)
