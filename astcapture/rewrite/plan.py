"""Decides which functions of a module are rewritten and what is captured in each. Reports all mistakes."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from astcapture.errors import CaptureError
from astcapture.rewrite.attention import ATTENTION, attention_names
from astcapture.rewrite.compilers import Outside, compiled_elsewhere
from astcapture.rewrite.elsewhere import another_name, if_inherited, moved
from astcapture.rewrite.find import Function, find_functions
from astcapture.rewrite.messages import did_you_mean, error_at, of_an_edit, one_of
from astcapture.rewrite.module_names import ModuleNames
from astcapture.rewrite.planned import FunctionPlan, Plan
from astcapture.rewrite.scope import Scope, function_scope
from astcapture.rewrite.takeable import resolved, why_none, why_not
from astcapture.targets.capture import EVERY_LOCAL, Capture, check_capture
from astcapture.targets.marker import POINTS
from astcapture.targets.target import Target


@dataclass
class _Request:
    """Captures in one function requested by one target, or by the marker on the function."""

    captures: tuple[Capture, ...]
    lineno: int
    required: bool
    origin: str


def plan_module(
    tree: ast.Module,
    module: str,
    filename: str,
    targets: Sequence[Target],
    environ: Mapping[str, str] = MappingProxyType({}),
    outside: Outside | None = None,
    *,
    whole: bool = True,
) -> Plan:
    """Decide what is captured in a module, without changing the tree.

    Args:
        tree: the module's syntax tree.
        module: the name it is imported under, as targets spell it.
        filename: its file, for messages.
        targets: all targets; those of other modules are ignored.
        whole: whether the tree contains everything that binds names in the module.
        environ, outside: the variables that turn other compilers off, and a function that checks imported decorators;
            see `rewrite.compilers`.

    Raises:
        CaptureError: a target that matches no function, a name that a function never binds, an
            argument of the marker that is not a literal; with file, line and what to write.
    """
    plan = Plan(module, filename)
    functions = find_functions(tree)
    asked = [target for target in targets if target.matches_module(module)]
    requests: dict[str, list[tuple[Function, _Request]]] = {}
    for function in functions:
        if function.is_overload:
            continue
        for request in _requests(function, asked, filename):
            requests.setdefault(function.qualname, []).append((function, request))
    for target in asked:
        if target.qualname is not None and target.exact_module:
            _require_match(target, functions, tree, plan)
    names: frozenset[str] = frozenset()
    listed_captures = (capture for listed in requests.values() for _, one in listed for capture in one.captures)
    if any(capture.at == "sdpa" for capture in listed_captures):
        names = attention_names(tree)
    surroundings = ModuleNames(tree, whole=whole)
    for listed in requests.values():
        _plan_qualname(plan, listed, names, surroundings)
    _require_wildcards(plan, asked, functions)
    _leave_to_compilers(plan, tree, environ, outside)
    plan.functions.sort(key=lambda planned: planned.function.node.lineno)
    return plan


def _requests(function: Function, targets: Iterable[Target], filename: str) -> list[_Request]:
    line = function.node.lineno
    found = []
    marked = False
    for target in targets:
        if target.qualname is None or (target.matches_function(function.qualname) and not target.captures):
            marked = True
        elif target.matches_function(function.qualname):
            found.append(_Request(target.captures, line, target.exact, str(target)))
    if marked:
        for call in function.markers:
            found.insert(0, _Request(marker_captures(call, filename), call.lineno, True, ast.unparse(call)))
    return found


def marker_captures(call: ast.Call, filename: str) -> tuple[Capture, ...]:
    """The captures of a marker in the source. Its arguments are read, not run, so they must be literals."""
    at = "return"
    asked: list[tuple[str, str]] = []
    for argument in call.args:
        text = _literal(argument, call, filename)
        asked.append((text, text))
    for keyword in call.keywords:
        if keyword.arg is None:
            raise error_at(filename, call.lineno, f"{ast.unparse(call)}: write each label as a keyword instead of **")
        text = _literal(keyword.value, call, filename)
        if keyword.arg == "at":
            at = text
        else:
            asked.append((keyword.arg, text))
    if at not in POINTS:
        raise error_at(filename, call.lineno, f"{ast.unparse(call)}: at={at!r} is not one of {', '.join(POINTS)}")
    captures = []
    for label, expression in asked:
        capture = Capture(label, expression.strip(), at)
        try:
            check_capture(capture)
        except CaptureError as error:
            raise error_at(filename, call.lineno, str(error)) from None
        captures.append(capture)
    return tuple(captures)


def _literal(node: ast.expr, call: ast.Call, filename: str) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise error_at(
        filename,
        call.lineno,
        f"{ast.unparse(node)} in {ast.unparse(call)} is not a literal: the marker is read from the source "
        'without running it, so write the name itself, @capture("attn")',
    )


def _plan_qualname(
    plan: Plan, listed: list[tuple[Function, _Request]], names: frozenset[str], surroundings: ModuleNames
) -> None:
    """Plan the defs that share a qualname: each captures the names that it binds; one must bind each name."""
    by_function: dict[int, tuple[Function, Scope, list[Capture]]] = {}
    for function, _ in listed:
        if id(function) not in by_function:
            by_function[id(function)] = (function, function_scope(function), [])
    missing: dict[tuple[str, str, str], list[tuple[CaptureError, bool, Function]]] = {}
    taken: set[tuple[str, str, str]] = set()
    for function, request in listed:
        _, scope, captures = by_function[id(function)]
        for capture in request.captures:
            found = resolved(capture, function, scope)
            if not found:
                nothing = why_none(capture, function, plan.filename, request.lineno)
                identity = (request.origin, capture.expression, capture.at)
                missing.setdefault(identity, []).append((nothing, request.required, function))
            for one in found:
                identity = (request.origin, one.expression, one.at)
                error = why_not(one, function, scope, names, surroundings, plan.filename, request.lineno)
                if error is None:
                    taken.add((request.origin, capture.expression, capture.at))
                    taken.add(identity)
                    if one not in captures:
                        captures.append(one)
                else:
                    error = of_an_edit(error) if one.edits else error
                    missing.setdefault(identity, []).append((error, request.required, function))
    for identity, errors in missing.items():
        if identity in taken:
            continue
        error, required, function = errors[0]
        if required:
            raise error
        if identity[1] != EVERY_LOCAL:
            plan.skipped.append((function.qualname, identity[1]))
    for function, scope, captures in by_function.values():
        if captures:
            edits = tuple(capture for capture in captures if capture.edits)
            recorded = tuple(capture for capture in captures if not capture.edits)
            plan.functions.append(FunctionPlan(function, scope, recorded, names, edits=edits))


def _require_match(target: Target, functions: Sequence[Function], tree: ast.Module, plan: Plan) -> None:
    assert target.qualname is not None
    if any(target.matches_function(function.qualname) and not function.is_overload for function in functions):
        return
    places = moved(tree, plan.module, plan.filename, target.qualname) if target.exact else ()
    if places:
        plan.moved.append((target, places))
        return
    names = list(dict.fromkeys(function.qualname for function in functions))
    owner, _, name = target.qualname.rpartition(".")
    siblings = {one.rpartition(".")[2]: one for one in names if owner and one.rpartition(".")[0] == owner}
    ending = [one for one in names if one.rpartition(".")[2] == name]
    captures = target.text.partition("=")[2]
    raise CaptureError(
        f"{plan.filename}: target {target.text!r} matches no function in {plan.module}"
        + (
            another_name(tree, plan.module, target.qualname, captures)
            or one_of(siblings[one] for one in difflib.get_close_matches(name, siblings))
            or if_inherited(tree, plan.module, plan.filename, target.qualname, captures)
            or did_you_mean(target.qualname, names)
            or did_you_mean(target.qualname, ending, cutoff=0.0)
        )
        + ("" if names else ": it defines no functions")
    )


def _leave_to_compilers(plan: Plan, tree: ast.Module, environ: Mapping[str, str], outside: Outside | None) -> None:
    """Remove functions that another compiler reads from a plan."""
    reasons = compiled_elsewhere(tree, [planned.function.node for planned in plan.functions], environ, outside)
    for planned in plan.functions:
        function = planned.function
        if id(function.node) in reasons:
            plan.left.append((function.qualname, function.node.lineno, reasons[id(function.node)]))
    plan.functions[:] = [planned for planned in plan.functions if id(planned.function.node) not in reasons]


def _require_wildcards(plan: Plan, targets: Iterable[Target], functions: Sequence[Function]) -> None:
    """If the module is named exactly, a wildcard for functions must match one that binds each name."""
    for target in targets:
        if target.exact or not target.exact_module or target.qualname is None or not target.captures:
            continue
        matched = [planned for planned in plan.functions if target.matches_function(planned.function.qualname)]
        for capture in target.captures:
            wanted = capture.expression
            if capture.every_local or any(
                (wanted, capture.at) == (taken.expression, taken.at) for one in matched for taken in one.captures
            ):
                continue
            names = [function.qualname for function in functions if target.matches_function(function.qualname)]
            raise CaptureError(
                f"{plan.filename}: target {target.text!r}: none of the {len(names)} functions it matches "
                + _has_it(capture)
            )


def _has_it(capture: Capture) -> str:
    """What a function must do for a capture."""
    if capture.at == "sdpa":
        return f"calls {ATTENTION} or another fused attention"
    if capture.of_calls:
        return f"calls {capture.expression!r}"
    if capture.at == "enter":
        return f"has a parameter {capture.expression!r}"
    return f"{'binds' if capture.is_name else 'has every name in'} {capture.expression!r}"
