"""What is said as the interpreter exits: targets that came to nothing. And the last work of the recorder."""

from __future__ import annotations

import atexit
import builtins
import sys
import warnings
from typing import TYPE_CHECKING

from astcapture.errors import CaptureWarning
from astcapture.record import recorder
from astcapture.rewrite.plan import did_you_mean
from astcapture.rewrite.transform import CALLED, PREFIX
from astcapture.values.cache import declared_functions

if TYPE_CHECKING:
    from astcapture.imports.finder import CaptureFinder
    from astcapture.targets.target import Target

_watched: CaptureFinder | None = None


def watch(finder: CaptureFinder) -> None:
    """Report on this finder's targets at exit; asking again changes nothing."""
    global _watched
    if _watched is None:
        _watched = finder
        _make_reachable()
        atexit.register(_at_exit)


def unfulfilled(finder: CaptureFinder) -> list[str]:
    """One line for each target of an installed hook that nothing was captured for, and why."""
    lines = []
    declared = declared_functions()
    for target in finder.targets:
        modules = [name for name in sys.modules if target.matches_module(name)]
        if not modules:
            names = [name for name in sys.modules if name.count(".") == target.module.count(".")]
            lines.append(
                f"target {target.text!r}: no module {target.module} was imported"
                + (did_you_mean(target.module, names) if target.exact_module else "")
            )
        elif not any(
            target.matches_module(module) and (target.qualname is None or target.matches_function(qualname))
            for module, qualname in declared
        ):
            lines.append(f"target {target.text!r}: {_why_nothing(target, modules, finder)}")
    return lines


def _why_nothing(target: Target, modules: list[str], finder: CaptureFinder) -> str:
    passed_by = [name for name in modules if name not in finder.found]
    if passed_by:
        return (
            f"{passed_by[0]} was imported before install(), or by a hook that stands before ours on sys.meta_path, "
            "so nothing was captured"
        )
    listed = modules[0] if len(modules) == 1 else f"{modules[0]} and {len(modules) - 1} more"
    if target.qualname is None:
        return f"{listed} marks no function: put @capture(...) on one, or name it, {modules[0]}:FUNCTION=NAME"
    return f"no function in {listed} matches it and binds what it names"


def _at_exit() -> None:
    if _watched is not None and _watched.by_hook:
        lines = unfulfilled(_watched)
        if lines:
            # No line of the program is to blame, and none of ours.
            warnings.warn_explicit("nothing was captured for\n  " + "\n  ".join(lines), CaptureWarning, "astcapture", 0)
    _outlive_modules()


def _make_reachable() -> None:
    """Put what rewritten code calls into builtins too, for functions that run with other globals than their module's."""
    for name in CALLED:
        setattr(builtins, PREFIX + name, getattr(recorder, name))


def _outlive_modules() -> None:
    """Take our names out of the modules, which the interpreter is about to fill with None.

    A ``__del__`` that runs then finds them in builtins, which goes last.
    """
    recorder.switch(False)
    for module in list(sys.modules.values()):
        names = getattr(module, "__dict__", None)
        if isinstance(names, dict):
            for name in CALLED:
                names.pop(PREFIX + name, None)
