"""The marker notices functions that should have been rewritten but were not, and has them rewritten.

They come from files that bypass the import system: the running script, a file that is passed to `exec`, a hot reload.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from types import FunctionType, ModuleType

from astcapture.errors import CaptureError
from astcapture.imports.catch_up import catch_up
from astcapture.imports.loader import Capturing, loader_of
from astcapture.imports.names import meant, names_of
from astcapture.imports.others import taken_by_another
from astcapture.imports.unwrap import functions_in, is_rewritten
from astcapture.record import events
from astcapture.targets.target import Target
from astcapture.values.declared import is_declared
from astcapture.warn import warn

#: The class in which IPython's ``%autoreload`` recompiles a method.
_RELOADED = "__autoreload_class__"


def notice_unrewritten(marked: object, targets: Sequence[Target]) -> None:
    """Capture `marked`, a function or the result of decorators, if a target names it and it runs unmodified.

    If that is not possible, a warning says why.
    """
    functions = list(functions_in(marked))
    if not functions or any(map(is_rewritten, functions)):
        return
    function = next((one for one in functions if not hasattr(one, "__wrapped__")), functions[0])
    own_name, qualname, path = function.__module__, function.__qualname__, function.__code__.co_filename
    names = names_of(own_name if isinstance(own_name, str) else "", path if os.path.isfile(path) else None)
    name, asked = meant(targets, names)
    if not any(target.qualname is None or target.matches_function(qualname) for target in asked):
        asked = () if _RELOADED not in qualname else asked
    module = sys.modules.get(own_name) if isinstance(own_name, str) else None
    if not asked or getattr(_loader(module), "_plain", False) or f"{name}:{qualname}" in events.left_alone:
        return  # no target names it, or the reason was reported when the module was imported
    if not _is_of_a_cell(function) and os.path.isfile(path):
        own = module if module is not None and function.__globals__ is vars(module) else None
        try:
            if catch_up(functions, path, name, names, asked, own):
                return
        except CaptureError as error:
            warn(f"{qualname} is not captured: {error}", path, function.__code__.co_firstlineno)
            return
    marked_here = any(target.qualname is None for target in asked)
    if marked_here and _RELOADED not in qualname and not is_declared(f"{name}:{qualname}"):
        why = _why_not(function, own_name, module)
        warn(f"{qualname} is marked but not captured: {why}", path, function.__code__.co_firstlineno)


def _loader(module: ModuleType | None) -> object:
    loader = loader_of(module)
    return getattr(loader, "loader", loader)


def _why_not(function: FunctionType, name: str, module: ModuleType | None) -> str:
    path = function.__code__.co_filename
    if _is_of_a_cell(function):
        return (
            "functions in notebook cells need the extension: run %load_ext astcapture in a separate cell before "
            "this one, and use a marker imported from astcapture"
        )
    other = taken_by_another(_loader(module), name)
    if other is not None:
        return other
    if not os.path.isfile(path):
        return (
            f"it was compiled from text that is not in a file ({path}): pass the path of the file that holds the "
            "text, compile(text, path, 'exec')"
        )
    if isinstance(_loader(module), Capturing):
        return "the marker is read from the source, and there it is not imported from astcapture"
    return (
        f"it could not be rewritten from {path}: the file has changed since, another tool transforms it, or the "
        "marker is not imported from astcapture there"
    )


def _is_of_a_cell(function: FunctionType) -> bool:
    """Whether IPython compiled a function, from a cell or from the prompt."""
    get_shell = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = get_shell() if get_shell is not None else None
    return shell is not None and bool(shell.compile.format_code_name(function.__code__.co_filename))
