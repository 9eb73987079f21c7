"""Decides what of a function can be captured, and says why something cannot."""

from __future__ import annotations

import ast
import builtins
import unicodedata
from collections.abc import Sequence
from dataclasses import replace

from astcapture.errors import CaptureError
from astcapture.rewrite.attention import ATTENTION, attention_calls
from astcapture.rewrite.binds import bindings, every_binding
from astcapture.rewrite.find import Function, own_statements
from astcapture.rewrite.liveness import unread_bindings
from astcapture.rewrite.messages import did_you_mean, error_at
from astcapture.rewrite.module_names import ModuleNames
from astcapture.rewrite.scope import Scope, names_read
from astcapture.rewrite.written_calls import WrittenCall, written_calls
from astcapture.rewrite.yields import yields_of
from astcapture.targets.capture import Capture
from astcapture.targets.map_names import is_like_a_map
from astcapture.targets.marker import POINTS

#: As many calls are named in a message.
_NAMED = 3


def resolved(capture: Capture, function: Function, scope: Scope) -> list[Capture]:
    """The captures that one stands for in a function: ``*`` for each name that there is."""
    if not capture.every_local:
        if capture.is_name:
            # As the parser does: µ can be written as two different characters that name the same variable.
            return [replace(capture, expression=unicodedata.normalize("NFKC", capture.expression))]
        return [capture]
    return [Capture(name, name, capture.at) for name in _every_name(capture, function, scope)]


def _every_name(capture: Capture, function: Function, scope: Scope) -> Sequence[str]:
    if capture.of_calls:
        return [*dict.fromkeys(call.name for call in written_calls(function.node))]
    if capture.at == "enter":
        return scope.parameters
    if capture.at == "yield":
        return scope.locals if yields_of(function.node) else ()
    if capture.at == "assign":
        bound = bindings(function.node)
        return [name for name in scope.locals if name in bound]
    return scope.locals


def why_none(capture: Capture, function: Function, filename: str, lineno: int) -> CaptureError:
    """The error for a ``*`` that stands for nothing in a function."""
    nothing = {
        "call": "makes no calls",
        "input": "makes no calls",
        "enter": "has no parameters",
        "yield": "has no yield of its own, or no locals",
        "assign": "binds no locals",
    }
    point = "" if capture.at == "return" else f"@{capture.at}"
    return error_at(filename, lineno, f"*{point}: {_what(function)} {nothing.get(capture.at, 'has no locals')}")


def why_not(
    capture: Capture,
    function: Function,
    scope: Scope,
    attention_names: frozenset[str],
    surroundings: ModuleNames,
    filename: str,
    lineno: int,
) -> CaptureError | None:
    """Why a capture is impossible in a function; None if it is possible."""
    if capture.edits and capture.at == "return":
        return _returns_nothing(function, filename, lineno)
    if capture.at == "sdpa":
        if attention_calls(function.node, attention_names):
            return None
        reason = f"{_what(function)} does not call {ATTENTION} or another fused attention, under its name or an alias"
        return error_at(filename, lineno, f"{capture.expression}@sdpa: {reason}")
    if capture.of_calls:
        error = _not_called(capture, function, scope, filename, lineno)
        return error or (_unnoticed_call(capture, function, filename, lineno) if capture.edits else None)
    if capture.at == "enter":
        error = _no_parameter(capture, function, scope, filename, lineno)
        return error or (_unnoticed(capture, function, scope, filename, lineno) if capture.edits else None)
    if capture.edits:
        return (
            _unreadable(capture, function, scope, filename, lineno)
            or _not_at_its_point(capture, function, scope, filename, lineno)
            or _unnoticed(capture, function, scope, filename, lineno)
        )
    return (
        _unreadable(capture, function, scope, filename, lineno)
        or _not_at_its_point(capture, function, scope, filename, lineno)
        or _nowhere(capture, function, scope, surroundings, filename, lineno)
    )


def _returns_nothing(function: Function, filename: str, lineno: int) -> CaptureError | None:
    """Why what a function returns cannot be edited."""
    if any(isinstance(node, ast.Return) and node.value is not None for node in own_statements(function.node)):
        return None
    return error_at(filename, lineno, f"@return: {_what(function)} has no return with a value to edit")


