"""Which targets the modules of a model need: the recipes that name their attention, and the marked functions."""

from __future__ import annotations

import ast
import linecache
import os
import sys
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from types import CodeType, FunctionType
from typing import Any

from astcapture.errors import CaptureError
from astcapture.imports.names import path_of
from astcapture.imports.quiet import parsed_quietly
from astcapture.imports.unwrap import functions_in
from astcapture.record.torch import modules
from astcapture.record.torch.module_tree import attributes_of, below
from astcapture.record.torch.places import unwrapped
from astcapture.rewrite.attention import attention_calls, attention_names
from astcapture.rewrite.find import Function, find_functions
from astcapture.rewrite.scope import function_scope
from astcapture.targets.map_names import is_like_a_map
from astcapture.targets.recipes import SIGN, reached_through, recipes
from astcapture.targets.target import Target, parse_targets

#: As many classes, and locals of each, an error lists.
_LISTED = 6


def attention_targets(model: Any) -> tuple[Target, ...]:
    """The targets that capture the attention of a model: those of recipes that name its classes, and its marks.

    Raises:
        CaptureError: no recipe knows an attention in it, and none of its functions is marked.
    """
    if not modules.is_module(model):
        raise CaptureError(_not_a_module(model))
    classes = _classes_of(model)
    found = [*_of_recipes(classes), *parse_targets(_marked(classes))]
    if not found:
        raise CaptureError(_why_unknown(model, classes))
    return tuple(found)


def marked_or_known(model: Any) -> tuple[str, ...]:
    """The marked functions of a model's classes as texts; where there are none, the targets of recipes.

    Raises:
        CaptureError: there is neither.
    """
    classes = _classes_of(model)
    found = _marked(classes) or [_text_of(target) for target in _of_recipes(classes)]
    if not found:
        raise CaptureError(_why_unknown(model, classes))
    return tuple(found)


def marked_function(text: str, function: FunctionType) -> tuple[str, ...]:
    """A function as a text, which has to be marked: nothing else says what to capture in it.

    Raises:
        CaptureError: it is not marked.
    """
    path, qualname = function.__code__.co_filename, text.partition(":")[2]
    known = [one for one in _functions_in(path, _changed(path), False) if one.qualname == qualname]
    if known and not any(one.markers for one in known):
        raise CaptureError(
            f"{qualname} is not marked with @capture: mark it, or name what to capture, "
            f'install({{{qualname}: ["attn"]}})'
        )
    return (text,)


def marked_in_class(kind: type) -> tuple[str, ...]:
    """The marked functions of a class and its bases as texts.

    Raises:
        CaptureError: there are none.
    """
    found = _marked(kind.__mro__)
    if not found:
        raise CaptureError(
            f"class {kind.__qualname__} has no function marked with @capture: mark one, or name what to capture, "
            f'install({{{kind.__qualname__}: ["attn"]}})'
        )
    return tuple(found)


def _text_of(target: Target) -> str:
    captures = ",".join(
        f"{one.label}:={one.expression}" if one.label != one.expression else one.label + _point(one.at)
        for one in target.captures
    )
    return f"{target.module}:{target.qualname}={captures}"


def _point(at: str) -> str:
    return "" if at == "return" else f"@{at}"


def _classes_of(model: Any) -> tuple[type, ...]:
    """The classes of a model's modules and of what these hold that is no module, with their bases."""
    found: dict[type, None] = {}
    for module in below(model):
        # The processors of diffusers are plain objects.
        for one in (module, *attributes_of(module).values()):
            found.update(dict.fromkeys(type(one).__mro__))
    return tuple(found)


# --- recipes


@cache
def _recipe_targets() -> tuple[Target, ...]:
    return parse_targets([SIGN + one.name for one in recipes()])


