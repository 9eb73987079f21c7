"""Record a local at each of its bindings.

- After a statement that binds names stands ``_@record(None, site, name, self)``, on the line of the
  statement's last store, so that no line is visited that the program does not visit. What a
  ``for``, ``with``, ``except … as`` or ``case`` binds is recorded as its block starts.
- ``(x := v)`` becomes ``_@record((x := v), site, x, self)``, wherever it stands: in a comprehension too,
  where it binds in the function, but not in a lambda, where it does not.
- ``import a, b`` and ``with m as a, n as b`` do work between their bindings; they are taken apart
  into statements that compile to the same instructions, so that each is recorded before the next.

In between a binding and its record nothing of the program runs, with these exceptions. A statement
with several targets is recorded as a whole: where one raises (``x, self.y = …``), those before it
are not recorded, and of a name that it binds twice (``x, x = 1, 2``) the last value is. A capture in
a pattern is bound before the guard runs and recorded after it, so only where its case is chosen.

Where lines differ from those of a plain run: on Python 3.11 a plain run names the line before, where a
statement reads an unbound local right behind an assignment; rewritten it is the statement's own. And
up to Python 3.11 what follows a pattern of several lines that ends with a wildcard is another line.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from astcapture.rewrite.find import EXPRESSION_SCOPES, FunctionNode, own_blocks, own_statements
from astcapture.rewrite.nodes import Place, call_statement, literal, placed, read, recorder_name

if TYPE_CHECKING:
    from astcapture.rewrite.plan import FunctionPlan

_DEFS = (ast.FunctionDef, ast.AsyncFunctionDef)
# Never evaluated, or evaluated in a scope of their own, or kept as text.
_NOT_EVALUATED = frozenset({"annotation", "returns", "type_params"})
# There the end of a ``finally`` that an exception passes through has the line of its last statement,
# and none where that is a call. A ``pass`` leaves its line and no instruction.
_LINE_IS_LEFT_BEHIND = sys.version_info < (3, 12)


class Binding(NamedTuple):
    """A name, and the line on which it is bound."""

    name: str
    line: int


class Slot(NamedTuple):
    """Where an expression stands: a field of its parent, or one place in a list there."""

    parent: ast.AST
    field: str
    position: int | None

    def put(self, node: ast.expr) -> None:
        if self.position is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.position] = node


def bindings(function: FunctionNode) -> dict[str, int]:
    """What the statements and expressions of a function bind, with the line of the first binding; no parameters."""
    found = [one for node in own_statements(function) for one in _bound_by(node)]
    found += [Binding(node.target.id, node.lineno) for _, node in _walruses(function)]
    first: dict[str, int] = {}
    for name, line in sorted(found, key=lambda one: one.line):
        first.setdefault(name, line)
    return first


def record_bindings(planned: FunctionPlan, module: str) -> None:
    """Insert a record at each binding of the names that `planned` captures at their bindings."""
    work = _Bindings(planned, module)
    if not work.labels:
        return
    function = planned.function.node
    blocks, statements, walruses = list(own_blocks(function)), list(own_statements(function)), list(_walruses(function))
    for slot, node in walruses:
        work.walrus(slot, node)
    for block in blocks:
        block[:] = [one for node in block for one in work.after(node)]
    for statement in statements:
        work.inside(statement)


class _Bindings:
    def __init__(self, planned: FunctionPlan, module: str) -> None:
        self.module = module
        self.qualname = planned.function.qualname
        self.function = planned.function.node
        self.owners = planned.owners
        #: Under which labels a name is recorded.
        self.labels: dict[str, list[str]] = {}
        for capture in planned.captures:
            if capture.at == "assign":
                self.labels.setdefault(capture.expression, []).append(capture.label)
        #: Other functions can unbind these while a later target of the same statement is stored to.
        self.unsafe = planned.scope.shared | planned.scope.nonlocals

    @cached_property
    def in_scopes_of_their_own(self) -> set[ast.AST]:
        """Reading a local of the function there would change its closure."""
        return nested_in(self.function)

    def walrus(self, slot: Slot, node: ast.NamedExpr) -> None:
        result: ast.expr = node
        place = Place(node.lineno, node.col_offset)
        for label in self.labels.get(node.target.id, ()):
            site = literal((self.module, self.qualname, label, node.lineno), place)
            owners = [] if node in self.in_scopes_of_their_own else self.read_owners(place)
            arguments = [result, site, read(node.target.id, place), *owners]
            call = ast.Call(recorder_name("record", result), arguments, [])
            result = ast.copy_location(call, node)
        slot.put(result)

    def read_owners(self, place: Place) -> list[ast.expr]:
        return [read(name, place) for name in self.owners]

    def after(self, node: ast.stmt) -> Iterator[ast.stmt]:
        """A statement, and what it binds recorded behind it."""
        if (
            isinstance(node, ast.Import)
            and len(node.names) > 1
            and any(one.name in self.labels for one in _bound_by(node))
        ):
            for alias in node.names:
                yield from self.after(ast.copy_location(ast.Import([alias]), node))
            return
        yield node
        if isinstance(node, (ast.For, ast.AsyncFor, ast.With, ast.AsyncWith)):
            return
        place = Place(node.lineno, node.col_offset)
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets, place = node.targets, _stored(node.targets[-1])
        elif isinstance(node, (ast.AugAssign, ast.AnnAssign)):
            place = _stored(node.target)
        recording = self.recorded(_bound_by(node), place, targets)
        yield from recording
        if recording and _LINE_IS_LEFT_BEHIND and place.line == node.lineno:
            yield placed(ast.Pass(), place)

    def inside(self, node: ast.AST) -> None:
        """Record what a block binds as it starts."""
        if isinstance(node, (ast.For, ast.AsyncFor)):
            node.body[:0] = self.recorded(_bound_by(node), _stored(node.target), [node.target])
        elif isinstance(node, (ast.With, ast.AsyncWith)):
            self.inside_with(node)
        elif isinstance(node, ast.ExceptHandler):
            node.body[:0] = self.recorded(_bound_by(node), Place(node.lineno, node.col_offset))
        elif isinstance(node, ast.match_case):
            node.body[:0] = self.recorded(_bound_by(node), _chosen(node))

    def inside_with(self, node: ast.With | ast.AsyncWith) -> None:
        for index, item in reversed(list(enumerate(node.items))):
            if item.optional_vars is None:
                continue
            targets = [item.optional_vars]
            recording = self.recorded(list(_stores(targets)), _stored(item.optional_vars), targets)
            if not recording:
                continue
            behind = node.items[index + 1 :]
            if behind:
                rest = ast.copy_location(type(node)(items=behind, body=node.body), node)
                node.items, node.body = node.items[: index + 1], [*recording, rest]
            else:
                node.body[:0] = recording

    def recorded(self, bound: Sequence[Binding], place: Place, targets: Sequence[ast.expr] = ()) -> list[ast.stmt]:
        if not all(isinstance(target, ast.Name) for target in targets):
            # Only the last value of a name is still there.
            bound = [
                one for index, one in enumerate(bound) if all(one.name != other.name for other in bound[index + 1 :])
            ]
        may_unbind = any(
            isinstance(child, (ast.Attribute, ast.Subscript)) for target in targets for child in ast.walk(target)
        )
        return [
            self.record(name, label, line, place, may_unbind and name in self.unsafe)
            for name, line in bound
            for label in self.labels.get(name, ())
        ]

    def record(self, name: str, label: str, line: int, place: Place, unsure: bool) -> ast.stmt:
        site = literal((self.module, self.qualname, label, line), place)
        owners = self.read_owners(place)
        recording = call_statement("record", [literal(None, place), site, read(name, place), *owners], place)
        if not unsure:
            return recording
        missed = ast.ExceptHandler(type=None, name=None, body=[call_statement("missed", [site, *owners], place)])
        tried: Any = ast.Try(body=[ast.Expr(read(name, place))], handlers=[missed], orelse=[recording], finalbody=[])
        statement: ast.stmt = placed(tried, place)
        return statement


def _bound_by(node: ast.AST) -> list[Binding]:
    """What one statement, handler or case binds itself, in order; not what a walrus in it does."""
    if isinstance(node, ast.Assign):
        return list(_stores(node.targets))
    if isinstance(node, (ast.AugAssign, ast.For, ast.AsyncFor)):
        return list(_stores([node.target]))
    if isinstance(node, ast.AnnAssign):
        return list(_stores([node.target])) if node.value is not None else []
    if isinstance(node, (ast.With, ast.AsyncWith)):
        return list(_stores(item.optional_vars for item in node.items if item.optional_vars is not None))
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [
            Binding(alias.asname or alias.name.partition(".")[0], alias.lineno)
            for alias in node.names
            if alias.name != "*"
        ]
    if isinstance(node, (*_DEFS, ast.ClassDef)):
        return [Binding(node.name, node.lineno)]
    if isinstance(node, ast.ExceptHandler):
        return [Binding(node.name, node.lineno)] if node.name else []
    if isinstance(node, ast.match_case):
        return _captured_by(node.pattern)
    if type(node).__name__ == "TypeAlias":
        return list(_stores([node.name]))  # type: ignore[attr-defined]
    return []


def _stores(targets: Iterable[ast.expr]) -> Iterator[Binding]:
    stack = list(targets)[::-1]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Name):
            yield Binding(node.id, node.lineno)
        elif isinstance(node, (ast.Tuple, ast.List)):
            stack.extend(reversed(node.elts))
        elif isinstance(node, ast.Starred):
            stack.append(node.value)


def _captured_by(pattern: ast.pattern) -> list[Binding]:
    """The names of a pattern, each once: the alternatives of an or-pattern bind the same ones."""
    found: dict[str, int] = {}
    stack: list[ast.AST] = [pattern]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.MatchAs) and node.name is not None:
            found.setdefault(node.name, node.lineno if node.pattern is None else node.end_lineno)
        elif isinstance(node, ast.MatchStar) and node.name is not None:
            found.setdefault(node.name, node.lineno)
        elif isinstance(node, ast.MatchMapping) and node.rest is not None:
            found.setdefault(node.rest, node.patterns[-1].end_lineno if node.patterns else node.lineno)
        stack.extend(reversed(_parts(node)))
    return [Binding(name, line) for name, line in found.items()]


def _parts(pattern: ast.AST) -> list[ast.pattern]:
    return [child for child in ast.iter_child_nodes(pattern) if isinstance(child, ast.pattern)]


def _stored(target: ast.expr) -> Place:
    """Where the last instruction of storing to a target is."""
    while True:
        if isinstance(target, ast.Starred):
            target = target.value
        elif isinstance(target, (ast.Tuple, ast.List)) and target.elts:
            target = target.elts[-1]
        elif isinstance(target, ast.Attribute):
            # An attribute is stored to on the line of its name.
            return Place(target.end_lineno or target.lineno, target.col_offset)
        else:
            return Place(target.lineno, target.col_offset)


def _chosen(case: ast.match_case) -> Place:
    """Where the last instruction before the body of a case is."""
    if case.guard is None:
        pattern: ast.AST = case.pattern
        # Up to Python 3.11 what a pattern binds is stored on the line of its last part.
        while sys.version_info < (3, 12) and (parts := _parts(pattern)):
            pattern = parts[-1]
        assert isinstance(pattern, ast.pattern)
        return Place(pattern.lineno, pattern.col_offset)
    if case.guard.lineno == case.guard.end_lineno:
        return Place(case.guard.lineno, case.guard.col_offset)
    return Place.nowhere()


def _walruses(function: FunctionNode) -> Iterator[tuple[Slot, ast.NamedExpr]]:
    for slot, node in own_expressions(function, lambdas=False):
        if isinstance(node, ast.NamedExpr):
            yield slot, node


def nested_in(function: FunctionNode) -> set[ast.AST]:
    """The nodes of a function that stand in a lambda or comprehension of it."""
    return {child for node in ast.walk(function) if isinstance(node, EXPRESSION_SCOPES) for child in ast.walk(node)}


def own_expressions(function: FunctionNode, lambdas: bool) -> Iterator[tuple[Slot, ast.expr]]:
    """The expressions that a function evaluates, comprehensions included; the bodies of lambdas only if asked for."""
    stack: list[tuple[Slot | None, ast.AST]] = [(None, node) for node in reversed(function.body)]
    while stack:
        slot, node = stack.pop()
        if slot is not None and isinstance(node, ast.expr):
            yield slot, node
        left_out = set(_NOT_EVALUATED)
        if isinstance(node, (*_DEFS, ast.ClassDef)) or (isinstance(node, ast.Lambda) and not lambdas):
            left_out.add("body")
        if type(node).__name__ == "TypeAlias":
            continue
        children: list[tuple[Slot | None, ast.AST]] = []
        for field, value in ast.iter_fields(node):
            if field in left_out:
                continue
            if isinstance(value, ast.AST):
                children.append((Slot(node, field, None), value))
            elif isinstance(value, list):
                children += [
                    (Slot(node, field, index), child) for index, child in enumerate(value) if isinstance(child, ast.AST)
                ]
        stack.extend(reversed(children))
