"""Warnings of this package. They never raise, even if the program's filters turn warnings into errors.

A raised warning would stop the import, the forward pass or the exit that it is about. If a filter or the program's own
``showwarning`` raises it, its text is printed to standard error instead.
"""

from __future__ import annotations

import sys
import warnings

from astcapture.errors import CaptureWarning


def warn(text: str, filename: str = "astcapture", lineno: int = 0) -> None:
    """Issue a `CaptureWarning` for a line of a file; by default for no line of the program."""
    try:
        warnings.warn_explicit(text, CaptureWarning, filename, lineno)
    except Exception:
        tell(f"CaptureWarning: {text}")


def warn_at(text: str, stacklevel: int) -> None:
    """Issue a `CaptureWarning` for the line of a caller: 1 is the line that calls this, 2 its caller, and so on."""
    try:
        warnings.warn(text, CaptureWarning, stacklevel=stacklevel + 1)
    except Exception:
        tell(f"CaptureWarning: {text}")


def tell(text: str) -> None:
    """Print to standard error, which may be missing, closed, a broken pipe, or replaced by the program."""
    # Uses no other module than `sys`: at shutdown the others may be gone.
    try:  # noqa: SIM105
        print(text, file=sys.stderr, flush=True)
    except Exception:
        pass