def _unnoticed(capture: Capture, function: Function, scope: Scope, filename: str, lineno: int) -> CaptureError | None:
    """Why the program cannot notice an edit of a local: nothing reads it after it is bound."""
    name, here = capture.expression, function.node.lineno
    unread, reads = unread_bindings(function.node, scope, name)
    bound = {here} if capture.at == "enter" else {line for one, line in every_binding(function.node) if one == name}
    if not bound or not bound <= set(unread):
        return None
    is_read = f"it is read on line {_lines(reads)}, before" if reads else "nothing reads it"
    where = f"handed in on line {here}" if capture.at == "enter" else f"bound on line {_lines(sorted(bound))}"
    reason = f"{name!r} is {where} of {function.qualname}, and {is_read}"
    return error_at(filename, lineno, f"{name}@{capture.at}: {reason}: the program would not notice the edit")


def _unnoticed_call(capture: Capture, function: Function, filename: str, lineno: int) -> CaptureError | None:
    """Why the program cannot notice an edit of what a call returns: it throws that away."""
    if capture.at != "call":
        return None
    calls = [call for call in written_calls(function.node) if call.is_named(capture.expression)]
    if not all(isinstance(call.slot.parent, ast.Expr) for call in calls):
        return None
    lines = _lines(sorted({call.node.lineno for call in calls}))
    reason = f"{_what(function)} throws away what it returns on line {lines}: the program would not notice the edit"
    return error_at(filename, lineno, f"{capture.expression}@call: {reason}")


def _lines(lines: Sequence[int]) -> str:
    return " and ".join(map(str, lines))


def _what(function: Function) -> str:
    return f"{function.qualname} (line {function.node.lineno})"


def _not_called(capture: Capture, function: Function, scope: Scope, filename: str, lineno: int) -> CaptureError | None:
    """Why no call of a name can be captured in a function; None if it makes one."""
    calls, name = written_calls(function.node), capture.expression
    if any(call.is_named(name) for call in calls):
        return None
    names = [*dict.fromkeys(call.name for call in calls)]
    hint = did_you_mean(name.rpartition(".")[2], names)
    if name in scope.readable and not hint:
        hint = f": it is a local, so capture {name} without @{capture.at}"
    elif not hint and names:
        listed = ", ".join(names[: 2 * _NAMED]) + (", …" if len(names) > 2 * _NAMED else "")
        hint = f": it calls {listed}"
    return error_at(filename, lineno, f"{name}@{capture.at}: {_what(function)} does not call {name!r}{hint}")


def _no_parameter(
    capture: Capture, function: Function, scope: Scope, filename: str, lineno: int
) -> CaptureError | None:
    name = capture.expression
    if name in scope.parameters:
        return None
    if name in scope.readable:
        hint = f": it is bound in the body, so capture {name} or {name}@assign"
    else:
        listed = ", ".join(scope.parameters)
        hint = did_you_mean(name, scope.parameters) or (f": its parameters are {listed}" if listed else "")
    return error_at(filename, lineno, f"{name}@enter: {name!r} is not a parameter of {_what(function)}{hint}")


def _not_at_its_point(
    capture: Capture, function: Function, scope: Scope, filename: str, lineno: int
) -> CaptureError | None:
    """Why a local cannot be taken at a binding or a yield."""
    name = capture.expression
    if capture.at == "yield" and not yields_of(function.node):
        reason = f"{_what(function)} has no yield of its own, so capture {name} or {name}@assign"
        return error_at(filename, lineno, f"{name}@yield: {reason}")
    if capture.at != "assign" or name in bindings(function.node):
        return None
    if name in scope.parameters:
        reason = f"{name!r} is a parameter of {_what(function)} and is never bound in its body"
        mend = f"edit {name}@enter" if capture.edits else f"capture {name}@enter, or {name} at the return"
    else:
        reason = f"{name!r} is bound outside {_what(function)}, which only reads it"
        mend = "capture it at the return, without @assign"
    return error_at(filename, lineno, f"{reason}: @assign records bindings, so {mend}")


