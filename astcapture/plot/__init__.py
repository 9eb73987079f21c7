"""How attention maps are drawn, with matplotlib.

Every function takes torch tensors (any device, any float type), NumPy arrays or `Records`, returns
the `Axes` or the `Figure`, and never calls `show()`. What is computed before it is drawn is in
`formulas`, as array functions of the same names.

Matplotlib is imported with the first function that is used.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from astcapture.plot import formulas
    from astcapture.plot.activation_maps import attention_map, grad_cam
    from astcapture.plot.cls_map import cls_attention
    from astcapture.plot.comparison import compare
    from astcapture.plot.effect_grid import effects
    from astcapture.plot.head_grid import heads
    from astcapture.plot.head_map import head
    from astcapture.plot.head_statistics import distance, entropy
    from astcapture.plot.image_overlay import overlay
    from astcapture.plot.layer_grid import layers
    from astcapture.plot.movie import animate
    from astcapture.plot.paper_style import paper
    from astcapture.plot.patch_map import patch_to_patch
    from astcapture.plot.rollout_map import rollout
    from astcapture.plot.token_map import tokens

#: The module of each function.
_HOMES = {
    "animate": "movie",
    "attention_map": "activation_maps",
    "cls_attention": "cls_map",
    "compare": "comparison",
    "distance": "head_statistics",
    "effects": "effect_grid",
    "entropy": "head_statistics",
    "grad_cam": "activation_maps",
    "head": "head_map",
    "heads": "head_grid",
    "layers": "layer_grid",
    "overlay": "image_overlay",
    "paper": "paper_style",
    "patch_to_patch": "patch_map",
    "rollout": "rollout_map",
    "tokens": "token_map",
}

__all__ = [
    "animate",
    "attention_map",
    "cls_attention",
    "compare",
    "distance",
    "effects",
    "entropy",
    "formulas",
    "grad_cam",
    "head",
    "heads",
    "layers",
    "overlay",
    "paper",
    "patch_to_patch",
    "rollout",
    "tokens",
]


def __getattr__(name: str) -> Any:
    if name == "formulas":
        return import_module("astcapture.plot.formulas")
    if name not in _HOMES:
        raise AttributeError(f"module 'astcapture.plot' has no attribute {name!r}")
    try:
        module = import_module(f"astcapture.plot.{_HOMES[name]}")
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in ("matplotlib", "PIL"):
            raise
        message = f"astcapture.plot.{name} needs {package}: pip install 'astcapture[plot]'"
        raise ModuleNotFoundError(message, name=error.name) from error
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
