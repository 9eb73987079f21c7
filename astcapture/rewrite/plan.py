"""Which functions of a module are rewritten, and what is captured in each; every mistake is found here."""

from __future__ import annotations

import ast
import builtins
import difflib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

from astcapture.errors import CaptureError
from astcapture.rewrite.bindings import bindings, own_expressions
from astcapture.rewrite.calls import ATTENTION, attention_calls, attention_names
from astcapture.rewrite.compilers import Outside, compiled_elsewhere
from astcapture.rewrite.elsewhere import Moved, another_name, if_inherited, moved
from astcapture.rewrite.find import Function, FunctionNode, find_functions, mentioned, own_statements
from astcapture.rewrite.module_names import ModuleNames
from astcapture.rewrite.scope import Scope, function_scope, names_read
from astcapture.targets.capture import Capture, check_capture
from astcapture.targets.marker import POINTS
from astcapture.targets.target import Target

#: The arguments of `record.recorder.declare`: plain tuples, so that they can stand in the code as literals.
Declaration = tuple[Any, ...]


@dataclass
class FunctionPlan:
    """One function of the tree, its scope, and the captures taken in it (``*`` resolved, duplicates gone)."""

    function: Function
    scope: Scope
    captures: tuple[Capture, ...]
    #: What may stand for torch's attention in the module.
    attention_names: frozenset[str] = frozenset()

    @property
    def tells_that_it_starts(self) -> bool:
        """Whether one execution can leave any number of values of a label, which do not tell it from the next."""
        return any(capture.at != "return" for capture in self.captures)

    @cached_property
    def tells_that_it_begins(self) -> bool:
        """Whether it is a generator that is captured at its end, which it may never come to."""
        return any(capture.at == "return" for capture in self.captures) and any(
            isinstance(node, (ast.Yield, ast.YieldFrom)) for _, node in own_expressions(self.function.node, False)
        )

    @cached_property
    def mentioned(self) -> frozenset[str]:
        """The names and attributes in the function, as it is written."""
        return frozenset(mentioned(self.function.node))

    @cached_property
    def owners(self) -> tuple[str, ...]:
        """The parameters that may hold the module whose work the function is, in the order in which they are asked.

        A method's first parameter, whatever its name; and of a free function, or a method of a class that is no
        ``nn.Module`` by the name of its bases, every parameter that the function uses as one uses a module. Left out
        are parameters that the function binds anew or deletes, so that they can always be read, and all those of
        ``__init__``, whose module has no place in a model yet.
        """
        node = self.function.node
        if node.name in ("__init__", "__new__"):
            return ()
        parameters = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        first = parameters[:1] if self.function.is_method else []
        if not self.function.of_module:
            used = _used_as_modules(node)
            parameters = [name for name in parameters if name in first or name in used or name in _ALWAYS]
        else:
            parameters = first
        changed = {*bindings(node), *self.scope.shared, *_deleted(node)} if parameters else set()
        return tuple(name for name in parameters if name not in changed)


#: What a module is called that a function is handed and hands on.
_ALWAYS = frozenset({"self", "module"})


#: Attributes that a tensor or an array has, and no module.
_OF_TENSORS = frozenset({"T", "mT", "H", "mH", "shape", "ndim", "dtype", "device"})


def _deleted(function: FunctionNode) -> set[str]:
    return {node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Del)}


def _used_as_modules(function: FunctionNode) -> set[str]:
    """The names that a function reads an attribute of or calls, and never computes with."""
    used: set[ast.expr] = set()
    computed: set[ast.expr] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute) and node.attr not in _OF_TENSORS:
            used.add(node.value)
        elif isinstance(node, ast.Call):
            used.add(node.func)
        elif isinstance(node, ast.BinOp):
            computed.update((node.left, node.right))
        elif isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.Not):
            computed.add(node.operand)
        elif isinstance(node, ast.Subscript):
            computed.add(node.value)
    return _names(used) - _names(computed)


def _names(nodes: Iterable[ast.expr]) -> set[str]:
    return {node.id for node in nodes if isinstance(node, ast.Name)}


