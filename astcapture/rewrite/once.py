"""Finds the calls that an execution of a function makes exactly once, unless an exception ends it before them."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from astcapture.rewrite.find import EXPRESSION_SCOPES, FunctionNode, own_statements

# What a statement evaluates once, before its blocks.
_EVALUATED = {ast.If: "test", ast.For: "iter", ast.Assign: "value", ast.Expr: "value", ast.Return: "value"}


def made_once(function: FunctionNode) -> set[ast.Call]:
    """The calls that every execution makes once. A generator may be left at each ``yield``, so it has none."""
    if any(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in ast.walk(function)):
        return set()
    found: set[ast.Call] = set()
    for statement in function.body:
        part = getattr(statement, _EVALUATED.get(type(statement), ""), None)
        if isinstance(part, ast.expr):
            found.update(node for node in _always_evaluated(part) if isinstance(node, ast.Call))
        if _may_return(statement):
            break
    return found


def _may_return(statement: ast.stmt) -> bool:
    within = ast.Module([statement], [])
    return any(isinstance(node, ast.Return) for node in own_statements(within))


def _always_evaluated(node: ast.expr) -> Iterator[ast.expr]:
    """An expression and those in it that are evaluated with it, each once."""
    stack: list[ast.AST] = [node]
    while stack:
        one = stack.pop()
        if isinstance(one, ast.expr):
            yield one
        if isinstance(one, ast.IfExp):
            stack.append(one.test)
        elif isinstance(one, ast.BoolOp):
            stack.append(one.values[0])
        elif isinstance(one, ast.Compare):
            stack += [one.left, one.comparators[0]]
        elif not isinstance(one, EXPRESSION_SCOPES):
            stack += ast.iter_child_nodes(one)