def _of_recipes(classes: Sequence[type]) -> list[Target]:
    """The targets of recipes that name these classes, or functions that they call, each for the one module."""
    names = dict.fromkeys(kind.__module__ for kind in classes)
    by_name: dict[str, list[type]] = {}
    for kind in classes:
        by_name.setdefault(kind.__qualname__, []).append(kind)
    mentioned = {name for kind in classes for name in _mentioned(kind)}
    found: dict[tuple[object, ...], Target] = {}
    for target in _recipe_targets():
        for module in _modules_of(target, by_name, names, mentioned):
            text = f"{target.recipe} ({module}:{target.text.partition(':')[2]}"
            found.setdefault((module, target.qualname, target.captures), replace(target, module=module, text=text))
    return list(found.values())


def _modules_of(
    target: Target, by_name: dict[str, list[type]], names: Iterable[str], mentioned: Container[str]
) -> list[str]:
    """The modules in which a target means a function that these classes define, or mention."""
    owner, _, method = (target.qualname or "").rpartition(".")
    if owner:
        kinds = [kind for kind in by_name.get(owner, ()) if method in vars(kind)]
        return [kind.__module__ for kind in kinds if target.matches_module(kind.__module__)]
    through = reached_through(f"{target.module}:{target.qualname}")
    if (through or method) not in mentioned:
        return []
    if through is not None:
        return [target.module] if target.module in sys.modules else []
    functions = [_global(name, method) for name in names]
    homes = [one.__module__ for one in functions if isinstance(one, FunctionType)]
    return [home for home in dict.fromkeys(homes) if target.matches_module(home)]


def _mentioned(kind: type) -> Iterator[str]:
    """The globals and attributes that the functions of a class mention."""
    waiting = [one.__code__ for value in vars(kind).values() for one in functions_in(value)]
    while waiting:
        code = waiting.pop()
        yield from code.co_names
        waiting += [one for one in code.co_consts if isinstance(one, CodeType)]


def _global(module: str, name: str) -> Any:
    return vars(sys.modules[module]).get(name) if module in sys.modules else None


# --- marks, and what looks like a map


def _marked(classes: Iterable[type]) -> list[str]:
    """The marked functions of classes, as texts."""
    return [
        f"{kind.__module__}:{function.qualname}"
        for kind in classes
        for function in _functions_of(kind, only_marked=True)
        if function.markers
    ]


def _functions_of(kind: type, only_marked: bool = False) -> list[Function]:
    """The functions in the body of a class, as its source file, or the cell of a notebook, has them."""
    path = _source_of(kind)
    if path is not None:
        functions = _functions_in(path, _changed(path), only_marked)
    else:
        names = {one.__code__.co_filename for value in vars(kind).values() for one in functions_in(value)}
        sources = ["".join(linecache.getlines(name)) for name in sorted(names)]
        functions = tuple(one for text in sources if text for one in _functions_of_source(text.encode(), ""))
    return [one for one in functions if one.qualname.rpartition(".")[0] == kind.__qualname__]


def _source_of(kind: type) -> str | None:
    module = sys.modules.get(kind.__module__)
    path = None if module is None else path_of(module)
    return path if path is not None and path.endswith(".py") else None


