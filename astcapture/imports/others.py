"""The loaders of other tools that transform what is imported: typeguard's, beartype's, jaxtyping's, pytest's."""

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
    """Why a module that is not captured is not, where another tool loaded it."""
    tool = other_tool(loader)
    if tool is None:
        return None
    if isinstance(loader, SourceFileLoader):
        mend = "whose hook comes before astcapture's on sys.meta_path: call astcapture.install() after installing it"
    else:
        mend = "but only modules that SourceFileLoader loads from source can be rewritten"
    return f"{tool} loaded {module}, {mend}"


def source_to_code_of_another(loader: object) -> Callable[..., CodeType] | None:
    """How another tool's source loader compiles, trees too; None for Python's loaders and those of ours."""
    if not isinstance(loader, SourceFileLoader) or other_tool(loader) is None:
        return None
    return taking_trees(getattr(loader, "source_to_code_behind", None) or loader.source_to_code)


def taking_trees(source_to_code: Callable[..., CodeType]) -> Callable[..., CodeType]:
    """Another tool's method, for trees in place of source where it decodes what it is given as importlib does.

    What it does next is to parse, and Python's compiler hands a tree back as it is. The method itself is left
    alone: this is a copy whose `decode_source` lets trees pass.
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
