"""What astcapture raises and warns of."""

from __future__ import annotations


class CaptureError(ValueError):
    """Something the user asked for cannot be captured; the message says what, where, and what to write instead.

    Attributes:
        lineno: the line of the module's source that it is about, where there is one.
    """

    __module__ = "astcapture"

    lineno: int | None = None


class CaptureWarning(UserWarning):
    """Something that was asked for may not be captured as expected; the program itself is not affected.

    It is never raised: where a filter (``-W error``) or the program's own ``warnings.showwarning`` would make an error
    of it, its text is printed on standard error.
    """

    __module__ = "astcapture"
