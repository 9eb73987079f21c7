"""A meta-path finder that lets the other finders find, and puts our loader where theirs reads source.

It imports nothing, takes no lock and changes nothing outside the spec that it hands on: all three have
deadlocked or corrupted other import hooks, because module locks are held while it runs.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Sequence
from functools import partial
from importlib.machinery import (
    BuiltinImporter,
    ExtensionFileLoader,
    FrozenImporter,
    ModuleSpec,
    SourceFileLoader,
)
from types import ModuleType
from typing import Any

from astcapture.imports.compile import marks_functions, matching, may_hold_functions
from astcapture.imports.loader import CaptureLoader, Capturing, compose
from astcapture.record.places import COMPILER
from astcapture.record.recorder import expect_modules, expect_torch
from astcapture.targets.target import Target
from astcapture.warn import warn_at

#: The package itself, which no target can mean: rewriting the recorder would record its own records.
_OURSELVES = "astcapture"


class CaptureFinder:
    """Stands first on ``sys.meta_path`` while at least one hook is installed."""

    def __init__(self) -> None:
        #: The targets of each installed hook and whether it is strict. The hooks themselves are the
        #: keys: a hook that the program did not keep must live on, and its id must not be given again.
        self.by_hook: dict[object, tuple[tuple[Target, ...], bool]] = {}
        #: The modules that a target means and that were found through here, and whether our loader got them.
        self.found: dict[str, bool] = {}
        self._asking = _Asking()

    @property
    def targets(self) -> tuple[Target, ...]:
        # A copy first: another thread may install meanwhile.
        hooks = list(self.by_hook.values())
        return tuple(dict.fromkeys(target for targets, _ in hooks for target in targets))

    @property
    def strict(self) -> bool:
        return any(strict for _, strict in list(self.by_hook.values()))

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] == _OURSELVES:
            return None
        if fullname == "torch":
            expect_torch()
        elif fullname == COMPILER:
            expect_modules()
        targets = matching(self.targets, fullname)
        if not targets or fullname in self._asking.names:
            return None
        self._asking.names.add(fullname)
        try:
            spec = self._ask_others(fullname, path, target)
        finally:
            self._asking.names.discard(fullname)
        if spec is not None:
            self.take(spec, targets)
        return spec

    def _ask_others(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
        """What the finders behind this one make of the name, as the import system would ask them.

        Not `PathFinder` alone (editable installs bring finders of their own), and not
        `importlib.util.find_spec`, which may wait for a lock that this thread's import holds.
        """
        behind = False
        for finder in list(sys.meta_path):
            if finder is self:
                behind = True
            elif behind and (find_spec := getattr(finder, "find_spec", None)) is not None:
                spec: ModuleSpec | None = find_spec(fullname, path, target)
                if spec is not None:
                    return spec
        return None

    def take(self, spec: ModuleSpec, targets: Sequence[Target]) -> bool:
        """Put our loader into a spec where there is something to capture; False where it is left as it is."""
        taken = self.found[spec.name] = self._take(spec, targets)
        return taken

    def _take(self, spec: ModuleSpec, targets: Sequence[Target]) -> bool:
        loader: Any = spec.loader
        if loader is None or isinstance(loader, Capturing):
            return isinstance(loader, Capturing)
        if isinstance(loader, SourceFileLoader):
            try:
                if not may_hold_functions(partial(loader.get_data, loader.path), targets):
                    return False
            except OSError:
                return False  # what is wrong is told by the import itself
            if type(loader) is SourceFileLoader:
                spec.loader = CaptureLoader(loader.name, loader.path, targets, strict=self.strict)
                return True
            with contextlib.suppress(TypeError):
                spec.loader = compose(loader, targets, strict=self.strict)
                return True
        elif (inner := getattr(loader, "loader", None)) is not None:
            # `importlib.util.LazyLoader` and other tools' loaders that put off or accompany what another one does.
            inside = ModuleSpec(spec.name, inner, origin=spec.origin)
            inside.has_location = spec.has_location
            taken = self._take(inside, targets)
            if inside.loader is not inner:
                loader.loader = inside.loader
            return taken
        _warn_unless_indifferent(spec, targets)
        return False


class _Asking(threading.local):
    """The modules that this thread is asking the other finders for: one of them may ask us in turn."""

    def __init__(self) -> None:
        self.names: set[str] = set()


def _warn_unless_indifferent(spec: ModuleSpec, targets: Sequence[Target]) -> None:
    """Say so where a module that cannot be rewritten was asked for, or may hold marked functions."""
    loader: Any = spec.loader
    named = [target for target in targets if target.qualname is not None or target.module == spec.name]
    compiled = isinstance(loader, ExtensionFileLoader) or loader in (BuiltinImporter, FrozenImporter)
    if not named and (compiled or not spec.has_location or not holds_markers(spec)):
        return
    kind = loader.__name__ if isinstance(loader, type) else type(loader).__name__
    warn_at(
        f"{spec.name} is imported without captures: {kind} loads it"
        + (f" from {spec.origin}" if spec.has_location else "")
        + ", and only modules that a SourceFileLoader loads are rewritten",
        stacklevel=5,  # the import itself: the frames of the import system do not count
    )


def holds_markers(spec: ModuleSpec) -> bool:
    """Whether the source behind a spec, if there is any, marks a function."""
    get_source = getattr(spec.loader, "get_source", None)
    try:
        if get_source is not None:
            source = get_source(spec.name)
        elif spec.origin is not None and spec.origin.endswith(".py"):
            with open(spec.origin, "rb") as file:
                source = file.read().decode("utf-8", "replace")
        else:
            source = None
        if source is None:
            # Bytecode alone: nobody can tell, so a package that was listed says so.
            return True
        return marks_functions(source)
    except Exception:  # loaders are anybody's
        return False
