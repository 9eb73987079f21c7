"""Tensors inside ``torch.func`` transforms, as the plain tensors that they wrap.

A wrapper means nothing once its transform has ended. What it holds is an ordinary tensor, for ``vmap``
with the mapped dimension among its own; that one is put in front, the outermost ``vmap`` first.
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
    """A context in which tensors are computed with as if no transform were running."""
    home = sys.modules.get("torch._functorch.pyfunctorch") if wrapped else None
    return nullcontext() if home is None else home.temporarily_clear_interpreter_stack()


def unwrap(tensor: Any) -> Any:
    """The plain tensor, detached, with every mapped dimension in front; to be called `outside`."""
    depth, axes = wrapping(tensor)
    tensor = taken_out(tensor, depth).detach()
    return tensor.permute(axes) if axes else tensor


def wrapping(tensor: Any) -> tuple[int, tuple[int, ...]]:
    """How many transforms wrap a tensor, and the axes of what it holds with every mapped one in front."""
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
    """What a tensor holds, inside as many transforms."""
    functorch = sys.modules["torch._C"]._functorch
    for _ in range(depth):
        tensor = functorch.get_unwrapped(tensor)
    return tensor
