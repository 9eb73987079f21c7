"""Checks for and copies torch tensors. Torch is looked up among the imported modules and never imported."""

from __future__ import annotations

import sys
from typing import Any

#: Torch's own tensor types seen so far, so that a value with exactly such a type needs no other check. Other types are
#: not added, so that a class defined inside a function is not kept alive.
PLAIN_TENSORS: set[type] = set()


def is_tensor(value: Any) -> bool:
    """Whether `value` is a torch tensor of any class."""
    return is_tensor_type(type(value))


def is_tensor_type(kind: Any) -> bool:
    """Whether `kind` is the type of torch's tensors, or one that derives from it."""
    # Looked up with a default: torch may be partly imported, or be another module of that name.
    tensor = getattr(sys.modules.get("torch"), "Tensor", None)
    if not isinstance(tensor, type) or not issubclass(kind, tensor):
        return False
    if kind.__module__.partition(".")[0] == "torch" and not _computes_itself(kind, tensor):
        PLAIN_TENSORS.add(kind)
    return True


def _computes_itself(kind: Any, tensor: Any) -> bool:
    """Whether a tensor class differs from torch's own in how it keeps data: it may have none, or several tensors."""
    return kind.__torch_dispatch__ is not tensor.__torch_dispatch__


def copy_tensor(value: Any) -> Any:
    """A tensor with the same values that shares no memory and no graph with `value`.

    Detaching takes a quarter of the time of copying a small tensor, so it is skipped if there is no graph.
    """
    return value.detach().clone() if value.requires_grad else value.clone()
