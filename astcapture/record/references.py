"""Objects that are kept by reference, and the tensors that they keep alive.

Attributes and contents are read without running their code, and only within a few steps. Modules are skipped: the
program keeps its model alive anyway.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from astcapture.record.containers import attributes_of, is_module_type, values_in
from astcapture.record.snapshot import BY_REFERENCE
from astcapture.record.torch.tensors import PLAIN_TENSORS, is_tensor

#: The number of objects to visit: enough for the keys and values of a cache of 40 layers.
_ENOUGH = 200


def tensors_behind(value: Any) -> Iterator[Any]:
    """The tensors among the nearest objects that an object refers to, breadth first."""
    if "torch" not in sys.modules:
        return
    waiting, seen = deque([value]), {id(value)}
    for _ in range(_ENOUGH):
        if not waiting:
            return
        one = waiting.popleft()
        if is_tensor(one):
            yield one
            continue
        for inner in _inside(one):
            if type(inner) not in BY_REFERENCE and id(inner) not in seen:
                seen.add(id(inner))
                waiting.append(inner)


def keeps_graph(value: Any) -> bool:
    """Whether an object keeps a tensor with an autograd graph alive."""
    # A subclass of somebody's may answer by code of its own.
    return any(
        type(tensor) in PLAIN_TENSORS and tensor.requires_grad and not tensor.is_leaf
        for tensor in tensors_behind(value)
    )


def _inside(value: Any) -> Sequence[Any]:
    if is_module_type(type(value)):
        return ()
    return (values_in(value) or attributes_of(value))[:_ENOUGH]
