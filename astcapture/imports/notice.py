"""The marker notices functions that should have been rewritten and were not: of files that bypass the import system."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Sequence
from types import CellType, FunctionType
from typing import Any

from astcapture.imports.loader import Capturing, loader_of
from astcapture.imports.others import taken_by_another
from astcapture.rewrite.transform import PREFIX
from astcapture.targets.target import Target
from astcapture.values.cache import is_declared
from astcapture.warn import warn

# Where decorators keep what they decorate.
_INSIDE = ("__func__", "__wrapped__", "fget", "func")
_FUNCTIONS = (FunctionType, staticmethod, classmethod, functools.partial)
_EMPTY = CellType()
#: How many objects are looked at inside a marked one; an object may claim to wrap without end.
_ENOUGH = 100


def notice_unrewritten(marked: object, targets: Sequence[Target]) -> None:
    """Warn if `marked`, a function or what decorators made of one, is of a listed module and runs as written."""
    functions = list(_functions_in(marked))
    if not functions or any(name.startswith(PREFIX) for one in functions for name in one.__code__.co_names):
        return
    function = next((one for one in functions if not hasattr(one, "__wrapped__")), functions[0])
    module, qualname, code = function.__module__, function.__qualname__, function.__code__
    if not isinstance(module, str) or is_declared(f"{module}:{qualname}"):
        return
    if not any(target.qualname is None and target.matches_module(module) for target in targets):
        return
    loader = loader_of(sys.modules.get(module))
    loader = getattr(loader, "loader", loader)
    if _is_of_a_cell(function):
        reason = (
            "the functions of notebook cells are rewritten by the extension: run %load_ext astcapture in a cell "
            "of its own, before this one, and use the marker here by a name imported from astcapture"
        )
    elif not isinstance(loader, Capturing):
        reason = taken_by_another(loader, module) or (
            f"{module} was loaded past the import system, or by a hook that stands before ours on sys.meta_path; "
            "import it by name, or load it from hook.spec(spec)"
        )
    elif loader._plain:
        return  # the loader has said why
    else:
        reason = "the marker is read from the source, and there it is not a name imported from astcapture"
    warn(
        f"{qualname} is marked, but it is not captured: {reason}",
        code.co_filename,
        code.co_firstlineno,
    )


def _is_of_a_cell(function: FunctionType) -> bool:
    """Whether IPython compiled a function, from what was typed or stands in a cell."""
    get_shell = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = get_shell() if get_shell is not None else None
    return shell is not None and bool(shell.compile.format_code_name(function.__code__.co_filename))


def _functions_in(marked: object) -> Iterator[FunctionType]:
    """The functions in what decorators made of one: in staticmethods, properties, wrappers and closures."""
    waiting = [marked]
    for _ in range(_ENOUGH):
        if not waiting:
            return
        one: Any = waiting.pop(0)
        if isinstance(one, FunctionType):
            yield one
            # Functions alone: to look into anything else that a closure holds may run code of its own.
            contents = (cell.cell_contents for cell in one.__closure__ or () if cell != _EMPTY)
            waiting += [content for content in contents if isinstance(content, _FUNCTIONS)]
        waiting += [inner for name in _INSIDE if (inner := getattr(one, name, None)) is not None]
