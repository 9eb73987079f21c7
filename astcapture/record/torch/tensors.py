"""All that is known about torch. It is looked up among the imported modules and never imported."""

from __future__ import annotations

import sys
from typing import Any

#: Torch's own tensor types met so far: known by their exact type, a value needs no further question.
#: Types from elsewhere are not kept here, so that a class made inside a function is not kept alive.
PLAIN_TENSORS: set[type] = set()


def is_tensor(value: Any) -> bool:
    """Whether `value` is a torch tensor of any class."""
    return is_tensor_type(type(value))


def is_tensor_type(kind: Any) -> bool:
    """Whether `kind` is the type of torch's tensors, or one that derives from it."""
    # Looked up with a default: torch may be half imported, or somebody's module of that name.
    tensor = getattr(sys.modules.get("torch"), "Tensor", None)
    if not isinstance(tensor, type) or not issubclass(kind, tensor):
        return False
    if kind.__module__.partition(".")[0] == "torch" and not _computes_itself(kind, tensor):
        PLAIN_TENSORS.add(kind)
    return True


def _computes_itself(kind: Any, tensor: Any) -> bool:
    """Whether a class of tensors does more than torch's own on its data: it may hold none, or more than one."""
    return kind.__torch_dispatch__ is not tensor.__torch_dispatch__


def copy_tensor(value: Any) -> Any:
    """A tensor of the same values that shares no memory and no graph with `value`.

    Detaching costs a quarter of what copying a small tensor does, so it is left out where there is no graph.
    """
    return value.detach().clone() if value.requires_grad else value.clone()
