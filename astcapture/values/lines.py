"""The line of source where a value was taken, as a table shows it."""

from __future__ import annotations

import linecache
import sys

_WIDTH = 48


def shown_line(module: str, lineno: int) -> str:
    """The number of a line, and what stands there while its module is imported: ``12: attn = attn.softmax(-1)``."""
    home = sys.modules.get(module)
    file = getattr(home, "__file__", None)
    text = linecache.getline(file, lineno, vars(home)).strip() if home is not None and isinstance(file, str) else ""
    if len(text) > _WIDTH:
        text = text[: _WIDTH - 2] + " …"
    return f"{lineno}: {text}" if text else str(lineno)
