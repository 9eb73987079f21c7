"""What astcapture raises and warns of."""


class CaptureError(ValueError):
    """Something the user asked for cannot be captured; the message says what, where, and what to write instead."""


class CaptureWarning(UserWarning):
    """Something that was asked for may not be captured as expected; the program itself is not affected."""
