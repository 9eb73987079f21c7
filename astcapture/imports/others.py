"""Loaders of other tools that transform imported modules: typeguard, beartype, jaxtyping, pytest."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Callable
from importlib.machinery import ExtensionFileLoader, SourceFileLoader, SourcelessFileLoader
from types import CodeType, FunctionType, MethodType
from typing import Any

_OF_PYTHON = (SourceFileLoader, SourcelessFileLoader, ExtensionFileLoader)


def other_tool(loader: object) -> str | None:
    """The full name of a loader's class, if it is neither Python's nor ours."""
    kind = getattr(loader, "_composed", None) or type(loader)
    if loader is None or isinstance(loader, type) or kind in _OF_PYTHON:
        return None
    name = f"{kind.__module__}.{kind.__qualname__}"
    return None if name.startswith(("astcapture.", "importlib.", "_frozen_importlib", "zipimport.")) else name


def taken_by_another(loader: object, module: str) -> str | None:
    """Why a module is not captured, if another tool loaded it; else None."""
    tool = other_tool(loader)
    if tool is None:
        return None
    if isinstance(loader, SourceFileLoader):
        mend = "whose hook comes before astcapture's on sys.meta_path: call astcapture.install() after installing it"
    else:
        mend = "but only modules that SourceFileLoader loads from source can be rewritten"
    return f"{tool} loaded {module}, {mend}"


def source_to_code_of_another(loader: object) -> Callable[..., CodeType] | None:
    """The compile method of another tool's source loader, for source and trees; None for Python's loaders and ours."""
    if not isinstance(loader, SourceFileLoader) or other_tool(loader) is None:
        return None
    return taking_trees(getattr(loader, "source_to_code_behind", None) or loader.source_to_code)


def taking_trees(source_to_code: Callable[..., CodeType]) -> Callable[..., CodeType]:
    """Another tool's compile method, made to accept trees if it decodes its source with importlib's function.

    After decoding, it parses, and Python's compiler returns a tree unchanged. The method itself does not change: this
    is a copy whose `decode_source` lets trees through.
    """
    function = getattr(source_to_code, "__func__", source_to_code)
    if not isinstance(function, FunctionType):
        return source_to_code
    names = function.__globals__
    if names.get("decode_source") is not importlib.util.decode_source:
        return source_to_code
    names = {**names, "decode_source": _decoded_unless_parsed}
    copy = FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return MethodType(copy, source_to_code.__self__) if isinstance(source_to_code, MethodType) else copy


def _decoded_unless_parsed(data: Any) -> Any:
    return data if isinstance(data, ast.AST) else importlib.util.decode_source(data)
