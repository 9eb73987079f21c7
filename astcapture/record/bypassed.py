"""Why a captured function did not run though its model did: what torch runs in its place is not Python.

Torch keeps lists of what it has scripted, which are its own affair; where they are not as expected,
nothing is said.
"""

from __future__ import annotations

import sys
from typing import Any

from astcapture.record import modules

# Whose work the fused kernels of `nn.MultiheadAttention` and `nn.TransformerEncoderLayer` do in eval mode.
_ATTENTION = ("torch.nn.functional", "torch.nn.modules.activation", "torch.nn.modules.transformer")
_FUSED = ("MultiheadAttention", "TransformerEncoderLayer")


def why_bypassed(module: str, qualname: str) -> str | None:
    """What ran in place of a function, and what to do about it; None where nothing is known of it."""
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    if _is_scripted(torch, module, qualname):
        return (
            "torch.jit.script compiled it from its source file, where no capture is: "
            "run the model as it is before it is scripted"
        )
    if module in _ATTENTION and _takes_the_fast_path(torch):
        return (
            "nn.MultiheadAttention and nn.TransformerEncoderLayer take a path in C++ that no Python sees, in eval "
            "mode without gradients: call torch.backends.mha.set_fastpath_enabled(False) first"
        )
    return None


def _is_scripted(torch: Any, module: str, qualname: str) -> bool:
    functions = getattr(getattr(torch.jit, "_state", None), "_jit_caching_layer", ())
    if any((one.__module__, one.__qualname__) == (module, qualname) for one in list(functions)):
        return True
    store = getattr(getattr(torch.jit, "_recursive", None), "concrete_type_store", None)
    return any(
        (kind.__module__, kind.__qualname__) == (module, qualname.rpartition(".")[0])
        for kind in list(getattr(store, "type_store", ()))
    )


def _takes_the_fast_path(torch: Any) -> bool:
    modules.find_torch()
    return bool(torch.backends.mha.get_fastpath_enabled()) and any(
        not one.training and any(kind.__name__ in _FUSED for kind in type(one).__mro__)
        for one in modules.live_modules()
    )
