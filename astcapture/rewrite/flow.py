"""Finds the locals that are definitely bound at each exit of a function.

This is a forward analysis over the statements. It is conservative: a name that it reports is bound on every path, so
reading it cannot raise; a name that it does not report may still be bound.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from astcapture.rewrite.find import FunctionNode
from astcapture.rewrite.scope import Scope

#: The names definitely bound at a point; None if the point is never reached.
State = frozenset[str] | None


@dataclass
class Exits:
    """The names definitely bound at every ``return`` and ``yield`` of a function, and at the end of its body."""

    at_return: dict[ast.Return, frozenset[str]]
    at_end: State
    #: The names that are bound before the statement with each ``yield``.
    at_yield: dict[ast.Yield, frozenset[str]]


@dataclass
class _Loop:
    breaks: list[State] = field(default_factory=list)


def bound_at_exits(function: FunctionNode, scope: Scope) -> Exits:
    """Analyse one function. Names that a nested function can unbind (``nonlocal``) are never reported."""
    analysis = _Flow(frozenset(scope.bound) - scope.shared)
    analysis.has_yields = any(isinstance(node, ast.Yield) for node in ast.walk(function))
    at_end = analysis.block(function.body, frozenset(scope.parameters) & analysis.names)
    return Exits(analysis.returns, at_end, analysis.yields)


def join(states: Iterable[State]) -> State:
    """The names bound after several paths merge."""
    reached = [state for state in states if state is not None]
    return frozenset.intersection(*reached) if reached else None


class _Flow:
    def __init__(self, names: frozenset[str]) -> None:
        self.names = names
        self.returns: dict[ast.Return, frozenset[str]] = {}
        self.yields: dict[ast.Yield, frozenset[str]] = {}
        self.has_yields = False
        self.loops: list[_Loop] = []

    def block(self, statements: Sequence[ast.stmt], state: State) -> State:
        for statement in statements:
            state = self.statement(statement, state)
        return state

    def statement(self, node: ast.stmt, state: State) -> State:
        if state is None:
            # Dead code still gets its returns rewritten; nothing is assumed there.
            self.dead(node)
            return None
        self.yielding(node, state)
        if isinstance(node, ast.Return):
            known = self.returns.get(node)
            self.returns[node] = state if known is None else known & state
            return None
        if isinstance(node, ast.Raise):
            return None
        if isinstance(node, (ast.Break, ast.Continue)):
            if isinstance(node, ast.Break):
                self.loops[-1].breaks.append(state)
            return None
        if isinstance(node, ast.If):
            return join((self.block(node.body, state), self.block(node.orelse, state)))
        if isinstance(node, (ast.For, ast.AsyncFor, ast.While)):
            return self.loop(node, state)
        if isinstance(node, (ast.With, ast.AsyncWith)):
            targets = [item.optional_vars for item in node.items if item.optional_vars]
            inside = self.block(node.body, state | self.stored(targets))
            # The manager may swallow an exception raised anywhere in the body.
            return join((inside, state - unbound_in(node.body)))
        if isinstance(node, ast.Match):
            return join([self.block(case.body, state) for case in node.cases] + [state])
        if isinstance(node, ast.Try) or type(node).__name__ == "TryStar":
            return self.try_(node, state)  # type: ignore[arg-type]
        return (state | self.stored(_bindings(node))) - _deleted(node)

    def loop(self, node: ast.For | ast.AsyncFor | ast.While, state: frozenset[str]) -> State:
        head = state - unbound_in(node.body)
        self.loops.append(_Loop())
        self.block(node.body, head | self.stored([node.target]) if not isinstance(node, ast.While) else head)
        loop = self.loops.pop()
        endless = isinstance(node, ast.While) and isinstance(node.test, ast.Constant) and bool(node.test.value)
        # A break leaves through the handlers and finally clauses around it, which may unbind on the way.
        gone = unbound_in(node.body)
        breaks = [None if state is None else state - gone for state in loop.breaks]
        return join([None if endless else self.block(node.orelse, head), *breaks])

    def try_(self, node: ast.Try, state: frozenset[str]) -> State:
        body = self.block(node.body, state)
        interrupted = state - unbound_in(node.body)
        ends = [self.block(node.orelse, body)]
        for handler in node.handlers:
            self.yielding(handler, interrupted)
            caught = self.block(handler.body, interrupted | self.named(handler.name))
            ends.append(None if caught is None else caught - self.named(handler.name))
        state_out = join(ends)
        if not node.finalbody:
            return state_out
        # Entered from anywhere above, by exceptions and by returns too.
        anywhere = state - unbound_in([*node.body, *node.orelse, *node.handlers])
        self.block(node.finalbody, anywhere)
        return None if state_out is None else self.block(node.finalbody, state_out)

    def yielding(self, node: ast.stmt | ast.ExceptHandler, state: frozenset[str]) -> None:
        """Note what is bound at each ``yield`` in a statement itself, not in its blocks."""
        for child in _header(node) if self.has_yields else ():
            if isinstance(child, ast.Yield):
                # The test of a loop is evaluated after its body too.
                sure = state - unbound_in(node.body) if isinstance(node, ast.While) else state
                self.yields[child] = self.yields.get(child, sure) & sure

    def dead(self, node: ast.stmt) -> None:
        for child in ast.walk(node):
            if isinstance(child, ast.Return):
                self.returns.setdefault(child, frozenset())

    def stored(self, nodes: Iterable[ast.AST | None]) -> frozenset[str]:
        return self.names & {
            child.id
            for node in nodes
            if node is not None
            for child in ast.walk(node)
            if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store)
        }

    def named(self, name: str | None) -> frozenset[str]:
        return self.names & {name} if name else frozenset()


def _header(node: ast.AST) -> Iterable[ast.AST]:
    """The nodes that a statement evaluates itself: not those of its blocks, of lambdas, or of what it defines."""
    stack = [node]
    while stack:
        one = stack.pop()
        yield one
        if one is not node and isinstance(one, (ast.stmt, ast.ExceptHandler, ast.Lambda)):
            continue
        stack += [child for child in ast.iter_child_nodes(one) if not isinstance(child, (ast.stmt, ast.ExceptHandler))]


def _bindings(node: ast.stmt) -> list[ast.AST]:
    """The targets that a simple statement definitely binds, without those of a walrus in its expressions."""
    if isinstance(node, ast.Assign):
        return list(node.targets)
    if isinstance(node, ast.AnnAssign):
        return [node.target] if node.value is not None else []
    if isinstance(node, ast.AugAssign):
        return [node.target]
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [
            ast.Name((alias.asname or alias.name.partition(".")[0]), ast.Store())
            for alias in node.names
            if alias.name != "*"
        ]
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [ast.Name(node.name, ast.Store())]
    if type(node).__name__ == "TypeAlias":
        return [node.name]  # type: ignore[attr-defined]
    return []


def _deleted(node: ast.stmt) -> frozenset[str]:
    if not isinstance(node, ast.Delete):
        return frozenset()
    return frozenset(child.id for target in node.targets for child in ast.walk(target) if isinstance(child, ast.Name))


def unbound_in(nodes: Iterable[ast.AST]) -> frozenset[str]:
    """The names that may be unbound somewhere in these statements: by ``del``, or as ``except … as`` ends."""
    gone: set[str] = set()
    for node in nodes:
        for child in ast.walk(node):
            if isinstance(child, ast.Delete):
                gone |= _deleted(child)
            elif isinstance(child, ast.ExceptHandler) and child.name:
                gone.add(child.name)
    return frozenset(gone)
