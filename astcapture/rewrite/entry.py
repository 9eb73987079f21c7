"""Inserts what runs as a function starts: it says that an execution begins, and records parameters as they came in."""

from __future__ import annotations

import ast

from astcapture.rewrite import nodes
from astcapture.rewrite.edits import edited_local, edits_at
from astcapture.rewrite.lines import first_line_of
from astcapture.rewrite.planned import FunctionPlan


def record_entry(planned: FunctionPlan, module: str) -> None:
    """Insert the code before the first statement of the body that does something."""
    function = planned.function.node
    at_entry = [capture for capture in planned.captures if capture.at == "enter"]
    edits = edits_at(planned, "enter")
    if not (planned.edits or at_entry or planned.tells_that_it_starts or planned.tells_that_it_begins):
        return
    index = 0 if ast.get_docstring(function, clean=False) is None else 1
    while index < len(function.body) and _runs_nothing(function.body[index]):
        index += 1
    if index == len(function.body):
        place = nodes.Place.nowhere()
    else:
        # On the line that is visited first anyway.
        place = nodes.Place(first_line_of(function.body[index]), function.body[index].col_offset)
    inserted = []
    if planned.tells_that_it_starts:
        inserted.append(_says_that_it_starts("enter", planned, module, place))
    if planned.tells_that_it_begins:
        inserted.append(_says_that_it_starts("begin", planned, module, place))
    if planned.edits:
        first = planned.edits[0]
        site = nodes.literal(planned.edit_site(module, first, function.lineno), place)
        owners = [nodes.read(name, place) for name in planned.owners]
        inserted.append(nodes.call_statement("edit_begins", [site, *owners], place))
    for edit in edits:
        site_of_edit = planned.edit_site(module, edit, function.lineno)
        inserted.append(edited_local(edit.expression, site_of_edit, planned.owners, place))
    for capture in at_entry:
        site = nodes.literal(planned.site(module, capture.label, function.lineno), place)
        owners = nodes.read_owners("record", planned.owners, place)
        value = nodes.read(capture.expression, place)
        arguments = [nodes.literal(None, place), site, value, *owners]
        inserted.append(nodes.call_statement("record", arguments, place))
    function.body[index:index] = inserted


def _says_that_it_starts(name: str, planned: FunctionPlan, module: str, place: nodes.Place) -> ast.stmt:
    site = nodes.literal(planned.site(module, "", planned.function.node.lineno), place)
    return nodes.call_statement(name, [site], place)


def _runs_nothing(statement: ast.stmt) -> bool:
    """Whether a statement of a function compiles to no instruction."""
    return isinstance(statement, (ast.Global, ast.Nonlocal)) or (
        isinstance(statement, ast.AnnAssign) and statement.value is None and isinstance(statement.target, ast.Name)
    )