@dataclass
class Plan:
    """All that is rewritten in one module, and what is not.

    Attributes:
        skipped: the functions that a wildcard matched but that bind no such name, with the name.
        left: the functions that another compiler reads, with their line and why they are left alone.
        moved: for each target that names what the module only imports, where that may be defined.
    """

    module: str
    filename: str
    functions: list[FunctionPlan] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    left: list[tuple[str, int, str]] = field(default_factory=list)
    moved: list[tuple[Target, tuple[Moved, ...]]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.functions)

    @property
    def declares(self) -> bool:
        """Whether the module has something to say when it is run."""
        return bool(self.functions or self.skipped or self.left or self.moved)

    def declaration(self) -> Declaration:
        """What the recorder is told of the module, as `record.recorder.declare` takes it."""
        functions = tuple(
            (one.function.qualname, one.function.node.lineno, _labels(one.captures)) for one in self.functions
        )
        fused = tuple(one.function.qualname for one in self.functions if _may_run_fused(one))
        entering = tuple(one.function.qualname for one in self.functions if one.tells_that_it_starts)
        generators = tuple(one.function.qualname for one in self.functions if one.tells_that_it_begins)
        unbound = tuple(unbound for one in self.functions for unbound in _unbound_again(one))
        followed = tuple((target.text, places) for target, places in self.moved)
        beside = (tuple(self.left), followed) if self.left or followed else ()
        parts = [self.module, functions, tuple(self.skipped), fused, entering, generators, unbound, beside]
        while len(parts) > _ALWAYS_DECLARED and not parts[-1]:
            parts.pop()
        return tuple(parts)


#: The module, its functions and those that were skipped stand in every declaration.
_ALWAYS_DECLARED = 3


def _unbound_again(planned: FunctionPlan) -> Iterator[tuple[str, str, int]]:
    """The labels of locals that a function deletes, or that a handler binds and unbinds, each with the line."""
    labels = {capture.expression: capture.label for capture in planned.captures if capture.at == "return"}
    for node in own_statements(planned.function.node):
        if isinstance(node, ast.Delete):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.ExceptHandler) and node.name is not None:
            names = [node.name]
        else:
            continue
        for name in names:
            if name in labels:
                line = node.lineno if isinstance(node, ast.Delete) else node.end_lineno or node.lineno
                yield planned.function.qualname, labels[name], line


def _may_run_fused(planned: FunctionPlan) -> bool:
    return ATTENTION in planned.mentioned and all(capture.at != "sdpa" for capture in planned.captures)


def _labels(captures: Iterable[Capture]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(capture.label for capture in captures))


