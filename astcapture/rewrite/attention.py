"""Finds the calls in a module that may be torch's attention, by its names and aliases."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from astcapture.rewrite.binds import own_expressions
from astcapture.rewrite.find import FunctionNode

ATTENTION = "scaled_dot_product_attention"


def attention_names(tree: ast.Module) -> frozenset[str]:
    """The names and attributes of a module that may refer to torch's attention.

    >>> sorted(attention_names(ast.parse("from torch.nn.functional import scaled_dot_product_attention as sdpa")))
    ['scaled_dot_product_attention', 'sdpa']
    """
    given = [one for node in ast.walk(tree) for one in _given(node)]
    names = {ATTENTION}
    while new := {name for name, mentioned in given if name not in names and mentioned & names}:
        names |= new
    return frozenset(names)


def attention_calls(function: FunctionNode, names: frozenset[str]) -> list[ast.Call]:
    """The calls in a function, including lambdas and comprehensions, whose callee may be torch's attention."""
    return [
        node
        for _, node in own_expressions(function, lambdas=True)
        if isinstance(node, ast.Call) and last_name(node.func) in names
    ]


def last_name(node: ast.expr) -> str | None:
    while isinstance(node, ast.Subscript):
        node = node.value
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else None


def _given(node: ast.AST) -> Iterator[tuple[str, frozenset[str]]]:
    """The names and attributes that a node assigns, each with the names from which its value may come."""
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
            if stored and (name := last_name(part)):  # type: ignore[arg-type]
                yield name, mentioned


def _mentioned(value: ast.expr) -> frozenset[str]:
    """The names from which the value of an expression may come, without names that it only calls."""
    found = set()
    stack: list[ast.AST] = [value]
    while stack:
        node = stack.pop()
        if isinstance(node, (ast.Name, ast.Attribute)):
            found.add(last_name(node) or "")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
        called = node.func if isinstance(node, ast.Call) else None
        stack.extend(child for child in ast.iter_child_nodes(node) if child is not called)
    return frozenset(found)
