"""Fast copies of small containers of numbers, strings and the like, without checking each item."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from astcapture.record.snapshot import BY_REFERENCE

#: The largest number of items, so that a copy takes no more memory than the record itself.
MOST = 16

_changeless = BY_REFERENCE.issuperset


def _copy_tuple(value: tuple[Any, ...]) -> tuple[Any, ...] | None:
    return value if len(value) <= MOST and _changeless(map(type, value)) else None


def _copy_list(value: list[Any]) -> list[Any] | None:
    return value[:] if len(value) <= MOST and _changeless(map(type, value)) else None


def _copy_dict(value: dict[Any, Any]) -> dict[Any, Any] | None:
    return value.copy() if len(value) <= MOST and _changeless(map(type, value.values())) else None


#: By type: returns a copy, or None if the items need more work.
SMALL: dict[type, Callable[[Any], Any]] = {tuple: _copy_tuple, list: _copy_list, dict: _copy_dict}
