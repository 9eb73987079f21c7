"""Functions, classes and modules as targets: the names by which a target written as text would mean them."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from astcapture.errors import CaptureError
from astcapture.imports.model_targets import marked_function, marked_in_class, marked_or_known
from astcapture.imports.unwrap import INSIDE
from astcapture.record.torch import modules
from astcapture.record.torch.module_tree import attributes_of
from astcapture.record.torch.places import unwrapped

_WRAPPERS = (staticmethod, classmethod, property, functools.partial, functools.partialmethod, MethodType)


def as_texts(targets: Any) -> Any:
    """Targets with a text in the place of each object; what is no target is left for the parser to refuse.

    Raises:
        CaptureError: a function that no source file defines, or a model in which nothing can be captured.

    >>> import textwrap
    >>> as_texts({textwrap.dedent: "margin"})
    {'textwrap:dedent': 'margin'}
    """
    modules.find_torch()
    if isinstance(targets, str) or targets is None:
        return targets
    if isinstance(targets, Mapping):
        texts: dict[object, Any] = {}
        for key, captures in targets.items():
            for text in _texts_of(key, bool(captures)):
                texts[text] = _both(texts[text], captures) if text in texts else captures
        return texts
    if _is_object(targets):
        return list(_texts_of(targets, False))
    if isinstance(targets, Iterable) and not isinstance(targets, bytes):
        return [text for one in targets for text in _texts_of(one, False)]
    return targets


def _both(first: Any, second: Any) -> list[Any]:
    """The captures of two keys that mean the same function."""
    return [one for given in (first, second) for one in ([given] if isinstance(given, str) else given)]


def _is_object(one: Any) -> bool:
    return isinstance(one, (ModuleType, type, *_WRAPPERS)) or modules.is_module(one) or callable(one)


def _texts_of(one: Any, with_captures: bool) -> Sequence[object]:
    """The texts that mean the same as an object: one, or one for each function."""
    if isinstance(one, str) or not _is_object(one):
        return [one]
    if isinstance(one, ModuleType):
        return [f"{one.__name__}:*" if with_captures else one.__name__]
    if modules.is_module(one):
        one = unwrapped(one)
        own = attributes_of(one).get("forward")
        return [_name_of(own or type(one).forward, one)] if with_captures else marked_or_known(one)
    if isinstance(one, type):
        if not with_captures:
            return marked_in_class(one)
        forward = getattr(one, "forward", None)
        return [f"{one.__module__}:{one.__qualname__}.*" if forward is None else _name_of(forward, one)]
    text = _name_of(one, one)
    return [text] if with_captures else marked_function(text, _function_of(one))


def _function_of(one: Any) -> Any:
    """The function in what may be decorated, bound or partly applied."""
    return next((inner for inner in _inside(one) if isinstance(inner, FunctionType)), None)


def _name_of(one: Any, given: Any) -> str:
    """The text for a function, which may be decorated, bound or partly applied."""
    function = _function_of(one)
    if function is None:
        kind = "is compiled" if isinstance(one, (BuiltinFunctionType, type(len))) else "has no function"
        raise CaptureError(f"{_called(given)} {kind}: only a function with a def in a source file can be captured")
    code = function.__code__
    # A function may have been renamed; its code knows from Python 3.11 on what its def is called.
    qualname: str = getattr(code, "co_qualname", function.__qualname__)
    if code.co_name == "<lambda>":
        raise CaptureError(f"{_called(given)} is a lambda ({code.co_filename}:{code.co_firstlineno}): write a def")
    module = function.__globals__.get("__name__") or function.__module__
    return f"{module}:{qualname}"


def _inside(one: Any) -> Iterator[Any]:
    """What a callable wraps, the innermost first."""
    chain = [one]
    while len(chain) < _DEEPEST:
        last = chain[-1]
        names = INSIDE if isinstance(last, _WRAPPERS) or hasattr(last, "__wrapped__") else ()
        inner = next((found for name in names if (found := getattr(last, name, None)) is not None), None)
        if inner is None and not isinstance(last, (FunctionType, *_WRAPPERS)):
            inner = getattr(type(last), "__call__", None)  # noqa: B004
        if inner is None or any(inner is known for known in chain):
            break
        chain.append(inner)
    yield from reversed(chain)


#: An object may claim to wrap without end.
_DEEPEST = 20


def _called(one: Any) -> str:
    name = getattr(one, "__qualname__", None) or type(one).__qualname__
    module = getattr(one, "__module__", None)
    return f"{module}.{name}" if module else str(name)
