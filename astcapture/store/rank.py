"""Which of several processes this is."""

from __future__ import annotations

import os


def rank_of_process() -> int:
    """What ``torchrun`` and its like say in ``RANK``; 0 where nobody does."""
    text = os.environ.get("RANK", "")
    return int(text) if text.isdigit() and text.isascii() else 0
