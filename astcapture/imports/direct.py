"""Loaders that a program makes and uses itself, past every finder: `spec_from_file_location`, transformers, torch.hub.

While a hook is installed, `SourceFileLoader.get_code` is looked up through a descriptor. It gives the loader of a
module that a target means our overrides just before that loader is asked for its code, and hands out the interpreter's
own method, so that no frame of ours is in a traceback. Loaders of tools that go before us are reached as well.
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
    """Stands for `SourceFileLoader.get_code`."""

    def __init__(self, finder: CaptureFinder) -> None:
        self.finder = finder
        #: What stood in the class itself: nothing, unless another tool has put something there.
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
    """Look `SourceFileLoader.get_code` up through the descriptor; once is enough."""
    global _installed
    if _installed is None:
        _installed = _GetCode(finder)
        SourceFileLoader.get_code = _installed  # type: ignore[assignment, method-assign]


def uninstall() -> None:
    """Put back what was there, unless another tool has put something else in its place."""
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
    """Give a loader our overrides where a target means its module, as the finder does with one that it finds."""
    if loader.name == MAIN or loader.name.partition(".")[0] == "astcapture":
        return
    name, targets = meant(finder.targets, names_of(loader.name, loader.path))
    if not targets:
        return
    # What is wrong with the file is told by the import itself; and not every class can be exchanged.
    with contextlib.suppress(OSError, TypeError):
        if may_hold_functions(partial(loader.get_data, loader.path), targets):
            compose(loader, targets, strict=finder.strict, module=name)
            finder.found[loader.name] = True
