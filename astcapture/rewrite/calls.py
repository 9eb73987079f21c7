"""Record what goes into a function's calls of torch's ``scaled_dot_product_attention``, and what comes out.

``F.scaled_dot_product_attention(q, k, scale=s)`` becomes

    _@attend(sites, (self,), F.scaled_dot_product_attention, q, k, scale=s)()

Callee and arguments are evaluated once and in order. `attend` returns something to call; the call is the
user's own node, at its own place. Between it and the callee stands C code alone, so a traceback and
the callee's caller are those of a plain run. One difference is left, in the text of two mistakes: of a
``*`` that gets no iterable and a ``**`` that gets no mapping or a repeated keyword, Python names
`attend` where it would name the callee.

Whether a call is one of torch's attention is decided as it runs, by the identity of the callee. Here
only those are left out that cannot be: a call is rewritten where its callee is spelled
``scaled_dot_product_attention``, whatever stands before that, or has a name, or is an attribute or an
item of something with a name, that anywhere in the module is imported as it, or assigned, defaulted to,
looped over or passed as a keyword from an expression that mentions it or such a name:
``sdpa = F.scaled_dot_product_attention``, ``self.attend = attend or sdpa``, ``getattr(F,
"scaled_dot_product_attention")``. Not found are callees that come from other modules under other names.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from astcapture.rewrite.bindings import nested_in, own_expressions
from astcapture.rewrite.find import FunctionNode
from astcapture.rewrite.nodes import Place, literal, placed, read, recorder_name
from astcapture.targets.recipes import WeightsShape, weights_shapes

if TYPE_CHECKING:
    from astcapture.rewrite.plan import FunctionPlan

ATTENTION = "scaled_dot_product_attention"


def attention_names(tree: ast.Module) -> frozenset[str]:
    """The names and attributes of a module that may stand for torch's attention.

    >>> sorted(attention_names(ast.parse("from torch.nn.functional import scaled_dot_product_attention as sdpa")))
    ['scaled_dot_product_attention', 'sdpa']
    """
    given = [one for node in ast.walk(tree) for one in _given(node)]
    names = {ATTENTION}
    while new := {name for name, mentioned in given if name not in names and mentioned & names}:
        names |= new
    return frozenset(names)


def attention_calls(function: FunctionNode, names: frozenset[str]) -> list[ast.Call]:
    """The calls in a function, lambdas and comprehensions included, whose callee may be torch's attention."""
    return [
        node
        for _, node in own_expressions(function, lambdas=True)
        if isinstance(node, ast.Call) and _name_of(node.func) in names
    ]


def record_calls(planned: FunctionPlan, module: str) -> None:
    """Rewrite the calls of a function that may be torch's attention, if it is captured there."""
    captures = [capture for capture in planned.captures if capture.at == "sdpa"]
    if not captures:
        return
    function = planned.function.node
    shape = weights_shapes().get(f"{module}:{planned.function.qualname}")
    apart = nested_in(function)
    calls = [(call, "attend") for call in attention_calls(function, planned.attention_names)]
    if shape is not None:
        calls = [(call, "attend" if call in apart else "attend_as") for call, _ in calls]
        calls += [(call, "attend_unfused") for call in _unfused_calls(function, shape) if call not in apart]
    for call, called in calls:
        name = recorder_name(called, call.func)
        sites = tuple(
            ((module, planned.function.qualname, capture.label, call.lineno), capture.expression)
            for capture in captures
            if called != "attend_unfused" or capture.expression == "weights"
        )
        place = Place(name.lineno, name.col_offset)
        # Reading the owners in a lambda or comprehension would change its closure.
        names = () if call in apart else planned.owners
        owners = placed(ast.Tuple([read(one, place) for one in names], ast.Load()), place)
        seen_as = [] if shape is None or called == "attend" else [_seen_as(function, shape, call, place)]
        arguments = [literal(sites, place), owners, *seen_as, call.func, *call.args]
        call.func = ast.copy_location(ast.Call(name, arguments, call.keywords), call)
        call.args, call.keywords = [], []


def _unfused_calls(function: FunctionNode, shape: WeightsShape) -> list[ast.Call]:
    """The calls that make the weights themselves, if the shape of these is known there."""
    if shape.unfused is None:
        return []
    return [
        call
        for call in attention_calls(function, frozenset({shape.unfused}))
        if all(name is None or _is_bound(function, name, call) for name in shape.names)
    ]


def _seen_as(function: FunctionNode, shape: WeightsShape, call: ast.Call, place: Place) -> ast.expr:
    """The shape of the weights as the locals of the function have it: reading them cannot fail."""
    parts = [
        literal(None, place) if name is None or not _is_bound(function, name, call) else read(name, place)
        for name in shape.names
    ]
    return ast.copy_location(ast.Tuple(parts, ast.Load()), parts[0])


def _is_bound(function: FunctionNode, name: str, call: ast.Call) -> bool:
    """Whether a name is surely bound at a call: a parameter, or assigned by a statement that is run before."""
    if any(
        isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Del) for node in ast.walk(function)
    ):
        return False
    given = function.args
    if name in {arg.arg for arg in (*given.posonlyargs, *given.args, *given.kwonlyargs)}:
        return True
    for statement in function.body:
        if any(node is call for node in ast.walk(statement)):
            return False
        if isinstance(statement, ast.Assign) and any(
            isinstance(node, ast.Name) and node.id == name
            for target in statement.targets
            for node in ([target] if isinstance(target, ast.Name) else getattr(target, "elts", []))
        ):
            return True
    return False


def _name_of(node: ast.expr) -> str | None:
    while isinstance(node, ast.Subscript):
        node = node.value
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else None


def _given(node: ast.AST) -> Iterator[tuple[str, frozenset[str]]]:
    """What gets its value in a node: a name or attribute, and the names that the value may come from."""
    if isinstance(node, ast.alias):
        yield node.asname or node.name, frozenset({node.name.rpartition(".")[2]})
    elif isinstance(node, ast.arguments):
        positional = [*node.posonlyargs, *node.args]
        defaults = [*zip(reversed(positional), reversed(node.defaults), strict=False)]
        for arg, default in [*defaults, *zip(node.kwonlyargs, node.kw_defaults, strict=True)]:
            if default is not None:
                yield arg.arg, _mentioned(default)
    elif isinstance(node, ast.keyword):
        if node.arg is not None:
            yield node.arg, _mentioned(node.value)
    elif isinstance(node, (ast.For, ast.comprehension)):
        yield from _stored([node.target], node.iter)
    elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
        yield from _stored(node.targets if isinstance(node, ast.Assign) else [node.target], node.value)


def _stored(targets: Iterable[ast.expr], value: ast.expr) -> Iterator[tuple[str, frozenset[str]]]:
    mentioned = _mentioned(value)
    for target in targets:
        for part in ast.walk(target):
            # An item is stored to as the name before the brackets.
            stored = isinstance(part, (ast.Name, ast.Attribute, ast.Subscript)) and isinstance(part.ctx, ast.Store)
            if stored and (name := _name_of(part)):  # type: ignore[arg-type]
                yield name, mentioned


def _mentioned(value: ast.expr) -> frozenset[str]:
    """The names that an expression may get its value from; those that it only calls are left out."""
    found = set()
    stack: list[ast.AST] = [value]
    while stack:
        node = stack.pop()
        if isinstance(node, (ast.Name, ast.Attribute)):
            found.add(_name_of(node) or "")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
        called = node.func if isinstance(node, ast.Call) else None
        stack.extend(child for child in ast.iter_child_nodes(node) if child is not called)
    return frozenset(found)
