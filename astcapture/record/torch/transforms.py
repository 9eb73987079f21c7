"""Unwraps tensors inside ``torch.func`` transforms.

A wrapper tensor is useless after its transform has ended. It wraps an ordinary tensor, for ``vmap`` with an extra
dimension; that dimension is moved to the front, the outermost ``vmap`` first.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any


def is_wrapped(tensor: Any) -> bool:
    """Whether a transform wraps this tensor."""
    functorch = getattr(sys.modules.get("torch._C"), "_functorch", None)
    return functorch is not None and bool(functorch.is_functorch_wrapped_tensor(tensor))


def outside(wrapped: bool = True) -> AbstractContextManager[Any]:
    """A context in which operations run as if no transform were active."""
    home = sys.modules.get("torch._functorch.pyfunctorch") if wrapped else None
    return nullcontext() if home is None else home.temporarily_clear_interpreter_stack()


def unwrap(tensor: Any) -> Any:
    """The plain tensor, detached, with every mapped dimension in front; to be called `outside`."""
    depth, axes = wrapping(tensor)
    tensor = taken_out(tensor, depth).detach()
    return tensor.permute(axes) if axes else tensor


def wrapping(tensor: Any) -> tuple[int, tuple[int, ...]]:
    """How many transforms wrap a tensor, and the order of axes that moves every mapped one to the front."""
    functorch = sys.modules["torch._C"]._functorch
    depth, mapped = 0, []
    while functorch.is_functorch_wrapped_tensor(tensor):
        if functorch.is_batchedtensor(tensor):
            mapped.append(functorch.maybe_get_bdim(tensor))
        depth, tensor = depth + 1, functorch.get_unwrapped(tensor)
    axes = list(range(tensor.dim()))
    front = [axes.pop(axis) for axis in reversed(mapped)]
    return depth, (*front, *axes)


def taken_out(tensor: Any, depth: int) -> Any:
    """The tensor inside this many wrappers."""
    functorch = sys.modules["torch._C"]._functorch
    for _ in range(depth):
        tensor = functorch.get_unwrapped(tensor)
    return tensor
