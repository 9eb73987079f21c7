"""What kind of thing a value is, by its type alone.

`isinstance` asks an object for its ``__class__`` where its type does not say it, and so can run code of
the user's: in the middle of a function of theirs, and without end if that code is captured itself.
"""

from __future__ import annotations

from typing import Any


def is_a(value: Any, kind: type | tuple[type, ...]) -> bool:
    """Whether the type of `value` is `kind`, or one of those kinds, or derives from it.

    >>> is_a(True, int), is_a(1, bool)
    (True, False)
    """
    return issubclass(type(value), kind)
