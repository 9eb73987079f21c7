"""Copies values at the moment of recording, so that later in-place changes do not affect them.

Tensors and arrays are copied; everything else is kept by reference. Neither torch nor numpy is
imported for this: a value can be theirs only if the program has imported them.
"""

from __future__ import annotations

import sys
from typing import Any

from astcapture.record.kinds import is_a
from astcapture.record.torch.tensors import copy_tensor, is_tensor

#: Built-in immutable types, whose values are kept by reference on the fast path.
BY_REFERENCE: frozenset[type] = frozenset(
    {
        type(None), bool, int, float, complex, str, bytes, range, slice, type, type(Ellipsis), type(len),
        type(lambda: None),
    }
)  # fmt: skip


def snapshot(value: Any) -> Any:
    """A copy of a tensor (detached) or array; any other value itself."""
    if is_tensor(value):
        return copy_tensor(value)
    return copy_array(value) if is_array(value) else value


def is_array(value: Any) -> bool:
    """Whether `value` is a numpy array of any class."""
    array = getattr(sys.modules.get("numpy"), "ndarray", None)
    return array is not None and is_a(value, array)


def copy_array(value: Any) -> Any:
    """A copy in the same memory layout."""
    return value.copy(order="K")
