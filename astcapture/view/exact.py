"""Which maps are kept exactly."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from astcapture.errors import CaptureError
from astcapture.view.plan import Entry


def exact_heads(exact: Sequence[tuple[int | str, int]], entries: Sequence[Entry]) -> set[tuple[int, int, int]]:
    """(series, layer, head) of the maps that are kept exactly."""
    found: set[tuple[int, int, int]] = set()
    for layer, head in exact:
        before = len(found)
        names: dict[str, None] = {}
        heads = 0
        for one in entries:
            name = list(one.series.layers)[one.layer]
            names[name] = None
            numbers = [one.layer, one.layer - len(one.series.layers)]
            matches = layer in numbers if isinstance(layer, int) else fnmatch.fnmatchcase(name, layer)
            if matches:
                heads = max(heads, one.heads)
                if -one.heads <= head < one.heads:
                    found.add((id(one.series), one.layer, head % one.heads))
        if len(found) == before and heads:
            raise CaptureError(f"exact: layer {layer} has {heads} heads, 0 to {heads - 1}, and {head} is none of them")
        if len(found) == before:
            raise CaptureError(f"exact: there is no layer {layer!r}; layers here: {_some(list(names))}")
    return found


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
