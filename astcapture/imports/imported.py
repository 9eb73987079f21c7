"""Modules that a target means and that were imported before it could be rewritten."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from astcapture.imports.compile import matching
from astcapture.imports.finder import holds_markers
from astcapture.imports.loader import Capturing
from astcapture.targets.target import Target


def imported_unrewritten(targets: Sequence[Target]) -> list[str]:
    """The names of imported modules in which functions are named or marked, and that run as they were written."""
    late = []
    for name, module in list(sys.modules.items()):
        asked = matching(targets, name)
        spec = getattr(module, "__spec__", None)
        if not asked or name.partition(".")[0] == "astcapture" or isinstance(getattr(spec, "loader", None), Capturing):
            continue
        if any(target.qualname is not None for target in asked):
            late.append(name)
        elif spec is not None and spec.has_location and spec.origin.endswith(".py") and holds_markers(spec):
            late.append(name)
    return late
