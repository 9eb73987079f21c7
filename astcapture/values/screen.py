"""What is printed at the end of a program: a screen of it, and a file with the rest."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence

#: As many lines are printed.
LINES = 40


def on_a_screen(lines: Sequence[str], name: str) -> list[str]:
    """The first lines of a text, as many as a screen holds, and where the whole is.

    Args:
        lines: the text.
        name: what it is, for the name of the file: ``"summary"``.
    """
    if len(lines) <= LINES:
        return [*lines]
    shown = [*lines[: LINES - 1]]
    left = len(lines) - len(shown)
    try:
        path = _write(lines, name)
    except OSError as error:
        # The whole is said nowhere then; the values are where the user put them.
        return [*shown, f"… and {left:,} lines more, which could not be written to a file: {error}"]
    return [*shown, f"… and {left:,} lines more: all of them are in {path}"]


def _write(lines: Sequence[str], name: str) -> str:
    handle, path = tempfile.mkstemp(prefix=f"astcapture-{name}-{os.getpid()}-", suffix=".txt")
    with open(handle, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    return path
