"""Checks the type of a value without running code of its class.

`isinstance` may read ``__class__`` of the object and so run code of the user in the middle of their function, and
recurse without end if that code is captured itself.
"""

from __future__ import annotations

from typing import Any


def is_a(value: Any, kind: type | tuple[type, ...]) -> bool:
    """Whether the type of `value` is `kind`, or one of those kinds, or derives from it.

    >>> is_a(True, int), is_a(1, bool)
    (True, False)
    """
    return issubclass(type(value), kind)
