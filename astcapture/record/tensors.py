"""All that is known about torch. It is looked up among the imported modules and never imported."""

from __future__ import annotations

import sys
from typing import Any

#: Torch's own tensor types met so far: known by their exact type, a value needs no further question.
#: Types from elsewhere are not kept here, so that a class made inside a function is not kept alive.
PLAIN_TENSORS: set[type] = set()


def is_tensor(value: Any) -> bool:
    """Whether `value` is a torch tensor of any class."""
    # Looked up with a default: torch may be half imported, or somebody's module of that name.
    tensor = getattr(sys.modules.get("torch"), "Tensor", None)
    if not isinstance(tensor, type) or not isinstance(value, tensor):
        return False
    if type(value).__module__.partition(".")[0] == "torch":
        PLAIN_TENSORS.add(type(value))
    return True


def copy_tensor(value: Any) -> Any:
    """A tensor of the same values that shares no memory and no graph with `value`.

    Detaching costs a quarter of what copying a small tensor does, so it is left out where there is no graph.
    """
    return value.detach().clone() if value.requires_grad else value.clone()
