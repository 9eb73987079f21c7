"""All that is known about torch. It is looked up on the tensors themselves and never imported."""

from __future__ import annotations

from typing import Any


def copy_tensor(value: Any) -> Any:
    """A tensor of the same values that shares no memory and no graph with `value`.

    Detaching costs as much as copying a small tensor, so it is left out where there is no graph.
    """
    return value.detach().clone() if value.requires_grad else value.clone()
