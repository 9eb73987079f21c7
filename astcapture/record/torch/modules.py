"""Finds ``nn.Module`` objects: live ones, and running ones by the frames of ``nn.Module._call_impl``."""

from __future__ import annotations

import sys
from types import CodeType, FrameType
from typing import Any

from astcapture.record.live import live_objects
from astcapture.record.torch import checkpoint

# `nn.Module`, and the code of its `_call_impl`, once torch is imported.
_base: type | None = None
_call: CodeType | None = None


def find_torch() -> bool:
    """Look for torch among the imported modules; False while it has no ``nn.Module``."""
    global _base, _call
    _base = getattr(sys.modules.get("torch.nn.modules.module"), "Module", None)
    _call = getattr(getattr(_base, "_call_impl", None), "__code__", None)
    checkpoint.find()
    return _call is not None


def is_found() -> bool:
    """Whether `find_torch` has found it."""
    return _base is not None


def is_module(value: Any) -> bool:
    """Whether `value` is a module, by its type only: reading ``__class__`` can run its own code."""
    return _base is not None and issubclass(type(value), _base)


def is_module_type(kind: Any) -> bool:
    """Whether a class derives from ``nn.Module``."""
    return _base is not None and type.__subclasscheck__(_base, kind)


def live_modules() -> list[Any]:
    """Every live module of the process."""
    return [] if _base is None else live_objects(type.__subclasscheck__.__get__(_base))


def running(frame: FrameType | None) -> list[Any]:
    """The modules that are running at `frame`, the innermost first."""
    found = []
    while frame is not None:
        if frame.f_code is _call:
            found.append(frame.f_locals["self"])
        frame = frame.f_back
    return found


def nearest(frame: FrameType | None) -> Any:
    """The innermost module running at `frame`; None outside any."""
    while frame is not None:
        if frame.f_code is _call:
            return frame.f_locals["self"]
        frame = frame.f_back
    return None
