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
    """Something that was asked for may not be captured as expected; the program itself is not affected."""

    __module__ = "astcapture"
