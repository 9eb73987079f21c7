"""Parses and compiles without warnings; they are shown when the program itself is compiled."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def quietly(work: Callable[[], T]) -> T:
    """The result of `work`, with warnings ignored."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return work()


def parsed_quietly(source: bytes, path: str) -> ast.Module | None:
    """The tree of a source; None if Python rejects it."""
    try:
        return quietly(lambda: ast.parse(source, path))
    except (SyntaxError, ValueError):
        return None
