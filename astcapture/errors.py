"""The exceptions and the warning of astcapture."""

from __future__ import annotations


class CaptureError(ValueError):
    """Raised if something cannot be captured. The message says what, where, and what to write instead.

    Attributes:
        lineno: the line of the module's source with the mistake; None if there is none.
    """

    __module__ = "astcapture"

    lineno: int | None = None


class CaptureWarning(UserWarning):
    """Issued if something may not be captured as expected. The program itself is not affected.

    It is never raised as an exception: if a filter (``-W error``) or the program's own ``warnings.showwarning`` turns
    it into an error, its text is printed to standard error instead.
    """

    __module__ = "astcapture"


class EditError(CaptureError):
    """Raised if an edit cannot be made, or has changed nothing that the program notices. The message says why."""

    __module__ = "astcapture"
