"""torchvision on a torch without CUDA: the wheel's compiled part does not load, and its import stops at the operators.

Once they are declared, without arguments and without kernels, the part that is written in Python imports
and runs, and so do timm and transformers, which import it. The detection operators themselves do not work.
"""

from __future__ import annotations

import importlib.util

import torch

_OPERATORS = ["nms", "qnms", "qroi_align", "box_iou_rotated", "deform_conv2d", "_deform_conv2d_backward"]
_OPERATORS += [f"{name}{kind}" for name in ("roi", "ps_roi") for kind in ("_align", "_pool")]
_OPERATORS += [f"_{name}{kind}_backward" for name in ("roi", "ps_roi") for kind in ("_align", "_pool")]
_library: torch.library.Library | None = None


def declare() -> None:
    """Declare the operators where they are missing; to be called before anything imports torchvision."""
    global _library
    if _library is None and importlib.util.find_spec("torchvision") and not hasattr(torch.ops.torchvision, "nms"):
        _library = torch.library.Library("torchvision", "DEF")  # lives as long as what it declares
        for name in _OPERATORS:
            _library.define(f"{name}() -> ()")
