"""Handles loaders that a program creates itself, without a finder: `spec_from_file_location`, transformers, torch.hub.

While a hook is installed, `SourceFileLoader.get_code` is looked up through a descriptor. If a target names the module,
the descriptor adds our overrides to the loader just before its code is read. It then returns the interpreter's own
method, so that no frame of ours is in a traceback. This also reaches loaders of tools whose hooks come before ours.
"""

from __future__ import annotations

import contextlib
from functools import partial
from importlib.abc import SourceLoader
from importlib.machinery import SourceFileLoader
from typing import TYPE_CHECKING, Any

from astcapture.imports.compile import may_hold_functions
from astcapture.imports.loader import Capturing, compose
from astcapture.imports.names import MAIN, meant, names_of

if TYPE_CHECKING:
    from astcapture.imports.finder import CaptureFinder

_ATTRIBUTE = "get_code"
_installed: _GetCode | None = None


class _GetCode:
    """The descriptor in place of `SourceFileLoader.get_code`."""

    def __init__(self, finder: CaptureFinder) -> None:
        self.finder = finder
        #: The attribute of the class itself: None, unless another tool has set one.
        self.own: Any = SourceFileLoader.__dict__.get(_ATTRIBUTE)
        self.function: Any = self.own if self.own is not None else SourceLoader.get_code

    def __get__(self, loader: SourceFileLoader | None, kind: type | None = None) -> Any:
        if loader is not None and not _is_ours(type(loader)):
            adopt(loader, self.finder)
        get = getattr(type(self.function), "__get__", None)
        return self.function if get is None else get(self.function, loader, kind)


def _is_ours(kind: type) -> bool:
    return Capturing in kind.__mro__ or kind.__module__.partition(".")[0] == __name__.partition(".")[0]


def install(finder: CaptureFinder) -> None:
    """Put the descriptor in place, if it is not there yet."""
    global _installed
    if _installed is None:
        _installed = _GetCode(finder)
        SourceFileLoader.get_code = _installed  # type: ignore[assignment, method-assign]


def uninstall() -> None:
    """Restore what was there, unless another tool has replaced our descriptor."""
    global _installed
    descriptor, _installed = _installed, None
    still_there = SourceFileLoader.__dict__.get(_ATTRIBUTE) is descriptor
    if descriptor is None or not still_there:
        return
    if descriptor.own is None:
        del SourceFileLoader.get_code
    else:
        SourceFileLoader.get_code = descriptor.own  # type: ignore[method-assign]


def adopt(loader: SourceFileLoader, finder: CaptureFinder) -> None:
    """Add our overrides to a loader if a target names its module, as the finder does."""
    if loader.name == MAIN or loader.name.partition(".")[0] == "astcapture":
        return
    name, targets = meant(finder.targets, names_of(loader.name, loader.path))
    if not targets:
        return
    # The import itself reports an unreadable file; and not every class can be exchanged.
    with contextlib.suppress(OSError, TypeError):
        if may_hold_functions(partial(loader.get_data, loader.path), targets):
            compose(loader, targets, strict=finder.strict, module=name)
            finder.found[loader.name] = True
