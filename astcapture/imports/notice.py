"""The marker notices functions that should have been rewritten and were not: files that bypass the import system."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from types import CodeType
from typing import Any

from astcapture.errors import CaptureWarning
from astcapture.rewrite.transform import PREFIX
from astcapture.targets.target import Target
from astcapture.values.cache import is_declared


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
    warnings.warn_explicit(
        f"{qualname} is marked, but {module} was loaded without the import system, so it is not captured: "
        "import it by name, or load it from hook.spec(spec)",
        CaptureWarning,
        code.co_filename,
        code.co_firstlineno,
    )


def _unwrapped(marked: object) -> Any:
    """The function inside staticmethods, properties and wrappers."""
    seen: set[int] = set()
    while id(marked) not in seen:
        seen.add(id(marked))
        for name in ("__func__", "__wrapped__", "fget"):
            inner = getattr(marked, name, None)
            if inner is not None:
                marked = inner
                break
    return marked
