"""Says once for each capture that an object kept by reference keeps an autograd graph alive.

A graph holds the activations of a whole forward pass, so that memory would grow with each record for no visible
reason. Objects are looked into as containers are, without running any code of theirs, and no further than is cheap.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from typing import Any

from astcapture.record.containers import attributes_of, values_in
from astcapture.record.snapshot import BY_REFERENCE
from astcapture.record.tensors import PLAIN_TENSORS, is_tensor
from astcapture.warn import warn

#: As many objects are looked at: the keys and values of a cache of 40 layers.
_ENOUGH = 200

_told: set[tuple[str, str, str]] = set()
# How often there was something to look at.
_looked: dict[tuple[str, str, str], int] = {}


def watch_reference(site: Any, value: Any) -> None:
    """Look at an object that is kept by reference at a site.

    Args:
        site: module, function, label and line; None where it is not known.
        value: the object.
    """
    if site is None or "torch" not in sys.modules:
        return
    where = module, function, label = site[:3]
    number = _looked[where] = _looked.get(where, 0) + 1
    # The first, the second, the fourth, the eighth: a model may be looked at in each layer of each step.
    if number & (number - 1) or where in _told or not holds_graph(value):
        return
    _told.add(where)  # first: a warning may run code that is captured itself
    warn(
        f"{module}:{function}: {label!r} holds a {type(value).__name__}, which is kept by reference: its tensors keep "
        "their autograd graph, and the memory of the forward pass, until cache.clear(). Capture the tensors themselves "
        "or pick them by reduce=, and copies without a graph are kept"
    )


def holds_graph(value: Any) -> bool:
    """Whether a tensor with a graph is found in an object, breadth first, among the nearest that it refers to."""
    waiting, seen = deque([value]), {id(value)}
    for _ in range(_ENOUGH):
        if not waiting:
            return False
        one = waiting.popleft()
        if is_tensor(one):
            # A subclass of somebody's may answer by code of its own.
            if type(one) in PLAIN_TENSORS and one.requires_grad and not one.is_leaf:
                return True
            continue
        for inner in _inside(one):
            if type(inner) not in BY_REFERENCE and id(inner) not in seen:
                seen.add(id(inner))
                waiting.append(inner)
    return False


def _inside(value: Any) -> Sequence[Any]:
    return (values_in(value) or attributes_of(value))[:_ENOUGH]
