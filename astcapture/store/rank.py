"""The rank of this process."""

from __future__ import annotations

import os


def rank_of_process() -> int:
    """The rank that ``torchrun`` and similar launchers set in ``RANK``; 0 if it is not set."""
    text = os.environ.get("RANK", "")
    return int(text) if text.isdigit() and text.isascii() else 0
