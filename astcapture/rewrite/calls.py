"""Inserts records of the inputs and outputs of a function's calls of torch's ``scaled_dot_product_attention``.

``F.scaled_dot_product_attention(q, k, scale=s)`` becomes

    _@attend(sites, (self,), F.scaled_dot_product_attention, q, k, scale=s)()

The callee and the arguments are evaluated once and in order. `attend` returns an object to call; the call is the user's
own node, at its own position. Only C code is between that call and the callee, so the traceback and the callee's caller
are the same as in a plain run. One difference remains, in two error messages: for a ``*`` of a non-iterable, and for a
``**`` of a non-mapping or with a repeated keyword, Python names `attend` instead of the callee.

Whether a call is torch's attention is decided at run time, by the identity of the callee. Here only calls that cannot
be are skipped. A call is rewritten if its callee is spelled ``scaled_dot_product_attention``, whatever stands before
that, or has a name, or is an attribute or an item of something with a name, that anywhere in the module is imported as
it, or assigned, defaulted to, looped over or passed as a keyword from an expression that mentions it or such a name:
``sdpa = F.scaled_dot_product_attention``, ``self.attend = attend or sdpa``, ``getattr(F,
"scaled_dot_product_attention")``. Not found are callees that come from other modules under other names.
"""

from __future__ import annotations

import ast

from astcapture.rewrite.attention import attention_calls
from astcapture.rewrite.binds import nested_in
from astcapture.rewrite.edits import edits_at
from astcapture.rewrite.find import FunctionNode
from astcapture.rewrite.nodes import PREFIX, Place, literal, placed, read, recorder_name
from astcapture.rewrite.planned import FunctionPlan
from astcapture.rewrite.written_calls import is_written_as
from astcapture.targets.recipes import WeightsShape, weights_shapes


def record_calls(planned: FunctionPlan, module: str) -> None:
    """Rewrite the calls of a function that may be torch's attention, if they are captured."""
    captures = [capture for capture in planned.captures if capture.at == "sdpa"]
    edits = edits_at(planned, "sdpa")
    if not captures and not edits:
        return
    function = planned.function.node
    shape = weights_shapes().get(f"{module}:{planned.function.qualname}")
    apart = nested_in(function)
    calls = [(call, "attend") for call in attention_calls(function, planned.attention_names)]
    inputs = [capture for capture in planned.captures if capture.at == "input"]
    if shape is not None:
        calls = [(call, "attend" if call in apart else "attend_as") for call, _ in calls]
        calls += [(call, "attend_unfused") for call in _unfused_calls(function, shape) if call not in apart]
    for call, called in calls:
        name = recorder_name(called, call.func)
        sites = tuple(
            (planned.site(module, capture.label, call.lineno), capture.expression)
            for capture in captures
            if called != "attend_unfused" or capture.expression == "weights"
        )
        # What such a call gets first is its query.
        sites += tuple(
            (planned.site(module, capture.label, call.lineno), "query")
            for capture in inputs
            if called != "attend_unfused" and is_written_as(call, capture.expression)
        )
        place = Place(name.lineno, name.col_offset)
        # Reading the owners in a lambda or comprehension would change its closure.
        names = () if call in apart else planned.owners
        owners = placed(ast.Tuple([read(one, place) for one in names], ast.Load()), place)
        seen_as = [] if shape is None or called == "attend" else [_seen_as(function, shape, call, place)]
        arguments = [literal(sites, place), owners, *seen_as, call.func, *call.args]
        if edits and called != "attend_unfused":
            name.id = PREFIX + "attend_edited"
            of_edits = tuple(planned.edit_site(module, edit, call.lineno) for edit in edits)
            shown = seen_as or [literal(None, place)]
            arguments = [literal(of_edits, place), literal(sites, place), owners, *shown, call.func, *call.args]
        call.func = ast.copy_location(ast.Call(name, arguments, call.keywords), call)
        call.args, call.keywords = [], []


def _unfused_calls(function: FunctionNode, shape: WeightsShape) -> list[ast.Call]:
    """The calls that compute the weights themselves, if the shape of the weights is known there."""
    if shape.unfused is None:
        return []
    return [
        call
        for call in attention_calls(function, frozenset({shape.unfused}))
        if _bound_at(function, call).issuperset(name for name in shape.names if name is not None)
    ]


def _seen_as(function: FunctionNode, shape: WeightsShape, call: ast.Call, place: Place) -> ast.expr:
    """The shape of the weights from locals of the function; reading them cannot fail."""
    bound = _bound_at(function, call)
    parts = [read(name, place) if name in bound else literal(None, place) for name in shape.names]
    return ast.copy_location(ast.Tuple(parts, ast.Load()), parts[0])


def _bound_at(function: FunctionNode, call: ast.Call) -> set[str]:
    """The names that are definitely bound at a call: parameters, and those that an earlier statement assigns."""
    given = function.args
    bound = {arg.arg for arg in (*given.posonlyargs, *given.args, *given.kwonlyargs)}
    for statement in function.body:
        if any(node is call for node in ast.walk(statement)):
            break
        if isinstance(statement, ast.Assign):
            for target in statement.targets:
                parts = [target] if isinstance(target, ast.Name) else getattr(target, "elts", [])
                bound.update(part.id for part in parts if isinstance(part, ast.Name))
    return bound.difference(
        node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Del)
    )