@dataclass
class _Request:
    """Captures asked of one function by one source: a target, or the marker on the function itself."""

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
    """Decide what is captured in a module; the tree is read and not changed.

    Args:
        tree: the module's syntax tree.
        module: the name it is imported under, as targets spell it.
        filename: its file, for messages.
        targets: all that may apply; those of other modules are ignored.
        whole: whether the tree is all that binds names in the module.
        environ, outside: the variables that turn other compilers off, and what is known of imported decorators; see
            `rewrite.compilers`.

    Raises:
        CaptureError: a target that matches no function, a name that a function never binds, an
            argument of the marker that is no literal; with file, line and what to write.
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
    """What a marker in the source asks for. Its arguments are read, never run, so they must be literals."""
    at = "return"
    asked: list[tuple[str, str]] = []
    for argument in call.args:
        text = _literal(argument, call, filename)
        asked.append((text, text))
    for keyword in call.keywords:
        if keyword.arg is None:
            raise _error(filename, call.lineno, f"{ast.unparse(call)}: write the labels out instead of **")
        text = _literal(keyword.value, call, filename)
        if keyword.arg == "at":
            at = text
        else:
            asked.append((keyword.arg, text))
    if at not in POINTS:
        raise _error(filename, call.lineno, f"{ast.unparse(call)}: at={at!r} is not one of {', '.join(POINTS)}")
    captures = []
    for label, expression in asked:
        capture = Capture(label, expression.strip(), at)
        try:
            check_capture(capture)
        except CaptureError as error:
            raise _error(filename, call.lineno, str(error)) from None
        captures.append(capture)
    return tuple(captures)


def _literal(node: ast.expr, call: ast.Call, filename: str) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise _error(
        filename,
        call.lineno,
        f"{ast.unparse(node)} in {ast.unparse(call)} is not a literal: the marker is read from the source "
        'and never run, so write the name itself, @capture("attn")',
    )


def _plan_qualname(
    plan: Plan, listed: list[tuple[Function, _Request]], names: frozenset[str], surroundings: ModuleNames
) -> None:
    """Plan the defs that share a qualname: each captures what it binds, and one of them must bind each name."""
    by_function: dict[int, tuple[Function, Scope, list[Capture]]] = {}
    for function, _ in listed:
        if id(function) not in by_function:
            by_function[id(function)] = (function, function_scope(function), [])
    missing: dict[tuple[str, str, str], list[tuple[CaptureError, bool, Function]]] = {}
    taken: set[tuple[str, str, str]] = set()
    for function, request in listed:
        _, scope, captures = by_function[id(function)]
        for capture in request.captures:
            for resolved in _resolve(capture, function, scope):
                identity = (request.origin, resolved.expression, resolved.at)
                error = _untakeable(resolved, function, scope, names, plan.filename, request.lineno)
                error = error or _nowhere(resolved, function, scope, surroundings, plan.filename, request.lineno)
                if error is None:
                    taken.add(identity)
                    if resolved not in captures:
                        captures.append(resolved)
                else:
                    missing.setdefault(identity, []).append((error, request.required, function))
    for identity, errors in missing.items():
        if identity in taken:
            continue
        error, required, function = errors[0]
        if required:
            raise error
        plan.skipped.append((function.qualname, identity[1]))
    for function, scope, captures in by_function.values():
        if captures:
            plan.functions.append(FunctionPlan(function, scope, tuple(captures), names))


def _resolve(capture: Capture, function: Function, scope: Scope) -> list[Capture]:
    if capture.every_local and capture.at == "assign":
        bound = bindings(function.node)
        return [Capture(name, name, capture.at) for name in scope.locals if name in bound]
    if capture.every_local:
        return [Capture(name, name, capture.at) for name in scope.locals]
    if capture.is_name:
        # As the parser does: µ is written as either of two characters, and names one variable.
        return [Capture(capture.label, unicodedata.normalize("NFKC", capture.expression), capture.at)]
    return [capture]


def _untakeable(
    capture: Capture, function: Function, scope: Scope, names: frozenset[str], filename: str, lineno: int
) -> CaptureError | None:
    """Why a capture cannot be taken in a function at the point it asks for; None where it can."""
    what = f"{function.qualname} (line {function.node.lineno})"
    if capture.at == "sdpa":
        if attention_calls(function.node, names):
            return None
        reason = f"no call of {ATTENTION} stands in {what}, under this name or one that the module gives it"
        return _error(filename, lineno, f"{capture.expression}@sdpa: {reason}")
    error = _unreadable(capture, function, scope, filename, lineno)
    name = capture.expression
    if error is not None or capture.at != "assign" or name in bindings(function.node):
        return error
    if name in scope.parameters:
        reason = f"{name!r} is a parameter of {what} and never bound in its body"
    else:
        reason = f"{name!r} is bound outside of {what}, which only reads it"
    return _error(filename, lineno, f"{reason}: @assign records bindings, so take it at the return, without @assign")


def _unreadable(capture: Capture, function: Function, scope: Scope, filename: str, lineno: int) -> CaptureError | None:
    """Why a capture cannot be taken in a function; None where it can. Expressions may read globals and builtins too."""
    what = f"{function.qualname} (line {function.node.lineno})"
    if not capture.is_name:
        outside = sorted(names_read(ast.parse(capture.expression, mode="eval").body) & scope.out_of_reach)
        if not outside:
            return None
        return _error(filename, lineno, f"{capture.expression!r} reads {_not_used(outside[0], what)}")
    name = capture.expression
    if name in scope.readable:
        return None
    if name in scope.out_of_reach:
        reason = _not_used(name, what)
    elif name in scope.globals:
        reason = f"{name!r} is a global in {what}, not a local: read it from the module instead"
    elif name in scope.in_comprehensions:
        reason = f"{name!r} is bound only inside a comprehension in {what}: capture what the comprehension makes"
    else:
        reason = f"{name!r} is never bound in {what}" + did_you_mean(name, scope.readable)
    return _error(filename, lineno, reason)


def _nowhere(
    capture: Capture, function: Function, scope: Scope, surroundings: ModuleNames, filename: str, lineno: int
) -> CaptureError | None:
    """Why an expression would fail each time: it reads a name that is found nowhere; None where it may not."""
    if capture.is_name or capture.at == "sdpa":
        return None
    own = (*scope.readable, *scope.globals)
    missing = surroundings.nowhere(capture.expression, own)
    if not missing:
        return None
    name, what = missing[0], f"{function.qualname} (line {function.node.lineno})"
    if name in scope.in_comprehensions:
        reason = f"is bound only inside a comprehension in {what}: capture what the comprehension makes"
    else:
        # What rewritten code calls is among the builtins, by names that cannot be written.
        known = sorted(one for one in {*own, *surroundings.known, *dir(builtins)} if one.isidentifier())
        reason = f"is neither a local of {what} nor a name of its module, nor a builtin{did_you_mean(name, known)}"
    return _error(filename, lineno, f"{capture.expression!r}: {name!r} {reason}{_points(capture.expression, name)}")


def _points(expression: str, name: str) -> str:
    """What is said besides of ``x@word``, which may have been meant as a point and is a matrix product."""
    left, sign, right = (part.strip() for part in expression.rpartition("@"))
    if not sign or not left.isidentifier() or right != name:
        return ""
    points = ", ".join(point for point in POINTS if point != "return")
    return f"; if it is to be a point, the points are {points}, return"


def _not_used(name: str, what: str) -> str:
    return (
        f"{name!r}, a local of an enclosing function that {what} does not use: capturing it would change "
        "the function's closure, so capture it in the enclosing function"
    )


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
        f"{plan.filename}: target {target.text!r} matches no def in {plan.module}"
        + (
            another_name(tree, plan.module, target.qualname, captures)
            or _one_of(siblings[one] for one in difflib.get_close_matches(name, siblings))
            or if_inherited(tree, plan.module, plan.filename, target.qualname, captures)
            or did_you_mean(target.qualname, names)
            or did_you_mean(target.qualname, ending, cutoff=0.0)
        )
        + ("" if names else ": it holds no functions")
    )


def _leave_to_compilers(plan: Plan, tree: ast.Module, environ: Mapping[str, str], outside: Outside | None) -> None:
    """Take the functions out of a plan that another compiler reads."""
    reasons = compiled_elsewhere(tree, [planned.function.node for planned in plan.functions], environ, outside)
    for planned in plan.functions:
        function = planned.function
        if id(function.node) in reasons:
            plan.left.append((function.qualname, function.node.lineno, reasons[id(function.node)]))
    plan.functions[:] = [planned for planned in plan.functions if id(planned.function.node) not in reasons]


def _require_wildcards(plan: Plan, targets: Iterable[Target], functions: Sequence[Function]) -> None:
    """In a module that is named, a wildcard over its functions must find at least one that binds each name."""
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
                + (f"calls {ATTENTION}" if capture.at == "sdpa" else f"{_can(capture)} {wanted!r}")
            )


def _can(capture: Capture) -> str:
    return "binds" if capture.is_name else "has every name in"


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """``": did you mean …?"`` with the names closest to `word`, or an empty string."""
    return _one_of(difflib.get_close_matches(word, list(known), n=3, cutoff=cutoff))


def _one_of(names: Iterable[str]) -> str:
    listed = " or ".join(names)
    return f": did you mean {listed}?" if listed else ""


def _error(filename: str, lineno: int, message: str) -> CaptureError:
    error = CaptureError(f"{filename}:{lineno}: {message}")
    error.lineno = lineno
    return error
