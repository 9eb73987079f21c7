"""Small containers of numbers, strings and the like, copied where a look at each thing in them would cost too much."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from astcapture.record.snapshot import BY_REFERENCE

#: Things in one, so that it weighs no more than a record does by itself.
MOST = 16

_changeless = BY_REFERENCE.issuperset


def _copy_tuple(value: tuple[Any, ...]) -> tuple[Any, ...] | None:
    return value if len(value) <= MOST and _changeless(map(type, value)) else None


def _copy_list(value: list[Any]) -> list[Any] | None:
    return value[:] if len(value) <= MOST and _changeless(map(type, value)) else None


def _copy_dict(value: dict[Any, Any]) -> dict[Any, Any] | None:
    return value.copy() if len(value) <= MOST and _changeless(map(type, value.values())) else None


#: By type: gives a copy, or None where there is more to be done.
SMALL: dict[type, Callable[[Any], Any]] = {tuple: _copy_tuple, list: _copy_list, dict: _copy_dict}
