"""Reads the device on which tensors are kept, and checks it as far as possible without importing torch."""

from __future__ import annotations

import re
import sys
from typing import Any

from astcapture.errors import CaptureError

_FORM = re.compile(r"[a-z]+(:\d+)?\Z")


def read_device(where: str, value: Any) -> str | None:
    """The name of a device, given as a torch.device or as a name.

    Raises:
        CaptureError: there is no such device, as far as is known before torch is imported.

    >>> read_device("device='cpu'", "cpu")
    'cpu'
    """
    if value is None:
        return None
    name = str(value).strip() if isinstance(value, str) or type(value).__module__ == "torch" else ""
    if not _FORM.match(name):
        raise CaptureError(f'{where}: write device="cpu", device="cuda:0" or a torch.device')
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "device"):
        try:
            device = torch.device(name)
        except RuntimeError as error:
            raise CaptureError(f"{where}: {str(error).splitlines()[0]}") from None
        home = getattr(torch, device.type, None)
        if device.type not in ("cpu", "meta") and callable(getattr(home, "is_available", None)):
            _check_there(where, device, home)
    return name


def _check_there(where: str, device: Any, home: Any) -> None:
    if not home.is_available():
        raise CaptureError(f'{where}: torch finds no {device.type} device here: write device="cpu" or omit it')
    count = home.device_count() if hasattr(home, "device_count") else 1
    if device.index is not None and device.index >= count:
        raise CaptureError(
            f"{where}: torch finds {count} {device.type} device{'s' if count != 1 else ''}, numbered from 0"
        )
