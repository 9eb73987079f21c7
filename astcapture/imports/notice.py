"""The marker notices functions that should have been rewritten and were not: of files that bypass the import system."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from types import CodeType
from typing import Any

from astcapture.errors import CaptureWarning
from astcapture.imports.loader import Capturing, loader_of
from astcapture.rewrite.transform import PREFIX
from astcapture.targets.target import Target
from astcapture.values.cache import is_declared

#: How many wrappers deep a function is looked for; an object may claim to wrap without end.
_DEPTH = 100


def notice_unrewritten(marked: object, targets: Sequence[Target]) -> None:
    """Warn if `marked`, a function or what decorators made of one, is of a listed module and runs as written."""
    function = _unwrapped(marked)
    code = getattr(function, "__code__", None)
    module = getattr(function, "__module__", None)
    if not isinstance(code, CodeType) or not isinstance(module, str):
        return
    if not any(target.qualname is None and target.matches_module(module) for target in targets):
        return
    qualname = getattr(function, "__qualname__", code.co_name)
    if any(name.startswith(PREFIX) for name in code.co_names) or is_declared(f"{module}:{qualname}"):
        return
    loader = loader_of(sys.modules.get(module))
    loader = getattr(loader, "loader", loader)
    if not isinstance(loader, Capturing):
        reason = (
            f"{module} was loaded past the import system, or by a hook that stands before ours on sys.meta_path; "
            "import it by name, or load it from hook.spec(spec)"
        )
    elif loader._plain:
        return  # the loader has said why
    else:
        reason = "the marker is read from the source, and there it is not a name imported from astcapture"
    warnings.warn_explicit(
        f"{qualname} is marked, but it is not captured: {reason}",
        CaptureWarning,
        code.co_filename,
        code.co_firstlineno,
    )


def _unwrapped(marked: object) -> Any:
    """The function inside staticmethods, properties and wrappers."""
    for _ in range(_DEPTH):
        for name in ("__func__", "__wrapped__", "fget"):
            inner = getattr(marked, name, None)
            if inner is not None:
                marked = inner
                break
        else:
            return marked
    return marked
