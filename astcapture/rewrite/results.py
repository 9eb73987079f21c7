"""Inserts records of what the calls in a function return, and of what they get first.

``F.softmax(s, -1)`` with ``softmax@call`` becomes

    _@called(F.softmax(s, -1), site, self)

The call is the user's own node at its own position, so arguments, exceptions and tracebacks are those of a plain run;
`called` records what it returned and returns the same object. Where ``await`` stands before the call, the result of the
``await`` is recorded. With ``softmax@input`` the call becomes

    _@given(sites, (self,), F.softmax, s, -1)()

as in `calls`: the callee and the arguments are evaluated once and in order, `given` records the first of them, and
returns what is then called. Only C code is between that call and the callee. Where lines or messages would differ, the
call becomes

    _@given_starred(sites, (self,), f).call(*s).__call__()

so that Python itself names the callee if `s` is not iterable. ``super()`` without arguments gets nothing, and stays as
it is.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence

from astcapture.rewrite.attention import attention_calls
from astcapture.rewrite.binds import nested_in
from astcapture.rewrite.edits import edited
from astcapture.rewrite.nodes import PREFIX, Place, from_line, literal, placed, read, read_owners, recorder_name
from astcapture.rewrite.planned import FunctionPlan
from astcapture.rewrite.written_calls import WrittenCall, written_calls
from astcapture.targets.capture import Capture


def record_results(planned: FunctionPlan, module: str) -> None:
    """Insert a record at each call of the functions whose results or inputs `planned` captures."""
    captures = [capture for capture in (*planned.edits, *planned.captures) if capture.of_calls]
    if not captures:
        return
    function, owners = planned.function.node, planned.owners
    apart = nested_in(function)
    attention = _recorded_as_attention(planned)
    # From the back, so that the positions of calls inside other calls stay true.
    for call in reversed(written_calls(function)):
        asked = [capture for capture in captures if call.is_named(capture.expression)]
        if not asked:
            continue
        # Reading the owners in a comprehension would change its closure.
        names = () if call.node in apart else owners
        recorded = [one for one in asked if not one.edits]
        edits = [(one, planned.edit_site(module, one, call.node.lineno)) for one in asked if one.edits]
        _record_result(
            call,
            [site for one, site in edits if one.at == "call"],
            [_site(planned, module, one, call) for one in recorded if one.at == "call"],
            names,
        )
        inputs = [_site(planned, module, one, call) for one in recorded if one.at == "input"]
        edited_inputs = [site for one, site in edits if one.at == "input"]
        if (inputs or edited_inputs) and call.node not in attention and not _is_bare_super(call.node):
            _record_input(call, edited_inputs, inputs, names)


def _site(planned: FunctionPlan, module: str, capture: Capture, call: WrittenCall) -> tuple[object, ...]:
    return planned.site(module, capture.label, call.node.lineno)


def _record_result(
    call: WrittenCall,
    edits: Iterable[tuple[str | int, ...]],
    sites: Iterable[tuple[object, ...]],
    names: Sequence[str],
) -> None:
    result: ast.expr = call.result
    place = Place(call.last_line, call.result.col_offset)
    for edit in edits:
        result = edited(result, edit, names, place)
    for site in sites:
        owners = read_owners("called", names, place)
        recording = ast.Call(recorder_name("called", result), [result, literal(site, place), *owners], [])
        # The compiler goes by the start of a call, and by the end of what stands in a ``with``.
        result = from_line(place.line, ast.copy_location(recording, call.result))
    call.slot.put(result)


def _record_input(
    call: WrittenCall,
    edits: Sequence[tuple[str | int, ...]],
    sites: Sequence[tuple[object, ...]],
    names: Sequence[str],
) -> None:
    node, line = call.node, call.last_line
    name = recorder_name("given", node.func)
    place = Place(name.lineno, name.col_offset)
    owners = placed(ast.Tuple([read(one, place) for one in names], ast.Load()), place)
    arguments = [literal(tuple(sites), place), owners, node.func]
    written, starred = node.func, _is_starred(node) and not edits
    if edits:
        name.id = PREFIX + "given_edited"
        arguments.insert(0, literal(tuple(edits), place))
    elsewhere = starred or line != node.lineno or name.lineno != node.lineno
    if line != node.lineno and isinstance(written, ast.Attribute):
        # The compiler gives the call of a method the position of its name, where that is on a line of its own.
        node.lineno, node.col_offset = line, (written.end_col_offset or 0) - len(written.attr)
    if starred:
        name.id = PREFIX + "given_starred"
        callee = ast.copy_location(ast.Attribute(ast.Call(name, arguments, []), "call", ast.Load()), written)
        from_line(written.end_lineno or written.lineno, ast.copy_location(callee.value, written))
        prepared = ast.copy_location(ast.Call(callee, node.args, node.keywords), node)
    else:
        prepared = ast.copy_location(ast.Call(name, [*arguments, *node.args], node.keywords), node)
    node.func, node.args, node.keywords = _called(prepared) if elsewhere else prepared, [], []


def _is_starred(node: ast.Call) -> bool:
    return any(isinstance(one, ast.Starred) for one in node.args) or any(one.arg is None for one in node.keywords)


def _called(prepared: ast.Call) -> ast.expr:
    """What calls the result of `prepared` as a method. Up to Python 3.12 another call begins on the line of its callee,
    before that is computed."""
    called = ast.Attribute(prepared, "__call__", ast.Load())
    called.lineno = called.end_lineno = prepared.lineno
    called.col_offset = called.end_col_offset = prepared.col_offset
    return called


def _is_bare_super(node: ast.Call) -> bool:
    return isinstance(node.func, ast.Name) and node.func.id == "super" and not (node.args or node.keywords)


def _recorded_as_attention(planned: FunctionPlan) -> set[ast.Call]:
    """The calls that `calls` rewrites, which records their inputs as well."""
    if all(capture.at != "sdpa" for capture in (*planned.captures, *planned.edits)):
        return set()
    return set(attention_calls(planned.function.node, planned.attention_names))
