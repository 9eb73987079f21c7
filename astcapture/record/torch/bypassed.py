"""Finds out why a captured function did not run although its model did: other code ran in its place.

Torch keeps lists of scripted code, and transformers stores the attention implementation in a model's configuration.
Both are private details; if they look different than expected, no reason is given.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from functools import cached_property
from typing import Any

from astcapture.record.torch import modules, places

# The modules that the fused kernels of `nn.MultiheadAttention` and `nn.TransformerEncoderLayer` bypass in eval mode.
_ATTENTION = ("torch.nn.functional", "torch.nn.modules.activation", "torch.nn.modules.transformer")
_FUSED = ("MultiheadAttention", "TransformerEncoderLayer")
#: The functions of transformers' attention interface, and the implementation that calls each.
_IMPLEMENTATIONS = {"eager_attention_forward": "eager", "sdpa_attention_forward": "sdpa"}
#: At most this many layers are named.
_NAMED = 3


class Live:
    """The live modules, looked up once per summary."""

    @cached_property
    def modules(self) -> list[Any]:
        modules.find_torch()
        return modules.live_modules()

    @cached_property
    def implementations(self) -> dict[str, list[str]]:
        """The live transformers models, by their attention implementation."""
        found: dict[str, list[str]] = {}
        for one in self.modules:
            config = one.__dict__.get("config")
            name = getattr(config, "__dict__", {}).get("_attn_implementation_internal")
            if isinstance(name, str) and type(one).__module__.startswith("transformers"):
                kind = type(one).__name__
                models = found.setdefault(name, [])
                if places.is_topmost(one) and kind not in models:
                    models.append(kind)
        return {name: models for name, models in found.items() if models}

    @cached_property
    def on_the_fast_path(self) -> list[places.Where]:
        """The layers whose attention torch computes in C++ in eval mode without gradients."""
        torch = sys.modules.get("torch")
        if torch is None or not torch.backends.mha.get_fastpath_enabled():
            return []
        fused = [one for one in self.modules if not one.training and _is_fused(type(one))]
        inside = {id(part) for one in fused for part in one.modules() if part is not one}
        # Named is the attention inside a layer, whose values would have been recorded.
        outer = [one for one in fused if id(one) not in inside]
        return [places.where_of_module(getattr(one, "self_attn", one)) for one in outer]


def _is_fused(kind: type) -> bool:
    return any(one.__name__ in _FUSED for one in kind.__mro__)


def why_bypassed(module: str, qualname: str, live: Live) -> str | None:
    """What ran in place of a function, and what to do about it; None if unknown."""
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    if _is_scripted(torch, module, qualname):
        return (
            "torch.jit.script compiled it from its source file, which contains no captures: "
            "run the model without torch.jit.script"
        )
    if module in _ATTENTION and live.on_the_fast_path:
        return _FAST_PATH
    wanted = _IMPLEMENTATIONS.get(qualname) if module.startswith("transformers.") else None
    if wanted is not None and live.implementations and wanted not in live.implementations:
        runs = "; ".join(
            f"{', '.join(models)} {'use' if len(models) > 1 else 'uses'} {name!r}"
            for name, models in live.implementations.items()
        )
        return (
            f"it runs only with attn_implementation={wanted!r}, and {runs}: "
            f"call model.set_attn_implementation({wanted!r}) to capture it"
        )
    return None


_FAST_PATH = (
    "in eval mode without gradients, nn.MultiheadAttention and nn.TransformerEncoderLayer use a fast path in C++, "
    "which runs no Python: call torch.backends.mha.set_fastpath_enabled(False) first"
)


def also_bypassed(module: str, found: Collection[tuple[str, str]], live: Live) -> str | None:
    """For a function that ran in some layers of a model: the layers of that model that torch ran in C++."""
    if module not in _ATTENTION:
        return None
    models = {model for _, model in found}
    without = [where.layer for where in live.on_the_fast_path if where.model in models and where not in found]
    if not without:
        return None
    listed = ", ".join(without[:_NAMED]) + (f" and {len(without) - _NAMED} more" if without[_NAMED:] else "")
    return f"no values from {listed}: {_FAST_PATH}"


def _is_scripted(torch: Any, module: str, qualname: str) -> bool:
    functions = getattr(getattr(torch.jit, "_state", None), "_jit_caching_layer", ())
    if any((one.__module__, one.__qualname__) == (module, qualname) for one in list(functions)):
        return True
    store = getattr(getattr(torch.jit, "_recursive", None), "concrete_type_store", None)
    return any(
        (kind.__module__, kind.__qualname__) == (module, qualname.rpartition(".")[0])
        for kind in list(getattr(store, "type_store", ()))
    )
