"""Under IPython, captures functions that ``%autoreload`` has recompiled without a loader, before the next cell runs.

``%autoreload`` works before each cell. After that the shell passes the cell's tree to its transformers.
"""

from __future__ import annotations

import ast
import contextlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from astcapture.imports.catch_up import catch_up_module, named_in, state_of
from astcapture.imports.names import meant, names_of, path_of
from astcapture.imports.outdated import exchanged_modules, runs_for
from astcapture.imports.unwrap import functions_in, is_rewritten
from astcapture.values.declared import declared_functions

if TYPE_CHECKING:
    from astcapture.imports.finder import CaptureFinder

#: The module of ``%autoreload``. It may be loaded long after the environment installed a hook.
AUTORELOAD = "IPython.extensions.autoreload"
_seen: WeakKeyDictionary[ModuleType, tuple[int, int] | None] = WeakKeyDictionary()


class Refresher:
    """An entry of a shell's ``ast_transformers`` that does not change any cell."""

    def __init__(self, finder: CaptureFinder) -> None:
        self.finder = finder

    def visit(self, tree: ast.AST) -> ast.AST:
        # The shell removes a transformer that fails. Errors in the file were reported by autoreload.
        with contextlib.suppress(Exception):
            for module in _captured(self.finder):
                self._refresh(module)
        return tree

    def _refresh(self, module: ModuleType) -> None:
        file = path_of(module)
        state = state_of(file) if file is not None else None
        if state is None or file is None or _seen.get(module) == state:
            return
        name, targets = meant(self.finder.targets, names_of(module.__name__, file))
        if targets and (module in _seen or _lost(module, name)):
            catch_up_module(module, file, name, targets)
        _seen[module] = state


def install(finder: CaptureFinder) -> None:
    """Register with the running shell, if there is one and it is not registered yet."""
    shell = _shell()
    if shell is not None and not any(isinstance(one, Refresher) for one in shell.ast_transformers):
        shell.ast_transformers.append(Refresher(finder))


def uninstall() -> None:
    shell = _shell()
    if shell is not None:
        shell.ast_transformers[:] = [one for one in shell.ast_transformers if not isinstance(one, Refresher)]


def _shell() -> Any:
    get_shell = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return get_shell() if get_shell is not None else None


def _captured(finder: CaptureFinder) -> Iterator[ModuleType]:
    found = [sys.modules.get(name) for name, taken in list(finder.found.items()) if taken]
    for module in {id(one): one for one in (*exchanged_modules(), *found) if isinstance(one, ModuleType)}.values():
        if runs_for(module)[1]:
            yield module


def _lost(module: ModuleType, name: str) -> bool:
    """Whether a captured function of the module has lost its captured code."""
    for declared, qualname in declared_functions():
        functions = list(functions_in(named_in(module, qualname))) if declared == name else []
        if functions and not any(map(is_rewritten, functions)):
            return True
    return False
