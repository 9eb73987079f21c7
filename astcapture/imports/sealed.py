"""Data appended to our bytecode files: a check against damage, and the state of the source that was compiled.

Python reads the code object and ignores what comes after it.
"""

from __future__ import annotations

import os
import time
from importlib.util import source_hash

_FIELD = 8
_SIZE = 3 * _FIELD
# Two step sizes, since bytecode is repetitive: with one, every byte that is read could be zero.
_STEPS = 29, 31
# Some file systems store times with a resolution of two seconds; an edit within them may not be visible.
_COARSE = 2 * 10**9
#: The state of a source that cannot be distinguished from a later one.
UNKNOWN = bytes(_FIELD)


def state_of(path: str) -> bytes:
    """Eight bytes that change when the file changes: from its times in nanoseconds, its size, and which file it is.

    `UNKNOWN` if the file changed just now or in the future, or does not exist.
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
    """The bytecode with the appended data.

    This is not a signature: anyone who can write to ``__pycache__`` can write this too. Python does not check its own
    bytecode for damage.
    """
    return bytecode + state + _checks(bytecode, state)


def is_whole(sealed: bytes) -> bool:
    """False for a truncated or partly overwritten file, for example after a full disk or a crash."""
    end = len(sealed) - _SIZE
    return end >= 0 and sealed[end + _FIELD :] == _checks(sealed, sealed[end : end + _FIELD], end)


def made_of(sealed: bytes) -> bytes:
    """The state of the source when it was compiled."""
    return sealed[-_SIZE : _FIELD - _SIZE]


def _checks(bytecode: bytes, state: bytes, end: int | None = None) -> bytes:
    """The length, and a digest of a sample of the bytes; of all bytes it would cost 3 % of a warm import."""
    size = len(bytecode) if end is None else end
    looked_at = b"".join(bytecode[:end:step] for step in _STEPS)
    return size.to_bytes(_FIELD, "little") + source_hash(looked_at + state)
