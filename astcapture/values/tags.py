"""Which tags hold for which thread.

A tag holds for the thread that opened it. A thread without tags of its own takes those of the only
thread that has some, as the workers of ``nn.DataParallel`` must; with several it takes none.
"""

from __future__ import annotations

from _thread import get_ident
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

_NONE: Mapping[str, Any] = MappingProxyType({})
# The open blocks of each thread, outermost first, each with all that it inherits.
_open: dict[int, list[Mapping[str, Any]]] = {}


def open_tags(tags: Mapping[str, Any]) -> Callable[[], None]:
    """Open a block of tags in this thread; the function that comes back closes it."""
    thread = get_ident()
    outer = _open.get(thread, [])
    block: Mapping[str, Any] = MappingProxyType({**(outer[-1] if outer else {}), **tags})
    _open[thread] = [*outer, block]

    def close() -> None:
        remaining = [one for one in _open.get(thread, []) if one is not block]
        if remaining:
            _open[thread] = remaining
        else:
            _open.pop(thread, None)

    return close


def tags_of(thread: int) -> Mapping[str, Any]:
    """The tags that hold for what `thread` records now."""
    if not _open:
        return _NONE
    stack = _open.get(thread)
    if stack is None and len(_open) == 1:
        stack = next(iter(_open.values()), None)
    return stack[-1] if stack else _NONE
