"""Words that the errors about a module's source have in common."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from astcapture.errors import CaptureError, EditError


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """``": did you mean …?"`` with the names closest to `word`, or an empty string."""
    return one_of(difflib.get_close_matches(word, list(known), n=3, cutoff=cutoff))


def one_of(names: Iterable[str]) -> str:
    """``": did you mean …?"`` with these names, or an empty string where there are none."""
    listed = " or ".join(names)
    return f": did you mean {listed}?" if listed else ""


def error_at(filename: str, lineno: int, message: str) -> CaptureError:
    """An error about one line of a file."""
    error = CaptureError(f"{filename}:{lineno}: {message}")
    error.lineno = lineno
    return error


def of_an_edit(error: CaptureError) -> EditError:
    """The same error about what is to be edited."""
    edit_error = EditError(str(error))
    edit_error.lineno = error.lineno
    return edit_error
