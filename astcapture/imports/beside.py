"""What modules declare besides captured functions: functions of other compilers, and targets defined elsewhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from astcapture.errors import CaptureError
from astcapture.imports.follow import followed
from astcapture.record.events import Beside
from astcapture.warn import warn

if TYPE_CHECKING:
    from astcapture.imports.finder import CaptureFinder

# Functions that were already named in a warning.
_told: set[tuple[str, str]] = set()


def tell_left_alone(module: str, beside: Beside) -> None:
    """Warn once about each function that another compiler reads and that is therefore not rewritten."""
    left = [one for one in beside[0] if (module, one[0]) not in _told]
    if not left:
        return
    _told.update((module, qualname) for qualname, _, _ in left)
    lines = [f"{module}:{qualname} is not captured: {reason}" for qualname, _, reason in left]
    path = getattr(sys.modules.get(module), "__file__", None) or module
    warn("\n  ".join(lines), path, left[0][1])


def follow_moved(beside: Beside, finder: CaptureFinder) -> bool:
    """Redirect targets from a module that imports a function to the module that defines it; True if one is new."""
    new = False
    for text, places in beside[1]:
        for target in finder.targets:
            if target.text != text or target in finder.moved:
                continue
            try:
                finder.moved[target] = followed(target, places)
                new = True
            except CaptureError as error:
                warn(f"not captured: {error}")
    return new
