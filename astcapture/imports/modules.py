"""Finds modules without importing them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec


def find_module(name: str) -> ModuleSpec | None:
    """The spec of a module, found without importing its parent packages."""
    path: Sequence[str] | None = None
    spec: ModuleSpec | None = None
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        if depth > 1 and path is None:
            return None
        spec = _ask_finders(".".join(parts[:depth]), path)
        if spec is None:
            return None
        path = spec.submodule_search_locations
    return spec


def _ask_finders(name: str, path: Sequence[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        if type(finder).__module__.partition(".")[0] == __name__.partition(".")[0]:
            continue  # our finder would record the module as imported
        find_spec = getattr(finder, "find_spec", None)
        spec: ModuleSpec | None = find_spec(name, path, None) if find_spec is not None else None
        if spec is not None:
            return spec
    return None
