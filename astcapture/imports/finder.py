"""A meta-path finder that lets the other finders find a module, and replaces their source loader by ours.

It imports nothing, takes no lock, and changes nothing but the spec that it returns. Module locks are held while it
runs, and other import hooks have deadlocked or been corrupted by each of the three.
"""

from __future__ import annotations

import contextlib
import importlib
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
from types import FrameType, ModuleType
from typing import Any

from astcapture.imports import hot_reload
from astcapture.imports.compile import marks_functions, matching, may_hold_functions
from astcapture.imports.loader import CaptureLoader, Capturing, compose
from astcapture.imports.names import MAIN, may_run_as_main, meant
from astcapture.imports.script import ScriptFinder
from astcapture.record.recording import expect_modules, expect_torch
from astcapture.record.torch import at_breaks
from astcapture.record.torch.places import COMPILER
from astcapture.targets.target import Target
from astcapture.warn import warn

# From Python 3.14 on, `ast.unparse` and warnings import these on first use.
for _needed in ("_ast_unparse", "tokenize"):
    with contextlib.suppress(ImportError):
        importlib.import_module(_needed)

#: The package itself, which is never rewritten: the recorder would record its own work.
_OURSELVES = "astcapture"


class CaptureFinder:
    """The first entry of ``sys.meta_path`` while at least one hook is installed."""

    def __init__(self) -> None:
        #: The targets of each installed hook and whether it is strict. The hooks themselves are the keys, so that a
        #: hook that the program did not keep stays alive and its id is not reused.
        self.by_hook: dict[object, tuple[tuple[Target, ...], bool]] = {}
        #: The modules that a target names and that this finder found, and whether our loader loads them.
        self.found: dict[str, bool] = {}
        #: For a target whose module only imports the function, the target of the module that defines it.
        self.moved: dict[Target, Target] = {}
        self._asking = _Asking()

    @property
    def targets(self) -> tuple[Target, ...]:
        # A copy: another thread may install a hook meanwhile.
        hooks = list(self.by_hook.values())
        asked = dict.fromkeys(target for targets, _ in hooks for target in targets)
        asked.update((moved, None) for target, moved in list(self.moved.items()) if target in asked)
        return tuple(asked)

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
        elif fullname == hot_reload.AUTORELOAD:
            hot_reload.install(self)
        elif fullname == at_breaks.HOME:
            return self._watched(fullname, path, target)
        names = (fullname, MAIN) if may_run_as_main(fullname) else (fullname,)
        name, targets = meant(self.targets, names)
        if not targets or fullname in self._asking.names:
            return None
        self._asking.names.add(fullname)
        try:
            spec = self._ask_others(fullname, path, target)
        finally:
            self._asking.names.discard(fullname)
        if spec is not None and spec.submodule_search_locations is not None:
            name, targets = fullname, matching(self.targets, fullname)  # a package: ``-m`` runs its __main__ instead
        if spec is not None and targets:
            self.take(spec, targets, name)
        return spec

    def _watched(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
        """The compiler's module that follows functions, which is to ask us at graph breaks."""
        spec = self._ask_others(fullname, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _Watched(spec.loader.name, spec.loader.path)
        return spec

    def _ask_others(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
        """The spec from the finders after this one, asked as the import system would.

        `PathFinder` alone is not enough, since editable installs add finders. `importlib.util.find_spec` may wait
        for a lock that this thread's import holds.
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

    def take(self, spec: ModuleSpec, targets: Sequence[Target], name: str) -> bool:
        """Put our loader into a spec if there is something to capture; False if the spec is unchanged.

        `name` is the module's name in keys.
        """
        taken = self.found[spec.name] = self._take(spec, targets, name)
        return taken

    def _take(self, spec: ModuleSpec, targets: Sequence[Target], name: str) -> bool:
        loader: Any = spec.loader
        if loader is None or isinstance(loader, (Capturing, ScriptFinder)):
            return loader is not None
        if isinstance(loader, SourceFileLoader):
            try:
                if not may_hold_functions(partial(loader.get_data, loader.path), targets):
                    return False
            except OSError:
                return False  # the import itself reports it
            if type(loader) is SourceFileLoader:
                spec.loader = CaptureLoader(loader.name, loader.path, targets, strict=self.strict, module=name)
                return True
            with contextlib.suppress(TypeError):
                spec.loader = compose(loader, targets, strict=self.strict, module=name)
                return True
        elif (inner := getattr(loader, "loader", None)) is not None:
            # `importlib.util.LazyLoader` and other loaders that wrap a loader.
            inside = ModuleSpec(spec.name, inner, origin=spec.origin)
            inside.has_location = spec.has_location
            taken = self._take(inside, targets, name)
            if inside.loader is not inner:
                loader.loader = inside.loader
            return taken
        _warn_unless_indifferent(spec, targets)
        return False


class _Watched(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        at_breaks.watch()


class _Asking(threading.local):
    """The modules that this thread is asking the other finders for; one of them may call this finder again."""

    def __init__(self) -> None:
        self.names: set[str] = set()


def _warn_unless_indifferent(spec: ModuleSpec, targets: Sequence[Target]) -> None:
    """Warn if a module that cannot be rewritten was named by a target, or may have marked functions."""
    loader: Any = spec.loader
    compiled = isinstance(loader, ExtensionFileLoader) or loader in (BuiltinImporter, FrozenImporter)
    # ``*:f`` also matches compiled modules, which are hardly meant.
    named = [
        target
        for target in targets
        if target.module == spec.name or (target.qualname is not None and (target.exact_module or not compiled))
    ]
    if not named and (compiled or not spec.has_location or not holds_markers(spec)):
        return
    kind = loader.__name__ if isinstance(loader, type) else type(loader).__name__
    warn(
        f"{spec.name} is imported without captures: {kind} loads it"
        + (f" from {spec.origin}" if spec.has_location else "")
        + ", but only modules that SourceFileLoader loads from source can be rewritten",
        *importing_line(),
    )


def importing_line() -> tuple[str, int]:
    """The file and line of the program that imports: the first frame outside astcapture and importlib."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] not in (_OURSELVES, "importlib", "_frozen_importlib", "_frozen_importlib_external"):
            return frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back
    return _OURSELVES, 0


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
            # Only bytecode: unknown, so a package that is listed gets the warning.
            return True
        return marks_functions(source)
    except Exception:  # a loader of any tool can raise anything
        return False