def _changed(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


@cache
def _functions_in(path: str, changed: int, only_marked: bool) -> tuple[Function, ...]:
    """The functions of a file as it is since `changed`; none where it is gone, or does not parse."""
    try:
        with open(path, "rb") as file:
            source = file.read()
        if only_marked and b"astcapture" not in source:
            return ()
        return _functions_of_source(source, path)
    except OSError:
        return ()


def _functions_of_source(source: bytes, path: str) -> tuple[Function, ...]:
    return tuple(find_functions(parsed_quietly(source, path) or ast.Module([], [])))


def _why_unknown(model: Any, classes: Sequence[type]) -> str:
    """That no recipe knows an attention here; and what the model is made of, with the locals that look like maps."""
    jit = getattr(sys.modules.get("torch"), "jit", None)
    if isinstance(model, getattr(jit, "ScriptModule", ())):
        compiled = type(model).__qualname__
        return f"torch.jit compiled this {compiled}, and left no Python to capture: pass the original model"
    name = type(unwrapped(model)).__qualname__
    likely = _likely(model, classes)
    own = _not_of_torch(classes)
    if likely:
        kind, function, maps = likely[0]
        target = f'{{"{kind.__module__}:{function.qualname}": "{maps[0]}"}}'
        reason = (
            "; its functions bind locals that look like maps: put @capture on them, or write "
            f"install({target}) and read astcapture.cache"
        )
    elif own:
        listed = ", ".join(dict.fromkeys(kind.__qualname__ for kind in own[:_LISTED]))
        reason = (
            f", and no local in its classes looks like a map ({listed}): `astcapture locals {own[0].__module__}` "
            "lists all of them"
        )
    else:
        reason = ": all of its modules are torch's own, and none is nn.MultiheadAttention"
    lines = [f"    {_in_a_line(*one)}" for one in likely[:_LISTED]]
    return "\n".join([f"no recipe knows an attention in {name}{reason}", *lines])


def not_captured(model: Any, targets: Sequence[Target]) -> list[str]:
    """The functions of a model's own classes that bind what looks like a map, and that these targets leave out.

    Classes of libraries that have recipes are not listed: their attention is known.
    """
    known = {"torch", *(one.library for one in recipes())}
    unknown = [kind for kind in _classes_of(model) if _library(kind) not in known]
    return [
        _in_a_line(kind, function, maps)
        for kind, function, maps in _likely(model, unknown)
        if not any(one.means(kind.__module__, function.qualname) for one in targets)
    ]


def _not_of_torch(classes: Iterable[type]) -> list[type]:
    """The module classes that are not torch's own."""
    return [kind for kind in classes if modules.is_module_type(kind) and _library(kind) != "torch"]


def _library(kind: type) -> str:
    return kind.__module__.partition(".")[0]


def _in_a_line(kind: type, function: Function, maps: Sequence[str]) -> str:
    where = f"{os.path.basename(_source_of(kind) or '')}:{function.node.lineno}"
    return f"{kind.__module__}:{function.qualname} ({where}): {', '.join(maps[:_LISTED])}"


def _likely(model: Any, classes: Sequence[type]) -> list[tuple[type, Function, list[str]]]:
    """The functions that the modules of a model run and that bind what looks like a map, with its names."""
    types = {type(module) for module in below(model)}
    return [
        (kind, function, maps)
        for kind in _not_of_torch(classes)
        for function, maps in _like_maps(kind)
        # One that is overridden is not run.
        if any(_defining(one, function.node.name) is kind for one in types)
    ]


def _defining(kind: type, name: str) -> type | None:
    return next((one for one in kind.__mro__ if name in vars(one)), None)


def _like_maps(kind: type) -> list[tuple[Function, list[str]]]:
    """The functions of a class with what in them may be a map: locals by their names, and fused attention."""
    found = []
    for function in _functions_of(kind):
        if not _may_be_run(function.node.name):
            continue
        scope = function_scope(function)
        names = [name for name in scope.bound if name not in scope.parameters and is_like_a_map(name)]
        if attention_calls(function.node, attention_names(ast.Module([function.node], []))):
            names.append("weights@sdpa")
        if names:
            found.append((function, names))
    return found


def _may_be_run(name: str) -> bool:
    """Whether a function of that name may compute attention, rather than build or load the model."""
    return name == "forward" or "atten" in name or "attn" in name


def _not_a_module(model: Any) -> str:
    """What to write where somebody hands over what holds a model, a pipeline say."""
    inside = [name for name, one in getattr(model, "__dict__", {}).items() if modules.is_module(one)]
    hint = f"; it holds one: write attention(x.{inside[0]})" if inside else ""
    what = f"the class {model.__qualname__}" if isinstance(model, type) else f"an object of {type(model).__qualname__}"
    return f"attention() takes a model, an nn.Module, not {what}{hint}"
