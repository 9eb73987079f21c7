"""Reads a memory limit as the user writes it."""

from __future__ import annotations

import re
from typing import Any

from astcapture.errors import CaptureError

AUTO = "auto"

_UNITS = {
    "": 1, "B": 1,
    "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40,
    "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
}  # fmt: skip
_FORM = re.compile(r"(\d+(?:_\d+)*(?:\.\d+)?)\s*([a-z]*)\Z", re.IGNORECASE)


def read_limit(value: Any) -> int | str | None:
    """Bytes, ``"auto"``, or None for no limit.

    Raises:
        CaptureError: it is none of these.

    >>> read_limit("2GB"), read_limit("512MiB"), read_limit("0.5 GB"), read_limit(1000)
    (2000000000, 536870912, 500000000, 1000)
    """
    if value is None:
        return None
    written = value
    if isinstance(value, str):
        text = value.strip()
        if text.lower() in (AUTO, "none"):
            return AUTO if text.lower() == AUTO else None
        form = _FORM.match(text)
        size = None if form is None else _UNITS.get(form[2].upper())
        if form is not None and size is not None:
            number = float(form[1].replace("_", "")) * size
            value = int(number) if number < float("inf") else value
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    raise CaptureError(
        f'limit={written!r}: write a number of bytes above 0, "2GB", "512MiB", "auto", or None for no limit'
    )


def in_words(size: float) -> str:
    """Bytes as the user would write them.

    >>> in_words(64_000_000)
    '64 MB'
    """
    if size < 1000:
        return f"{size:.0f} bytes"
    unit = "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        # A number that rounds to 1000 in three digits becomes 1 of the next unit.
        if size >= 999.5:
            size, unit = size / 1000, larger
    return f"{size:.3g} {unit}" if size < 999.5 else f"{size:.0f} {unit}"
