"""Inserts a record of a local at each of its bindings.

- After a statement that binds names stands ``_@record(None, site, name, self)``, on the line of the
  statement's last store, so that no line is visited that the program does not visit. What a
  ``for``, ``with``, ``except … as`` or ``case`` binds is recorded as its block starts.
- ``(x := v)`` becomes ``_@record((x := v), site, x, self)``, wherever it stands: in a comprehension too,
  where it binds in the function, but not in a lambda, where it does not.
- ``import a, b`` and ``with m as a, n as b`` do work between their bindings; they are taken apart
  into statements that compile to the same instructions, so that each is recorded before the next.

Between a binding and its record no code of the program runs, with these exceptions. A statement with several targets is
recorded as a whole: if one raises (``x, self.y = …``), the targets before it are not recorded, and for a name that it
binds twice (``x, x = 1, 2``) only the last value is recorded. A name in a pattern is bound before the guard runs and
recorded after it, so it is recorded only if its case is chosen.

Where lines differ from those of a plain run: on Python 3.11 a plain run names the line before, where a
statement reads an unbound local right behind an assignment; rewritten it is the statement's own. And
up to Python 3.11 what follows a pattern of several lines that ends with a wildcard is another line.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from typing import Any

from astcapture.rewrite.binds import Binding, Slot, bound_by, nested_in, stores, subpatterns, walruses
from astcapture.rewrite.edits import edited, edited_local, edits_at
from astcapture.rewrite.find import own_blocks, own_statements
from astcapture.rewrite.nodes import Place, call_statement, literal, placed, read, read_owners, recorder_name
from astcapture.rewrite.planned import FunctionPlan

# There the end of a ``finally`` that an exception passes through has the line of its last statement,
# and none where that is a call. A ``pass`` leaves its line and no instruction.
_LINE_IS_LEFT_BEHIND = sys.version_info < (3, 12)


def record_bindings(planned: FunctionPlan, module: str) -> None:
    """Insert a record, or an edit, at each binding of the names that `planned` captures or edits with @assign."""
    work = _Bindings(planned, module)
    if not work.labels and not work.edits:
        return
    function = planned.function.node
    blocks, statements = list(own_blocks(function)), list(own_statements(function))
    for slot, node in list(walruses(function)):
        work.walrus(slot, node)
    for block in blocks:
        block[:] = [one for node in block for one in work.after(node)]
    for statement in statements:
        work.inside(statement)


class _Bindings:
    def __init__(self, planned: FunctionPlan, module: str) -> None:
        self.site = partial(planned.site, module)
        self.function = planned.function.node
        self.owners = planned.owners
        #: The labels of each recorded name.
        self.labels: dict[str, list[str]] = {}
        for capture in planned.captures:
            if capture.at == "assign":
                self.labels.setdefault(capture.expression, []).append(capture.label)
        #: The edit of each edited name.
        self.edits = {edit.expression: edit for edit in edits_at(planned, "assign")}
        self.edit_site = partial(planned.edit_site, module)
        #: Names that other functions can unbind while a later target of the same statement is assigned.
        self.unsafe = planned.scope.shared | planned.scope.nonlocals

    @cached_property
    def in_scopes_of_their_own(self) -> set[ast.AST]:
        """Reading a local of the function there would change its closure."""
        return nested_in(self.function)

    def walrus(self, slot: Slot, node: ast.NamedExpr) -> None:
        result: ast.expr = node
        place = Place(node.lineno, node.col_offset)
        if node.target.id in self.edits:
            edit_site = self.edit_site(self.edits[node.target.id], node.lineno)
            names = () if node in self.in_scopes_of_their_own else self.owners
            node.value = edited(node.value, edit_site, names, place)
        for label in self.labels.get(node.target.id, ()):
            site = literal(self.site(label, node.lineno), place)
            names = () if node in self.in_scopes_of_their_own else self.owners
            owners = read_owners("record", names, place)
            arguments = [result, site, read(node.target.id, place), *owners]
            call = ast.Call(recorder_name("record", result), arguments, [])
            result = ast.copy_location(call, node)
        slot.put(result)

    def after(self, node: ast.stmt) -> Iterator[ast.stmt]:
        """A statement, followed by records of what it binds."""
        if (
            isinstance(node, ast.Import)
            and len(node.names) > 1
            and any(one.name in self.labels or one.name in self.edits for one in bound_by(node))
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
        recording = self.recorded(bound_by(node), place, targets)
        yield from recording
        if recording and _LINE_IS_LEFT_BEHIND and place.line == node.lineno:
            yield placed(ast.Pass(), place)

    def inside(self, node: ast.AST) -> None:
        """Record what a block binds at its start."""
        if isinstance(node, (ast.For, ast.AsyncFor)):
            node.body[:0] = self.recorded(bound_by(node), _stored(node.target), [node.target])
        elif isinstance(node, (ast.With, ast.AsyncWith)):
            self.inside_with(node)
        elif isinstance(node, ast.ExceptHandler):
            node.body[:0] = self.recorded(bound_by(node), Place(node.lineno, node.col_offset))
        elif isinstance(node, ast.match_case):
            node.body[:0] = self.recorded(bound_by(node), _chosen(node))

    def inside_with(self, node: ast.With | ast.AsyncWith) -> None:
        for index, item in reversed(list(enumerate(node.items))):
            if item.optional_vars is None:
                continue
            targets = [item.optional_vars]
            recording = self.recorded(list(stores(targets)), _stored(item.optional_vars), targets)
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
        statements = []
        for name, line in bound:
            unsure = may_unbind and name in self.unsafe
            if name in self.edits:
                statements.append(self.edit(name, line, place, unsure))
            statements += [self.record(name, label, line, place, unsure) for label in self.labels.get(name, ())]
        return statements

    def edit(self, name: str, line: int, place: Place, unsure: bool) -> ast.stmt:
        assigned = edited_local(name, self.edit_site(self.edits[name], line), self.owners, place)
        if not unsure:
            return assigned
        unbound = ast.ExceptHandler(type=None, name=None, body=[ast.Pass()])
        tried: Any = ast.Try(body=[ast.Expr(read(name, place))], handlers=[unbound], orelse=[assigned], finalbody=[])
        statement: ast.stmt = placed(tried, place)
        return statement

    def record(self, name: str, label: str, line: int, place: Place, unsure: bool) -> ast.stmt:
        site = literal(self.site(label, line), place)
        owners = read_owners("record", self.owners, place)
        recording = call_statement("record", [literal(None, place), site, read(name, place), *owners], place)
        if not unsure:
            return recording
        missed = ast.ExceptHandler(
            type=None,
            name=None,
            body=[call_statement("missed", [site, *read_owners("missed", self.owners, place)], place)],
        )
        tried: Any = ast.Try(body=[ast.Expr(read(name, place))], handlers=[missed], orelse=[recording], finalbody=[])
        statement: ast.stmt = placed(tried, place)
        return statement


def _stored(target: ast.expr) -> Place:
    """The line of the last instruction that stores to a target."""
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
    """The line of the last instruction before the body of a case."""
    if case.guard is None:
        pattern: ast.AST = case.pattern
        # Up to Python 3.11 what a pattern binds is stored on the line of its last part.
        while sys.version_info < (3, 12) and (parts := subpatterns(pattern)):
            pattern = parts[-1]
        assert isinstance(pattern, ast.pattern)
        return Place(pattern.lineno, pattern.col_offset)
    if case.guard.lineno == case.guard.end_lineno:
        return Place(case.guard.lineno, case.guard.col_offset)
    return Place.nowhere()
