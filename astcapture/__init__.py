"""Capture local variables inside a model's functions, such as attention maps, without changing its source.

    from astcapture import capture          # in the model: @capture("attn"), no effect until install()

    import astcapture                       # in the script
    astcapture.install(["mymodel"])         # before the model is imported
    from mymodel import ViT
    ...
    astcapture.cache["Attention.forward"]   # the values, in call order

Importing this package loads only the marker; everything else is imported on first use.
"""

from __future__ import annotations

from astcapture.targets.marker import capture
from astcapture.version import __version__

# Importing `typing` would take longer than the rest of this package's import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from astcapture import edits, plot, view
    from astcapture.edits.effects import effects
    from astcapture.errors import CaptureError, CaptureWarning, EditError
    from astcapture.imports.attention import attention
    from astcapture.imports.edit import Edit, edit
    from astcapture.imports.hook import Hook, install
    from astcapture.imports.source import show
    from astcapture.record.switch import pause, resume
    from astcapture.values.cache import Cache, cache, recording, tag
    from astcapture.values.record import Record
    from astcapture.values.records import Records
    from astcapture.values.run import Run, load

#: The module that defines each public name.
_HOMES = {
    "Cache": "astcapture.values.cache",
    "CaptureError": "astcapture.errors",
    "CaptureWarning": "astcapture.errors",
    "Edit": "astcapture.imports.edit",
    "EditError": "astcapture.errors",
    "Hook": "astcapture.imports.hook",
    "Record": "astcapture.values.record",
    "Records": "astcapture.values.records",
    "Run": "astcapture.values.run",
    "attention": "astcapture.imports.attention",
    "cache": "astcapture.values.cache",
    "edit": "astcapture.imports.edit",
    "effects": "astcapture.edits.effects",
    "install": "astcapture.imports.hook",
    "load": "astcapture.values.run",
    "load_ipython_extension": "astcapture.imports.notebook",
    "pause": "astcapture.record.switch",
    "recording": "astcapture.values.cache",
    "resume": "astcapture.record.switch",
    "show": "astcapture.imports.source",
    "tag": "astcapture.values.cache",
    "unload_ipython_extension": "astcapture.imports.notebook",
}

__all__ = [
    "Cache",
    "CaptureError",
    "CaptureWarning",
    "Edit",
    "EditError",
    "Hook",
    "Record",
    "Records",
    "Run",
    "__version__",
    "attention",
    "cache",
    "capture",
    "edit",
    "edits",
    "effects",
    "install",
    "load",
    "pause",
    "plot",
    "recording",
    "resume",
    "show",
    "tag",
    "view",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in ("edits", "plot", "view"):
        return import_module(f"astcapture.{name}")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'astcapture' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
