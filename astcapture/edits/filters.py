"""Which layers and executions an edit is for: ``layer`` and ``call`` as in ``select``."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from typing import Any

from astcapture.errors import EditError

#: Numbers of several layers or executions.
_SEVERAL = (list, tuple, set, frozenset, range)


def check(name: str, wanted: Any) -> None:
    """Raise `EditError` for a filter that cannot be answered while the program runs."""
    kinds = "a pattern, a number, a range or a list" if name == "layer" else "a number, a range or a list"
    example = 'layer="blocks.4.*"' if name == "layer" else "call=0"
    if isinstance(wanted, str) and name == "layer":
        return
    if isinstance(wanted, slice):
        negative = any(part is not None and part < 0 for part in (wanted.start, wanted.stop, wanted.step))
        numbers: Sequence[Any] = () if negative is False else (-1,)
    elif isinstance(wanted, _SEVERAL):
        numbers = list(wanted)
    else:
        numbers = [wanted]
    for one in numbers:
        if isinstance(one, str) and name == "layer":
            continue
        if isinstance(one, bool) or not isinstance(one, int):
            raise EditError(f"edit({name}={wanted!r}): {name} is {kinds}: write {example}")
        if one < 0:
            reason = f"while the program runs it is not known which {name} is the last: count from 0"
            raise EditError(f"edit({name}={wanted!r}): {reason}")


def takes(wanted: Any, number: Callable[[], int | None], name: str | None = None) -> bool:
    """Whether a filter takes a layer or an execution, given its number from 0 and the layer's path.

    >>> takes("blocks.*", lambda: 3, "blocks.3.attn"), takes(range(3), lambda: 3), takes([3], lambda: 3)
    (True, False, True)
    """
    if wanted is None:
        return True
    if isinstance(wanted, str):
        return name is not None and fnmatch.fnmatchcase(name, wanted)
    if isinstance(wanted, slice):
        count = number()
        return count is not None and count in range(*wanted.indices(count + 1))
    if isinstance(wanted, _SEVERAL):
        return any(takes(one, number, name) for one in wanted)
    return bool(number() == wanted)
