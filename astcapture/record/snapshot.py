"""Copies of values, taken at the moment of recording, so that later changes in place do not reach them.

Tensors and arrays are copied; everything else is kept by reference. Neither torch nor numpy is
imported for it: a value can only be theirs if the program has imported them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from astcapture.record.tensors import copy_tensor

#: Types of the interpreter's own whose values are kept by reference: the fast path of the recorder.
BY_REFERENCE: frozenset[type] = frozenset(
    {
        type(None), bool, int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset,
        range, slice, type, type(Ellipsis), type(len), type(lambda: None),
    }
)  # fmt: skip

# Exact types seen before, so that the question is asked once for each. Only torch's and numpy's own
# types are put here: a class made inside a function must not be kept alive.
COPIERS: dict[type, Callable[[Any], Any]] = {}


def snapshot(value: Any) -> Any:
    """A copy of a tensor (detached) or array; anything else itself."""
    torch = sys.modules.get("torch")
    # Looked up with a default: torch may be half imported, or somebody's module of that name.
    tensor = getattr(torch, "Tensor", None)
    if tensor is not None and isinstance(value, tensor):
        if type(value).__module__.partition(".")[0] == "torch":
            COPIERS[type(value)] = copy_tensor
        return copy_tensor(value)
    array = getattr(sys.modules.get("numpy"), "ndarray", None)
    if array is not None and isinstance(value, array):
        if type(value) is array:
            COPIERS[array] = copy_array
        return copy_array(value)
    return value


def copy_array(value: Any) -> Any:
    """A copy in the same memory layout."""
    return value.copy(order="K")
