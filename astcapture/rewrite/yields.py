"""Inserts a record of locals at each ``yield`` of a generator.

``yield E`` becomes ``yield _@record(E, site, name, self)``: `E` is evaluated first, as at a ``return``. A name that may
be unbound is looked up. Where the function would notice that (see `transform`), nothing is recorded but the reason.
"""

from __future__ import annotations

import ast
from dataclasses import replace

from astcapture.rewrite.binds import own_expressions
from astcapture.rewrite.exits import Exit
from astcapture.rewrite.planned import FunctionPlan


def yields_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.Yield]:
    """The ``yield`` expressions of a function; ``yield from`` hands out what another generator yields."""
    return [node for _, node in own_expressions(function, lambdas=False) if isinstance(node, ast.Yield)]


def record_yields(planned: FunctionPlan, module: str, bound: dict[ast.Yield, frozenset[str]], quiet: bool) -> None:
    """Rewrite the ``yield`` expressions of a function whose locals are captured there.

    Args:
        planned: the function.
        module: its module, for the sites.
        bound: the names that are definitely bound as each of them hands out its value.
        quiet: whether ``locals()`` can be called without the function noticing it.
    """
    captures = tuple(capture for capture in planned.captures if capture.at == "yield")
    if not captures:
        return
    at_yield = replace(planned, captures=captures)
    for node in yields_of(planned.function.node):
        # The frame stays alive, so the dict of its locals is cleared if it was read.
        leaving = Exit(at_yield, module, bound.get(node, frozenset()), node, quiet, outlived=True)
        value, before = node.value, node.value
        taken = leaving.constant(None) if value is None else value
        for capture in captures:
            # Without a ``try``, which is a statement.
            taken = leaving.taken(capture, taken, before) or leaving.unread(capture, taken, before)
        node.value = leaving.forgotten(taken, before)
