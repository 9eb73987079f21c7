"""Finds where a function is defined if the target names a module that only imports it. Sources are read, not run."""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import replace

from astcapture.errors import CaptureError
from astcapture.imports.modules import find_module
from astcapture.imports.quiet import parsed_quietly
from astcapture.rewrite.compilers import COMPILERS, HEADS, handed_on
from astcapture.rewrite.elsewhere import Moved, absolute, moved
from astcapture.rewrite.find import find_functions
from astcapture.rewrite.planned import Plan
from astcapture.targets.target import Target


def followed(target: Target, places: Sequence[Moved]) -> Target:
    """The target of the module that defines what `target` names, given what its own module imports.

    Raises:
        CaptureError: the imports do not lead to a ``def``; the message says where the search ended.
    """
    asked: set[Moved] = set()
    found = next((end for place in places if (end := _end(place, asked)) is not None), None)
    if found is None:
        module, qualname = places[0]
        raise CaptureError(
            f"target {target.text!r}: {target.module} imports {target.qualname} from {module}, but no source file "
            f"that defines it was found: name the module that defines it, MODULE:{qualname}"
        )
    module, qualname = found
    captures = target.text.partition("=")[2]
    text = f"{module}:{qualname}={captures}" if captures else f"{module}:{qualname}"
    return replace(target, module=module, qualname=qualname, text=text)


def check_moved(plan: Plan) -> None:
    """Check, while a module is compiled, that the definition of each target which it only imports is found.

    Raises:
        CaptureError: as `followed` does.
    """
    for target, places in plan.moved:
        try:
            followed(target, places)
        except CaptureError as error:
            raise CaptureError(f"{plan.filename}: {error}") from None


def compiles(path: str, module: str, filename: str) -> str | None:
    """Why a function is not rewritten: a decorator that `module` imports at `path` passes it to a compiler."""
    source, _, name = absolute(path, module, filename).rpartition(".")
    head = source.partition(".")[0]
    # The decorators of these packages are known.
    if not source or head in HEADS or head in sys.stdlib_module_names:
        return None
    if (source, name) not in _known:
        _known[source, name] = _compiles(source, name, set())
    return _known[source, name]


# The import names of the compilers. Modules that mention none of them are not parsed.
_WORDS = re.compile(b"|".join(prefix.encode() for prefix in COMPILERS))
_known: dict[tuple[str, str], str | None] = {}


def _compiles(module: str, name: str, asked: set[Moved]) -> str | None:
    text = _text(module) if (module, name) not in asked else None
    asked.add((module, name))
    if text is None:
        return None
    leads_on = os.path.basename(text[0]) == "__init__.py"
    tree = parsed_quietly(text[1], text[0]) if leads_on or _WORDS.search(text[1]) else None
    if tree is None:
        return None
    reason = handed_on(tree, name, os.environ)
    places = moved(tree, module, text[0], name) if reason is None else ()
    return reason or next((found for place in places if (found := _compiles(*place, asked)) is not None), None)


def _end(place: Moved, asked: set[Moved]) -> Moved | None:
    """The place at the end of a chain of imports; None if it breaks off or is circular."""
    if place in asked:
        return None
    asked.add(place)
    module, qualname = place
    source = _source(module)
    if source is not None:
        path, tree = source
        if any(function.qualname == qualname for function in find_functions(tree)):
            return place
        for further in moved(tree, module, path, qualname):
            end = _end(further, asked)
            if end is not None:
                return end
    # ``from . import attention``: what is imported is a module.
    head, _, rest = qualname.partition(".")
    return _end((f"{module}.{head}", rest), asked) if rest and source is not None else None


def _source(module: str) -> tuple[str, ast.Module] | None:
    text = _text(module)
    tree = parsed_quietly(text[1], text[0]) if text is not None else None
    return (text[0], tree) if text is not None and tree is not None else None


def _text(module: str) -> tuple[str, bytes] | None:
    """The file of a module and its contents."""
    loaded = getattr(sys.modules.get(module), "__spec__", None)
    try:
        spec = loaded if loaded is not None else find_module(module)
        path = spec.origin if spec is not None and spec.has_location else None
        if path is None or not path.endswith(".py"):
            return None
        with open(path, "rb") as file:
            return path, file.read()
    except (OSError, ValueError, ImportError):
        return None
