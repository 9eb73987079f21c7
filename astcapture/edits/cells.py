"""Tensors in which compiled code counts, as attributes of this module.

The compiler reads a dict or list once while it traces; an attribute of a module it reads each time, so that more can be
added meanwhile.
"""

from __future__ import annotations

from typing import Any

_names: dict[tuple[Any, ...], str] = {}


def cell(key: tuple[Any, ...], dtype: str, device: Any = "cpu") -> str:
    """The name of the attribute for a key; a tensor without a dimension, zero at first."""
    import torch

    name = _names.get(key)
    if name is None:
        name = _names[key] = f"cell_{len(_names)}"
        tensor = globals()[name] = torch.zeros((), dtype=getattr(torch, dtype), device=device)
        # It is always the same tensor, so compiled code need not look at it before each run.
        torch._dynamo.mark_static_address(tensor)
    return name


def content(key: tuple[Any, ...]) -> Any:
    """The tensor for a key; None if there is none."""
    name = _names.get(key)
    return None if name is None else globals()[name]


def reset(key: tuple[Any, ...]) -> None:
    """Count from zero again; compiled code keeps its tensor."""
    tensor = content(key)
    if tensor is not None:
        tensor.zero_()
