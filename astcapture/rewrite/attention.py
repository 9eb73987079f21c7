"""Finds the calls in a module that may be fused attention, by its names and aliases."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from astcapture.rewrite.binds import own_expressions
from astcapture.rewrite.find import FunctionNode, own_statements

ATTENTION = "scaled_dot_product_attention"

#: The names of fused attention in torch, flash attention, xformers and transformers.
FUSED = frozenset(
    {
        ATTENTION,
        "flex_attention",
        "compile_friendly_flex_attention",
        "flash_attn_func",
        "flash_attn_kvpacked_func",
        "flash_attn_qkvpacked_func",
        "flash_attn_varlen_func",
        "flash_attn_varlen_kvpacked_func",
        "flash_attn_varlen_qkvpacked_func",
        "flash_attn_with_kvcache",
        "_flash_attention_forward",
        "memory_efficient_attention",
    }
)


def attention_names(tree: ast.Module) -> frozenset[str]:
    """The names and attributes of a module that may refer to fused attention; as ``f()``, functions that return it.

    >>> tree = ast.parse("from torch.nn.functional import scaled_dot_product_attention as sdpa")
    >>> sorted(attention_names(tree) - FUSED)
    ['sdpa']
    """
    nodes = [node for node in ast.walk(tree) if isinstance(node, _GIVING)]
    given = [one for node in nodes for one in _given(node)]
    returned = [one for node in nodes for one in _returned(node)]
    names, makers = set(FUSED), set[str]()
    while True:
        of_names = {name for name, mentioned, called in given if mentioned & names or called & makers} - names
        of_makers = {name for name, mentioned, called in returned if mentioned & names or called & makers} - makers
        if not of_names and not of_makers:
            return frozenset(names | {_result(name) for name in makers})
        names |= of_names
        makers |= of_makers


def attention_calls(function: FunctionNode, names: frozenset[str]) -> list[ast.Call]:
    """The calls in a function, including lambdas and comprehensions, whose callee may be fused attention."""
    return [
        node
        for _, node in own_expressions(function, lambdas=True)
        if isinstance(node, ast.Call) and _may_be(node.func, names)
    ]


def _may_be(callee: ast.expr, names: frozenset[str]) -> bool:
    """Whether a callee is one of these names, or the result of a call that returns it or is given it."""
    if not isinstance(callee, ast.Call):
        return last_name(callee) in names
    mentioned, called = _mentioned(callee)  # `torch.compile(flex_attention)(q, k, v)`
    return bool(mentioned & names or {_result(name) for name in called} & names)


def _result(name: str) -> str:
    return f"{name}()"


def last_name(node: ast.expr) -> str | None:
    while isinstance(node, ast.Subscript):
        node = node.value
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else None


#: A name, the names from which its value may come, and the functions whose results its value may be.
Given = tuple[str, frozenset[str], frozenset[str]]
_NONE: frozenset[str] = frozenset()


#: The nodes that assign something, or that return it.
_GIVING = (
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.alias, ast.arguments, ast.keyword, ast.For, ast.comprehension),
    *(ast.Assign, ast.AnnAssign, ast.NamedExpr),
)


def _returned(node: ast.AST) -> Iterator[Given]:
    """A function and what it returns."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        for statement in own_statements(node):
            if isinstance(statement, ast.Return) and statement.value is not None:
                yield node.name, *_mentioned(statement.value)


def _given(node: ast.AST) -> Iterator[Given]:
    """The names and attributes that a node assigns."""
    if isinstance(node, ast.alias):
        yield node.asname or node.name, frozenset({node.name.rpartition(".")[2]}), _NONE
    elif isinstance(node, ast.arguments):
        positional = [*node.posonlyargs, *node.args]
        defaults = [*zip(reversed(positional), reversed(node.defaults), strict=False)]
        for arg, default in [*defaults, *zip(node.kwonlyargs, node.kw_defaults, strict=True)]:
            if default is not None:
                yield arg.arg, *_mentioned(default)
    elif isinstance(node, ast.keyword):
        if node.arg is not None:
            yield node.arg, *_mentioned(node.value)
    elif isinstance(node, (ast.For, ast.comprehension)):
        yield from _stored([node.target], node.iter)
    elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
        yield from _stored(node.targets if isinstance(node, ast.Assign) else [node.target], node.value)


def _stored(targets: Iterable[ast.expr], value: ast.expr) -> Iterator[Given]:
    mentioned, called = _mentioned(value)
    for target in targets:
        for part in ast.walk(target):
            # An item is stored to as the name before the brackets.
            stored = isinstance(part, (ast.Name, ast.Attribute, ast.Subscript)) and isinstance(part.ctx, ast.Store)
            if stored and (name := last_name(part)):  # type: ignore[arg-type]
                yield name, mentioned, called


def _mentioned(value: ast.expr) -> tuple[frozenset[str], frozenset[str]]:
    """The names from which the value of an expression may come, without names that it only calls; and these."""
    found, called = set(), set()
    stack: list[ast.AST] = [value]
    while stack:
        node = stack.pop()
        if isinstance(node, (ast.Name, ast.Attribute)):
            found.add(last_name(node) or "")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
        function = node.func if isinstance(node, ast.Call) else None
        if function is not None:
            called.add(last_name(function) or "")
        stack.extend(child for child in ast.iter_child_nodes(node) if child is not function)
    return frozenset(found), frozenset(called)
