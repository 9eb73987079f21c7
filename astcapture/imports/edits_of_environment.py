"""The edits that ``ASTCAPTURE_EDIT`` asks for."""

from __future__ import annotations

from collections.abc import Iterable

from astcapture import edits
from astcapture.errors import EditError
from astcapture.imports.edit import Edit
from astcapture.targets.edit_text import parse_edit_text


def install_edits(texts: Iterable[str]) -> list[Edit]:
    """Install edits that are written as text.

    Raises:
        EditError: one of them is not of the form, or there is no change of that name.
    """
    made = [_made(text) for text in texts]
    return [edit.install() for edit in made]


def _made(text: str) -> Edit:
    parsed = parse_edit_text(text)
    change = getattr(edits, parsed.name, None) if parsed.name in edits.READY_MADE else None
    if change is None:
        raise EditError(f"edit {text!r}: there is no change {parsed.name}: write one of {', '.join(edits.READY_MADE)}")
    try:
        return Edit(parsed.target, change(*parsed.arguments, **parsed.options), **parsed.chosen)
    except TypeError as error:
        raise EditError(f"edit {text!r}: {error}") from None