def _unreadable(capture: Capture, function: Function, scope: Scope, filename: str, lineno: int) -> CaptureError | None:
    """Why a capture is impossible in a function; None if it is possible. Expressions may read globals and builtins."""
    what = f"{function.qualname} (line {function.node.lineno})"
    if not capture.is_name:
        outside = sorted(names_read(ast.parse(capture.expression, mode="eval").body) & scope.out_of_reach)
        if not outside:
            return None
        return error_at(filename, lineno, f"{capture.expression!r} reads {_not_used(outside[0], what)}")
    name = capture.expression
    if name in scope.readable:
        return None
    if name in scope.out_of_reach:
        reason = _not_used(name, what)
    elif name in scope.globals:
        reason = f"{name!r} is a global in {what}, not a local: read it from the module instead"
    elif name in scope.in_comprehensions:
        reason = f"{name!r} is bound only inside a comprehension in {what}: capture the result of the comprehension"
    else:
        reason = f"{name!r} is never bound in {what}"
        reason += _calls_meant(name, function) or did_you_mean(name, scope.readable) or _calls_of_maps(name, function)
    return error_at(filename, lineno, reason)


def _nowhere(
    capture: Capture, function: Function, scope: Scope, surroundings: ModuleNames, filename: str, lineno: int
) -> CaptureError | None:
    """Why an expression would always fail: it reads a name that does not exist; None if it may succeed."""
    if capture.is_name:
        return None
    own = (*scope.readable, *scope.globals)
    missing = surroundings.nowhere(capture.expression, own)
    if not missing:
        return None
    name, what = missing[0], f"{function.qualname} (line {function.node.lineno})"
    if name in scope.in_comprehensions:
        reason = f"is bound only inside a comprehension in {what}: capture the result of the comprehension"
    else:
        # Builtins contain functions of the recorder, with names that cannot be written in source.
        known = sorted(one for one in {*own, *surroundings.known, *dir(builtins)} if one.isidentifier())
        reason = f"is not a local of {what}, a name in its module, or a builtin{did_you_mean(name, known)}"
    return error_at(filename, lineno, f"{capture.expression!r}: {name!r} {reason}{_points(capture.expression, name)}")


def _points(expression: str, name: str) -> str:
    """The hint for ``x@word``, a matrix product that may have been meant as a capture point."""
    left, sign, right = (part.strip() for part in expression.rpartition("@"))
    if sign and right == name and right in POINTS:
        if left.isidentifier():
            # In a target it would have been the point.
            return f'; in a marker the point is an argument: @capture("{left}", at="{right}")'
        return f"; as a capture point, @{right} takes a plain name"
    if not sign or not left.isidentifier() or right != name:
        return ""
    points = ", ".join(point for point in POINTS if point != "return")
    return f"; if {right} is meant as a capture point, the points are {points}, return"


def _not_used(name: str, what: str) -> str:
    return (
        f"{name!r}, a local of an enclosing function that {what} does not use: capturing it would change "
        "the function's closure, so capture it in the enclosing function"
    )


def _calls_meant(name: str, function: Function) -> str:
    """The hint for a name that is no local, but the name of a function that is called."""
    return _captured_as([call for call in written_calls(function.node) if call.name == name])


def _calls_of_maps(name: str, function: Function) -> str:
    """The hint for the name of a map where no local holds one: the calls whose results may be it, if there are any."""
    if not is_like_a_map(name):
        return ""
    return _captured_as([call for call in written_calls(function.node) if _makes_a_map(call)])


def _makes_a_map(call: WrittenCall) -> bool:
    return is_like_a_map(call.name) or call.name in ("dropout", "masked_fill")


def _captured_as(calls: Sequence[WrittenCall]) -> str:
    lines: dict[str, list[int]] = {}
    for call in calls:
        lines.setdefault(call.name, []).append(call.node.lineno)
    called = [
        f"{name!r} is called on line {' and '.join(map(str, on))}: capture {name}@call"
        for name, on in [*lines.items()][:_NAMED]
        if name.isidentifier()
    ]
    return f"; {'; '.join(called)}" if called else ""
