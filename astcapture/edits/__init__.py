"""Ready-made edits for `astcapture.edit`: ``zero(heads=[3])``, ``add(direction, tokens=-1)``, ``patch(run)``.

Each is a function of a value that returns a new one of the same shape, dtype and device.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from astcapture.edits.changes import add, clamp, mean, project_out, replace, scale, zero
    from astcapture.edits.drawn_noise import noise
    from astcapture.edits.effects import Effect, Effects, heads
    from astcapture.edits.patching import patch
    from astcapture.edits.ready_made import ReadyMade
    from astcapture.edits.site import Site

#: The module of each name.
_HOMES = {
    "Effect": "effects",
    "Effects": "effects",
    "ReadyMade": "ready_made",
    "Site": "site",
    "add": "changes",
    "clamp": "changes",
    "heads": "effects",
    "mean": "changes",
    "noise": "drawn_noise",
    "patch": "patching",
    "project_out": "changes",
    "replace": "changes",
    "scale": "changes",
    "zero": "changes",
}

#: The changes that can be written as text, in ``ASTCAPTURE_EDIT``.
READY_MADE = ("add", "clamp", "mean", "noise", "project_out", "replace", "scale", "zero")

__all__ = [
    "Effect",
    "Effects",
    "ReadyMade",
    "Site",
    "add",
    "clamp",
    "heads",
    "mean",
    "noise",
    "patch",
    "project_out",
    "replace",
    "scale",
    "zero",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'astcapture.edits' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"astcapture.edits.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
