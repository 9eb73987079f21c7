"""A progress bar for what takes longer than a second."""

from __future__ import annotations

import sys
import time
from typing import Any

import click


class Bar:
    """A progress bar on standard error, shown after one second, and only on a terminal.

    Args:
        label: what is being done.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self._start = time.monotonic()
        self._bar: Any = None
        self._done = 0

    def __enter__(self) -> Bar:
        return self

    def show(self, done: int, of: int) -> None:
        """Show that so many of so many are done."""
        if self._bar is None and time.monotonic() - self._start > 1 and sys.stderr.isatty():
            self._bar = click.progressbar(length=of, label=self._label, file=sys.stderr)
            self._bar.__enter__()
        if self._bar is not None:
            self._bar.update(done - self._done)
            self._done = done

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
