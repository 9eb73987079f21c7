"""The submodules of a module, read without running code of its class; Keras keeps some of them separately."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from astcapture.record.torch import modules


def attributes_of(module: Any) -> dict[str, Any]:
    """The submodules of a module, read without running code of its class."""
    found: dict[str, Any] = object.__getattribute__(module, "__dict__")
    return found


def modules_in(module: Any) -> dict[str, Any]:
    return attributes_of(module).get("_modules") or {}


def children_of(module: Any) -> Iterator[tuple[str, Any]]:
    inside = [(name, child) for name, child in list(modules_in(module).items()) if child is not None]
    yield from inside
    known = {id(child) for _, child in inside}
    for layer in _keras_layers(module):
        if id(layer) not in known:
            yield str(attributes_of(layer).get("name")), layer


def _keras_layers(module: Any) -> list[Any]:
    """The layers that a Keras model tracks itself; torch does not know most of them."""
    layers = attributes_of(module).get("_layers")
    if not isinstance(layers, list) or not is_of_keras(module):
        return []
    return [layer for layer in layers if modules.is_module(layer)]


def is_of_keras(module: Any) -> bool:
    return "keras" in sys.modules and any(kind.__module__.startswith("keras.") for kind in type(module).__mro__)


def child_of(module: Any, name: str) -> Any:
    inside = modules_in(module)
    # In a scripted module it is not a dict.
    return inside[name] if name in inside else dict(children_of(module)).get(name)


def names_below(top: Any) -> list[tuple[str, ...]]:
    """The paths to a module and every module below it, in the order of ``named_modules``."""
    return [names for names, _ in walk(top)]


def below(top: Any) -> Iterator[Any]:
    """A module and every module below it, each once."""
    seen: set[int] = set()
    stack = [top]
    while stack:
        module = stack.pop()
        if id(module) not in seen:
            seen.add(id(module))
            yield module
            stack.extend(child for _, child in children_of(module))


def walk(top: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    stack: list[tuple[tuple[str, ...], Any, tuple[int, ...]]] = [((), top, ())]
    while stack:
        names, module, above = stack.pop()
        yield names, module
        if id(module) not in above:
            inside = list(children_of(module))
            stack.extend(((*names, name), child, (*above, id(module))) for name, child in reversed(inside))
