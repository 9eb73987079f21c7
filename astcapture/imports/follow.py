"""Where a function is defined that a target names by a module which only imports it; sources are read, not imported."""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence
from dataclasses import replace

from astcapture.errors import CaptureError
from astcapture.imports.source import find_module
from astcapture.rewrite.elsewhere import Moved, moved
from astcapture.rewrite.find import find_functions
from astcapture.rewrite.plan import Plan
from astcapture.targets.target import Target


def followed(target: Target, places: Sequence[Moved]) -> Target:
    """The target of the module that defines what `target` names, given what its own module imports.

    Raises:
        CaptureError: the imports lead to no ``def``; the message says how far they led.
    """
    asked: set[Moved] = set()
    found = next((end for place in places if (end := _end(place, asked)) is not None), None)
    if found is None:
        module, qualname = places[0]
        raise CaptureError(
            f"target {target.text!r}: {target.module} imports {target.qualname} from {module}, and no source file "
            f"was found that defines it: write the module that defines it, MODULE:{qualname}"
        )
    module, qualname = found
    captures = target.text.partition("=")[2]
    text = f"{module}:{qualname}={captures}" if captures else f"{module}:{qualname}"
    return replace(target, module=module, qualname=qualname, text=text)


def check_moved(plan: Plan) -> None:
    """Make sure, as a module is compiled, that each target which it only imports leads somewhere.

    Raises:
        CaptureError: as `followed` does.
    """
    for target, places in plan.moved:
        try:
            followed(target, places)
        except CaptureError as error:
            raise CaptureError(f"{plan.filename}: {error}") from None


def _end(place: Moved, asked: set[Moved]) -> Moved | None:
    """The place at the end of a chain of imports; None where it breaks off, or leads back."""
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
    loaded = getattr(sys.modules.get(module), "__spec__", None)
    try:
        spec = loaded if loaded is not None else find_module(module)
        path = spec.origin if spec is not None and spec.has_location else None
        if path is None or not path.endswith(".py"):
            return None
        with open(path, "rb") as file:
            return path, ast.parse(file.read(), path)
    except (OSError, SyntaxError, ValueError, ImportError):
        return None
