"""Finish our own lazy imports (Python 3.15) before a hook is installed.

With ``-X lazy_imports=all`` every import waits until its name is used. Our finder, and the standard library modules
that it uses, would first use such a name in the middle of an import, and the finder would be asked for a module that it
needs itself.
"""

from __future__ import annotations

import contextlib
import sys
import types
from types import ModuleType
from typing import Any

#: Absent before Python 3.15.
_LAZY: type | None = getattr(types, "LazyImportType", None)
_PACKAGE = __name__.partition(".")[0]


def import_what_waits() -> None:
    """Finish the lazy imports of this package's modules and of the modules that they use."""
    if _LAZY is None or sys.get_lazy_imports() != "all":  # type: ignore[attr-defined]
        return
    waiting = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] == _PACKAGE]
    seen: set[int] = set()
    while waiting:
        module = waiting.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        for name, value in list(vars(module).items()):
            if isinstance(value, _LAZY):
                # A module that is not installed may never be used.
                with contextlib.suppress(ImportError):
                    waiting += _module_of(getattr(module, name))


def _module_of(value: Any) -> list[ModuleType]:
    if isinstance(value, ModuleType):
        return [value]
    module = sys.modules.get(str(getattr(value, "__module__", None)))
    return [module] if module is not None else []
