"""A meta-path finder that lets the other finders find, and puts our loader where theirs reads source.

It imports nothing, takes no lock and changes nothing outside the spec that it hands on: all three have
deadlocked or corrupted other import hooks, because module locks are held while it runs.
"""

from __future__ import annotations

import ast
import sys
import warnings
from collections.abc import Iterable, Sequence
from importlib.machinery import (
    BuiltinImporter,
    ExtensionFileLoader,
    FrozenImporter,
    ModuleSpec,
    SourceFileLoader,
)
from importlib.util import LazyLoader
from types import ModuleType
from typing import Any

from astcapture.errors import CaptureWarning
from astcapture.imports.compile import matching, may_hold_functions
from astcapture.imports.loader import CaptureLoader, Capturing, compose
from astcapture.rewrite.find import find_functions
from astcapture.targets.target import Target

#: The package itself, which no target can mean: rewriting the recorder would record its own records.
_OURSELVES = "astcapture"


class CaptureFinder:
    """Stands first on ``sys.meta_path`` while at least one hook is installed."""

    def __init__(self) -> None:
        #: The targets of each installed hook, by the hook's identity.
        self.by_hook: dict[int, tuple[tuple[Target, ...], bool]] = {}
        #: The modules that a target means and that were found through here, and whether our loader got them.
        self.found: dict[str, bool] = {}

    @property
    def targets(self) -> tuple[Target, ...]:
        return tuple(dict.fromkeys(target for targets, _ in self.by_hook.values() for target in targets))

    @property
    def strict(self) -> bool:
        return any(strict for _, strict in self.by_hook.values())

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] == _OURSELVES:
            return None
        targets = matching(self.targets, fullname)
        if not targets:
            return None
        spec = self._ask_others(fullname, path, target)
        if spec is not None:
            self.found[fullname] = self.take(spec, targets)
        return spec

    def _ask_others(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None
    ) -> ModuleSpec | None:
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
        loader: Any = spec.loader
        if loader is None or isinstance(loader, Capturing):
            return isinstance(loader, Capturing)
        if isinstance(loader, LazyLoader):
            inner = ModuleSpec(spec.name, loader.loader, origin=spec.origin)  # type: ignore[attr-defined]
            taken = self.take(inner, targets)
            loader.loader = inner.loader  # type: ignore[attr-defined]
            return taken
        if not isinstance(loader, SourceFileLoader):
            self._leave(spec, targets)
            return False
        if not may_hold_functions(loader.get_data(loader.path), targets):
            return False
        if type(loader) is SourceFileLoader:
            spec.loader = CaptureLoader(loader.name, loader.path, targets, strict=self.strict)
        else:
            spec.loader = compose(loader, targets, strict=self.strict)
        return True

    def _leave(self, spec: ModuleSpec, targets: Sequence[Target]) -> None:
        """Say so where a module that cannot be rewritten was asked for, or holds marked functions."""
        loader = spec.loader
        named = [target for target in targets if target.qualname is not None or target.module == spec.name]
        compiled = isinstance(loader, ExtensionFileLoader) or loader in (BuiltinImporter, FrozenImporter)
        if not named and (compiled or not spec.has_location or not holds_markers(spec)):
            return
        kind = loader.__name__ if isinstance(loader, type) else type(loader).__name__
        warnings.warn(
            f"{spec.name} is imported without captures: {kind} loads it"
            + (f" from {spec.origin}" if spec.has_location else "")
            + ", and only modules loaded from source files are rewritten",
            CaptureWarning,
            stacklevel=2,
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
        return _OURSELVES in source and _marks(ast.parse(source))
    except (ImportError, OSError, SyntaxError, ValueError):
        return False


def _marks(tree: ast.Module) -> bool:
    functions: Iterable[Any] = find_functions(tree)
    return any(function.markers for function in functions)
