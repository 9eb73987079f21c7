"""Finds the bindings of a local that nothing reads.

This is a backward analysis over the statements, for one name: a name is live at a point if a value that is bound there
can still be read. It is conservative: a binding that it reports is read on no path; one that it does not report may be
unread too. Any statement may raise, and a context manager may swallow what is raised.

Where reads cannot be placed, every binding counts as read: a name that a nested function, a lambda or a generator
expression reads (it may run at any time later), a global or nonlocal name, a function that looks at its own locals.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from astcapture.rewrite.binds import bound_by
from astcapture.rewrite.find import FunctionNode
from astcapture.rewrite.scope import Scope, names_read

_DEFS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
# What is evaluated later than where it is written, if at all.
_DEFERRED = (*_DEFS, ast.Lambda, ast.GeneratorExp)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp)
# With these a function can read its locals by other means than their names.
_LOOKS = frozenset(
    {"locals", "vars", "eval", "exec", "dir", "breakpoint", "builtins", "__builtins__", "inspect", "pdb"}
)
_FRAMES = frozenset({"_getframe", "currentframe", "f_locals", "f_back", "set_trace"})
# Methods of other libraries that read the names in a text from the frame of their caller.
_EVALUATORS = frozenset({"eval", "evaluate"})


def unread_bindings(function: FunctionNode, scope: Scope, name: str) -> tuple[list[int], list[int]]:
    """The lines of the bindings of a local that nothing reads before it is bound again, and the lines that read it.

    A parameter is bound on the line of the ``def`` too. A line with several bindings is reported if all are unread.
    The value of a walrus goes on into the expression around it, so it counts as read unless it is a statement.
    """
    reads = sorted(set(_lines_of_reads(function, name)))
    if name not in scope.bound or name in scope.shared or _reads_cannot_be_placed(function, scope, name):
        return [], reads
    analysis = _Liveness(name)
    end = _Ends(raised=False, returned=False, broken=False, continued=False)
    live = analysis.block(function.body, False, end)
    if name in scope.parameters:
        analysis.bind(function.lineno, live)
    return sorted(line for line, read in analysis.bound.items() if not read), reads


@dataclass(frozen=True)
class _Ends:
    """Whether the name is live where control goes from here, other than to the next statement."""

    raised: bool
    returned: bool
    broken: bool
    continued: bool


class _Liveness:
    """Each method gets whether the name is live behind a node, and gives whether it is live before it."""

    def __init__(self, name: str) -> None:
        self.name = name
        #: The lines where the name is bound, and whether what is bound there can be read.
        self.bound: dict[int, bool] = {}

    def bind(self, line: int, live: bool) -> None:
        self.bound[line] = self.bound.get(line, False) or live

    def block(self, statements: Sequence[ast.stmt], live: bool, ends: _Ends) -> bool:
        for statement in reversed(statements):
            live = self.statement(statement, live, ends)
        return live

    def statement(self, node: ast.stmt, live: bool, ends: _Ends) -> bool:
        before = self.path(node, live, ends)
        return before or ends.raised

    def path(self, node: ast.stmt, live: bool, ends: _Ends) -> bool:
        if isinstance(node, ast.Return):
            return self.reads(node.value, live=ends.returned)
        if isinstance(node, ast.Raise):
            return self.reads(node.exc, node.cause, live=ends.raised)
        if isinstance(node, ast.Break):
            return ends.broken
        if isinstance(node, ast.Continue):
            return ends.continued
        if isinstance(node, ast.If):
            branches = [self.block(node.body, live, ends), self.block(node.orelse, live, ends)]
            return self.reads(node.test, live=any(branches))
        if isinstance(node, (ast.For, ast.AsyncFor, ast.While)):
            return self.loop(node, live, ends)
        if isinstance(node, (ast.With, ast.AsyncWith)):
            return self.with_(node, live, ends)
        if isinstance(node, ast.Match):
            return self.match(node, live, ends)
        if isinstance(node, ast.Try) or type(node).__name__ == "TryStar":
            return self.try_(node, live, ends)  # type: ignore[arg-type]
        return self.simple(node, live, ends)

    def simple(self, node: ast.stmt, live: bool, ends: _Ends) -> bool:
        if isinstance(node, ast.Assign):
            return self.reads(node.value, live=self.stored(node.targets, live, ends))
        if isinstance(node, ast.AugAssign):
            before = self.stored([node.target], live, ends)
            return self.reads(node.value, live=before) or self.is_name(node.target)
        if isinstance(node, ast.AnnAssign):
            after = self.stored([node.target], live, ends) if node.value is not None else live
            return self.reads(node.annotation, node.value, live=after)
        if isinstance(node, ast.Delete):
            return live or any(self.is_name(child) for child in ast.walk(node))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.NamedExpr):
            return self.reads(node.value.value, live=self.stored([node.value.target], live, ends))
        for binding in reversed(bound_by(node)):
            if binding.name == self.name:
                self.bind(binding.line, live or ends.raised)
                live = False
        if isinstance(node, _DEFS):
            # It does not read the name, or nothing would be reported.
            self.walruses(node)
            return live
        return self.reads(node, live=live)

    def loop(self, node: ast.For | ast.AsyncFor | ast.While, live: bool, ends: _Ends) -> bool:
        endless = isinstance(node, ast.While) and isinstance(node.test, ast.Constant) and bool(node.test.value)
        left = self.block(node.orelse, live, ends) and not endless

        def head(again: bool) -> bool:
            body = self.block(node.body, again, replace(ends, broken=live, continued=again))
            if isinstance(node, ast.While):
                return self.reads(node.test, live=body or left)
            return self.stored([node.target], body, ends) or left

        again = head(left or ends.raised)
        # What is live as the body starts is live as it ends.
        again = again and head(True)
        return again if isinstance(node, ast.While) else self.reads(node.iter, live=again)

    def with_(self, node: ast.With | ast.AsyncWith, live: bool, ends: _Ends) -> bool:
        # The manager may swallow what is raised in the body, and its exit may raise.
        inside = replace(ends, raised=ends.raised or live)
        state = self.block(node.body, live or ends.raised, inside)
        for item in reversed(node.items):
            if item.optional_vars is not None:
                state = self.stored([item.optional_vars], state, inside)
            state = self.reads(item.context_expr, live=state or inside.raised)
        return state

    def match(self, node: ast.Match, live: bool, ends: _Ends) -> bool:
        otherwise = live
        for case in reversed(node.cases):
            chosen = self.reads(case.guard, live=self.block(case.body, live, ends))
            for binding in bound_by(case):
                if binding.name == self.name:
                    # It stays bound where the guard fails.
                    self.bind(binding.line, chosen or otherwise or ends.raised)
                    chosen = False
            otherwise = self.reads(case.pattern, live=chosen or otherwise)
        return self.reads(node.subject, live=otherwise)

    def try_(self, node: ast.Try, live: bool, ends: _Ends) -> bool:
        if node.finalbody:
            # It goes on wherever control was going when it was entered.
            anywhere = live or ends.raised or ends.returned or ends.broken or ends.continued
            live = self.block(node.finalbody, anywhere, ends)
            ends = _Ends(raised=live, returned=live, broken=live, continued=live)
        caught = ends.raised
        for handler in reversed(node.handlers):
            state = self.block(handler.body, live, ends)
            if handler.name == self.name:
                self.bind(handler.lineno, state or ends.raised)
            caught = self.reads(handler.type, live=caught or state)
        otherwise = self.block(node.orelse, live, ends)
        return self.block(node.body, otherwise, replace(ends, raised=caught))

    def stored(self, targets: Iterable[ast.expr], live: bool, ends: _Ends) -> bool:
        """Whether the name is live before these targets are stored to, in order; each store may raise."""
        for target in reversed([*_leaves(targets)]):
            if isinstance(target, ast.Name):
                if target.id == self.name:
                    self.bind(target.lineno, live or ends.raised)
                    live = False
            else:
                live = self.reads(target, live=live) or ends.raised
        return live

    def reads(self, *nodes: ast.AST | None, live: bool) -> bool:
        """Whether the name is live before these nodes are evaluated."""
        for node in nodes:
            if node is None:
                continue
            self.walruses(node)
            live = live or self.name in names_read(node)
        return live

    def walruses(self, node: ast.AST) -> None:
        """Note the walruses below a node. They may not be reached, so what was bound before stays live."""
        for child in ast.walk(node):
            if isinstance(child, ast.NamedExpr) and child.target.id == self.name:
                self.bind(child.target.lineno, True)

    def is_name(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Name) and node.id == self.name


def _leaves(targets: Iterable[ast.expr]) -> Iterator[ast.expr]:
    """The names, attributes and items that are stored to, in order."""
    for target in targets:
        if isinstance(target, (ast.Tuple, ast.List)):
            yield from _leaves(target.elts)
        elif isinstance(target, ast.Starred):
            yield from _leaves([target.value])
        else:
            yield target


def _reads_cannot_be_placed(function: FunctionNode, scope: Scope, name: str) -> bool:
    if name in scope.parameters[:1] and _mentions(function, frozenset({"super"}), frozenset()):
        return True  # super() reads the first parameter
    if _mentions(function, _LOOKS, _FRAMES):
        return True
    for node in _below(function):
        if isinstance(node, _DEFERRED) or type(node).__name__ == "TypeAlias":
            if name in names_read(node):
                return True
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in _EVALUATORS and (node.args or node.keywords):
                return True
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and f"@{name}" in node.value:
            return True  # as pandas' query spells a local
    return False


def _mentions(function: FunctionNode, names: frozenset[str], attributes: frozenset[str]) -> bool:
    return any(
        (isinstance(node, ast.Name) and node.id in names)
        or (isinstance(node, ast.Attribute) and node.attr in attributes)
        for node in _below(function)
    )


def _lines_of_reads(function: FunctionNode, name: str) -> Iterator[int]:
    stack: list[ast.AST] = [*function.body]
    while stack:
        node = stack.pop()
        nested = isinstance(node, (*_DEFERRED, *_COMPREHENSIONS))
        if nested and name not in names_read(node):
            continue
        if isinstance(node, ast.Name) and node.id == name and not isinstance(node.ctx, ast.Store):
            yield node.lineno
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
            yield node.target.lineno
        stack += ast.iter_child_nodes(node)


def _below(function: FunctionNode) -> Iterator[ast.AST]:
    """The nodes of a function's body: its defaults and decorators belong to the scope around it."""
    for statement in function.body:
        yield from ast.walk(statement)
