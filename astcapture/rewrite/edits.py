"""Creates the code that gives a value to edits: ``_@edited(value, site, self)``, which returns what they make of it.

It is inserted at the points of captures, before the value is recorded: after a binding as ``attn = _@edited(attn, …)``,
around the result of a call, around what a call gets first, at the start for a parameter, and around what is returned.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import cast

from astcapture.rewrite.find import own_statements
from astcapture.rewrite.nodes import Place, from_line, literal, placed, read, recorder_name
from astcapture.rewrite.planned import FunctionPlan
from astcapture.targets.capture import Capture


def edited(value: ast.expr, site: tuple[str | int, ...], owners: Sequence[str], place: Place) -> ast.Call:
    """A call that evaluates `value` and gives it to the edits at a site."""
    arguments = [value, literal(site, place), *(read(name, place) for name in owners)]
    call = ast.Call(recorder_name("edited", value), arguments, [])
    return cast(ast.Call, from_line(place.line, ast.copy_location(call, value)))


def edited_local(name: str, site: tuple[str | int, ...], owners: Sequence[str], place: Place) -> ast.stmt:
    """A statement that binds a local to what the edits make of it."""
    value = edited(read(name, place), site, owners, place)
    assigned: ast.stmt = placed(ast.Assign([ast.Name(name, ast.Store())], value), place)
    return assigned


def edits_at(planned: FunctionPlan, *points: str) -> list[Capture]:
    return [edit for edit in planned.edits if edit.at in points]


def edit_returns(planned: FunctionPlan, module: str) -> None:
    """Give what the function returns to the edits at its returns."""
    for edit in edits_at(planned, "return"):
        for node in own_statements(planned.function.node):
            if isinstance(node, ast.Return) and node.value is not None:
                place = Place(node.lineno, node.col_offset)
                node.value = edited(node.value, planned.edit_site(module, edit, node.lineno), planned.owners, place)
