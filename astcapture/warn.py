"""Warnings that never reach the program as exceptions."""

from __future__ import annotations

import contextlib
import sys
import warnings

from astcapture.errors import CaptureWarning


def warn(text: str, filename: str = "astcapture", lineno: int = 0) -> None:
    """Issue a `CaptureWarning`; where the filters turn it into an error, print it on standard error instead.

    Args:
        text: the message.
        filename: the file it is about.
        lineno: the line it is about.
    """
    try:
        warnings.warn_explicit(text, CaptureWarning, filename, lineno)
    except CaptureWarning:
        # Standard error can be missing, closed or a broken pipe.
        with contextlib.suppress(AttributeError, OSError, ValueError):
            print(f"{filename}:{lineno}: CaptureWarning: {text}", file=sys.stderr, flush=True)
