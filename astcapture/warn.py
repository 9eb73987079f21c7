"""How this package warns: never as an error, whatever the program's filters make of warnings.

A warning that is raised would end the import, the forward pass or the exit that it only comments on. Where a filter,
or a ``showwarning`` of the program's own, raises it, its text is printed on standard error instead.
"""

from __future__ import annotations

import sys
import warnings

from astcapture.errors import CaptureWarning


def warn(text: str, filename: str = "astcapture", lineno: int = 0) -> None:
    """Issue a `CaptureWarning` about a line of a file, or about no line of the program."""
    try:
        warnings.warn_explicit(text, CaptureWarning, filename, lineno)
    except Exception:
        tell(f"CaptureWarning: {text}")


def warn_at(text: str, stacklevel: int) -> None:
    """Issue a `CaptureWarning` about the line of a caller: 1 is the line that calls this, 2 its caller, and so on."""
    try:
        warnings.warn(text, CaptureWarning, stacklevel=stacklevel + 1)
    except Exception:
        tell(f"CaptureWarning: {text}")


def tell(text: str) -> None:
    """Print on standard error, which can be missing, closed, a broken pipe, or an object of the program's own."""
    # No name of another module but `sys`: at shutdown the others may be gone.
    try:  # noqa: SIM105
        print(text, file=sys.stderr, flush=True)
    except Exception:
        pass
