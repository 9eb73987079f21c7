"""The source and the functions of a module, read without importing it: for `show` and the command line."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass

from astcapture.errors import CaptureError
from astcapture.imports.follow import followed
from astcapture.imports.modules import find_module
from astcapture.rewrite.find import Function, find_functions
from astcapture.rewrite.messages import did_you_mean
from astcapture.rewrite.plan import plan_module
from astcapture.rewrite.render import render
from astcapture.rewrite.scope import Scope, function_scope
from astcapture.rewrite.transform import rewrite_function
from astcapture.targets.target import Target, parse_target


@dataclass(frozen=True)
class Transformed:
    """One function as written and as it runs while it is captured, both rendered from their syntax trees."""

    key: str
    path: str
    lineno: int
    before: str
    after: str


def show(target: str) -> str:
    """Return the rewritten source of the functions that a target names.

    Each function is preceded by a comment line with its key, file and line. The module is read, not imported, and
    nothing is installed.

    Args:
        target: ``"MODULE:QUALNAME=NAME"``; for functions marked with ``@capture`` also ``"MODULE:QUALNAME"`` or
            ``"MODULE"``.

    Raises:
        CaptureError: there is no such module, function or local.

    >>> print(show("bisect:insort_left=lo"))  # doctest: +ELLIPSIS
    # bisect:insort_left ...bisect.py:...
    """
    return "\n".join(f"# {one.key}  {one.path}:{one.lineno}\n{one.after}" for one in transformed(target))


def transformed(target: str) -> list[Transformed]:
    """The functions that a target names, before and after the rewrite; see `show`."""
    parsed = parse_target(target)
    path, tree = _read(parsed)
    plan = plan_module(tree, parsed.module, path, [parsed])
    if plan.moved:
        return transformed(followed(*plan.moved[0]).text)
    if not plan:
        raise CaptureError(_why_none(parsed, find_functions(tree)))
    shown = []
    for planned in plan.functions:
        function = planned.function
        before = render(function.node)
        rewrite_function(planned, plan.module)
        key = f"{plan.module}:{function.qualname}"
        shown.append(Transformed(key, path, function.node.lineno, before, render(function.node)))
    return shown


def functions_of(target: str) -> tuple[str, list[tuple[Function, Scope]]]:
    """The file of a module, and the functions in it that a target names, with the names that each binds."""
    parsed = parse_target(target)
    path, tree = _read(parsed)
    functions = find_functions(tree)
    meant = [one for one in functions if parsed.qualname is None or parsed.matches_function(one.qualname)]
    if not meant:
        names = [function.qualname for function in functions]
        if parsed.qualname is None:
            raise CaptureError(f"{path}: {parsed.module} defines no functions")
        hint = did_you_mean(parsed.qualname, names)
        raise CaptureError(f"{path}: {parsed.qualname!r} matches no function in {parsed.module}{hint}")
    return path, [(function, function_scope(function)) for function in meant]


def _read(target: Target) -> tuple[str, ast.Module]:
    if not target.exact_module:
        raise CaptureError(f"target {target.text!r}: the module must be named in full here, without wildcards")
    spec = find_module(target.module)
    if spec is None:
        raise CaptureError(f"no module named {target.module!r} on sys.path")
    if not spec.has_location or spec.origin is None or not spec.origin.endswith(".py"):
        raise CaptureError(f"{target.module} has no source file: only modules loaded from source can be rewritten")
    with open(spec.origin, "rb") as file:
        source = file.read()
    try:
        return spec.origin, ast.parse(source, spec.origin)
    except SyntaxError as error:
        raise CaptureError(f"{spec.origin}:{error.lineno}: {error.msg}") from None


def _why_none(target: Target, functions: Sequence[Function]) -> str:
    if target.qualname is None:
        return f"{target.module} has no function marked with @capture: name one, {target.module}:FUNCTION=NAME"
    matched = [function for function in functions if target.matches_function(function.qualname)]
    if target.captures:
        return f"target {target.text!r}: no function that it matches binds the names to capture"
    names = ", ".join(function.qualname for function in matched[:3])
    return f"{names}: not marked with @capture: name what to capture, {target.text}=NAME"
