"""What is said as the interpreter exits: targets that came to nothing. And the last work of recorder and store."""

from __future__ import annotations

import ast
import atexit
import builtins
import contextlib
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from importlib.machinery import SourceFileLoader
from types import ModuleType
from typing import TYPE_CHECKING

from astcapture.imports.catch_up import named_in
from astcapture.imports.interrupted import stay_interrupted
from astcapture.imports.loader import is_asleep, loader_of
from astcapture.imports.names import MAIN, meant, names_of, path_of, with_aliases
from astcapture.imports.others import taken_by_another
from astcapture.imports.outdated import runs_for
from astcapture.imports.patch import bring_up_to_date, late, not_exchanged
from astcapture.imports.quiet import parsed_quietly
from astcapture.imports.unwrap import functions_in, is_rewritten
from astcapture.record import events, policy, recorder, recording
from astcapture.record.live import live_objects
from astcapture.rewrite.find import find_functions
from astcapture.rewrite.messages import did_you_mean
from astcapture.rewrite.transform import CALLED, PREFIX
from astcapture.targets.recipes import recipe
from astcapture.values import open_store as stores
from astcapture.values.declared import always_missed, declared_functions, declared_labels
from astcapture.values.screen import on_a_screen
from astcapture.warn import warn

if TYPE_CHECKING:
    from astcapture.imports.finder import CaptureFinder
    from astcapture.targets.target import Target

_watched: CaptureFinder | None = None
#: The targets of every hook that was ever installed, as an ordered set.
_asked: dict[Target, None] = {}
#: Whether a summary is printed after this report: it tells of the functions that ran and left nothing.
summary_follows = False


def watch(finder: CaptureFinder) -> list[Target]:
    """Report at exit on the targets that this finder has now, even if their hook is uninstalled before.

    Returns:
        Those that no hook had until now.
    """
    global _watched
    # Edits report for themselves.
    captured = [target for target in finder.targets if not any(one.edits for one in target.captures)]
    new = [target for target in captured if target not in _asked]
    _asked.update(dict.fromkeys(captured))
    if _watched is None:
        _watched = finder
        _make_reachable()
        atexit.register(_at_exit)
    return new


def forget(targets: Iterable[Target]) -> None:
    """Say nothing of these targets at exit: another process reports on them, or an error has told."""
    for target in targets:
        _asked.pop(target, None)


def unfulfilled(targets: Iterable[Target], finder: CaptureFinder) -> list[str]:
    """One line for each target that nothing was captured for, and why."""
    declared = declared_functions()
    listed = list(targets)
    without = [
        target
        for target in listed
        if not any(
            alias.means(*function) for alias in with_aliases(finder.moved.get(target, target)) for function in declared
        )
        and not failed_to_import(target, finder)
    ]
    lines = [f"target {target.text!r}: {_why_nothing(target, finder)}" for target in without if not target.recipe]
    for name in dict.fromkeys(target.recipe for target in without if target.recipe):
        found = [target for target in listed if target.recipe == name and target not in without]
        lines += _of_recipe(name, [target for target in without if target.recipe == name], found, finder)
    return lines


def failed_to_import(target: Target, finder: CaptureFinder) -> bool:
    """Whether a module that a target means was found and is gone: the error of its import has told why."""
    return any(target.matches_module(name) and name not in sys.modules for name in finder.found)


def _of_recipe(name: str, without: Sequence[Target], found: Sequence[Target], finder: CaptureFinder) -> list[str]:
    """A recipe names many modules, and a program imports few: what those lack is told, and not the rest."""
    imported = {name: module for name, module in list(sys.modules.items()) if isinstance(module, ModuleType)}
    # A release moves a model's attention to the function that the recipe names for all: there it is captured.
    served = {
        module
        for module, qualname in declared_functions()
        if any(not _names_one(target) and target.means(module, qualname) for target in found)
    }
    lines = []
    for target in without:
        # One with a wildcard is never a module's name: it is content with what it finds.
        if target.module in imported and target.module not in served:
            reason = _why_of_recipe(target, target.module, imported[target.module], finder)
            lines.append(f"target {target.text!r}: {reason}")
    if found or lines:
        return lines
    modules = [module for module in imported if any(target.matches_module(module) for target in without)]
    if not modules:
        return [f"target {name!r}: none of its modules was imported"]
    target = next(target for target in without if target.matches_module(modules[0]))
    more = f" (and {len(modules) - 1} more modules)" if modules[1:] else ""
    return [f"target {name!r}: {_why_of_recipe(target, modules[0], imported[modules[0]], finder)}{more}"]


def _names_one(target: Target) -> bool:
    """Whether a target of a recipe names one module and one function in it."""
    return replace(target, recipe="").exact


def _why_of_recipe(target: Target, name: str, module: ModuleType, finder: CaptureFinder) -> str:
    known = next(_of_functions(target), None) or _why_not_rewritten(name, module, target, finder)
    return known or f"no function in {name} matches it; {_checked_with(target.recipe)}"


def _checked_with(name: str) -> str:
    one = recipe(name)
    return f"the recipe was tested with {one.library} {', '.join(one.versions)}"


def _why_nothing(target: Target, finder: CaptureFinder) -> str:
    known = next(_of_functions(target), None)
    if known is not None:
        return known
    modules = list(_modules_of(target))
    if not modules:
        names = [name for name in sys.modules if name.count(".") == target.module.count(".")]
        hint = did_you_mean(target.module, names, cutoff=0.75) if target.exact_module else ""
        return f"no module {target.module} was imported{hint}"
    for name, module in modules:
        reason = _why_not_rewritten(name, module, target, finder)
        if reason is not None:
            return reason
    name = modules[0][0]
    listed = name if len(modules) == 1 else f"{name} and {len(modules) - 1} more"
    if target.qualname is None:
        return f"{listed} has no function marked with @capture: mark one, or name it, {name}:FUNCTION=NAME"
    return f"no function in {listed} matches it and binds that name"


def _of_functions(target: Target) -> Iterator[str]:
    """The reasons that are known of single functions which a target means."""
    for key in late:
        if target.means(*_parts_of(key)):
            yield _why_late(key)
    for key, reason in events.left_alone.items():
        if target.means(*_parts_of(key)):
            yield f"{key}: {reason}"
    if target.captures:
        for key, names in events.not_bound.items():
            missing = [name for name in dict.fromkeys(names) if any(name == one.expression for one in target.captures)]
            if missing and target.means(*_parts_of(key)):
                checked = f"; {_checked_with(target.recipe)}" if target.recipe else ""
                yield f"{key} does not bind {' or '.join(map(repr, missing))}{checked}"


def _parts_of(key: str) -> tuple[str, str]:
    module, _, qualname = key.partition(":")
    return module, qualname


def still_late() -> list[str]:
    """One line for each function that was to be captured, and that the module defined only after it was exchanged."""
    captured = {f"{module}:{qualname}" for module, qualname in declared_functions()}
    return [f"{key}: {_why_late(key)}" for key in late if key not in captured]


def handed_to_numba() -> list[str]:
    """One line for each captured function that the program gave to numba as it ran, which no source shows."""
    kind = getattr(sys.modules.get("numba.core.dispatcher"), "Dispatcher", None)
    if not isinstance(kind, type):
        return []
    kinds: set[type] = set()
    waiting: list[type] = [kind]
    while waiting:
        kinds.add(waiting[-1])
        waiting += type.__subclasses__(waiting.pop())
    dispatchers = live_objects(kinds.__contains__)
    functions = [one for dispatcher in dispatchers for one in functions_in(getattr(dispatcher, "py_func", None))]
    return [
        f"{one.__module__}:{one.__qualname__} was passed to numba, which cannot compile captured code: remove it "
        "from the targets, or set NUMBA_DISABLE_JIT=1 to run and capture it as Python"
        for one in functions
        if is_rewritten(one)
    ]


def _why_late(key: str) -> str:
    module, qualname = _parts_of(key)
    where, since = late[key]
    held = [one for name, one in _modules_called(module) if any(functions_in(named_in(one, qualname)))]
    if not held:
        return f"{qualname} ({where}) was not defined yet when {since}, and does not exist at exit"
    return (
        f"{qualname} ({where}) was defined after {since}: call install() below the definition, mark the function with "
        "@capture, or remove install() and start the program with ASTCAPTURE set"
    )


def _modules_of(target: Target) -> Iterator[tuple[str, ModuleType]]:
    for name, module in list(sys.modules.items()):
        if (
            isinstance(module, ModuleType)
            and not is_asleep(module)
            and meant((target,), names_of(name, path_of(module)))[1]
        ):
            yield name, module


def _modules_called(key: str) -> Iterator[tuple[str, ModuleType]]:
    for name, module in list(sys.modules.items()):
        if isinstance(module, ModuleType) and not is_asleep(module) and key in names_of(name, path_of(module)):
            yield name, module


def _why_not_rewritten(name: str, module: ModuleType, target: Target, finder: CaptureFinder) -> str | None:
    """Why no function of a module was rewritten though a target may mean one; None where none matches, or is marked."""
    loader = loader_of(module)
    if getattr(loader, "_plain", False):
        return f"{name} was imported without captures, for the reason printed at its import"
    if name in not_exchanged:
        return not_exchanged[name]
    if runs_for(module)[1] or (target.qualname is None and not _marks_any(module)):
        return None
    if target not in finder.targets:
        return f"{name} was imported when the hook for it was uninstalled, or never installed here"
    other = taken_by_another(loader, name)
    if other is not None:
        return other
    path = path_of(module)
    if path is None or not isinstance(loader or getattr(module, "__loader__", None), (SourceFileLoader, type(None))):
        return f"{name} is not loaded from a source file"
    if not _matches_any(path, target):
        return None
    if name == MAIN:
        return (
            f"another program compiled {path} itself and ran it: mark the function with @capture, or call "
            "astcapture.install() below its definition"
        )
    return (
        f"{name} was loaded without the import system, or by a hook before astcapture's on sys.meta_path: "
        "import it by name, or load it from hook.spec(spec)"
    )


def _marks_any(module: ModuleType) -> bool:
    tree = _parsed(path_of(module))
    return tree is None or any(function.markers for function in find_functions(tree))


def _matches_any(path: str, target: Target) -> bool:
    tree = _parsed(path)
    functions = find_functions(tree) if tree is not None else []
    return any(target.qualname is None or target.matches_function(one.qualname) for one in functions)


def _parsed(path: str | None) -> ast.Module | None:
    try:
        with open(path or "", "rb") as file:
            return parsed_quietly(file.read(), path or "")
    except OSError:
        return None


def started_others() -> bool:
    """Whether this process has waited for another, which took time."""
    times = os.times()
    return times.children_user + times.children_system > 0


def _at_exit() -> None:
    """Bring the records into safety before anything is said: a warning can run code of the program's."""
    told: list[str] = []
    # What is to be said is found out while the live functions still run captured.
    try:
        told = _of_nothing()
    finally:
        _finish(told)


def _finish(told: Sequence[str]) -> None:
    _outlive_modules()
    try:
        stores.finish()
    finally:
        for text in told:
            warn(text)
        stay_interrupted()


def _of_nothing() -> list[str]:
    """What is to be said of targets and patterns that came to nothing."""
    if _watched is None:
        return []
    lines = unfulfilled(_asked, _watched)
    told = "\n".join(lines)
    lines += [line for line in still_late() if line.partition(": ")[2] not in told]
    lines += handed_to_numba()
    if not summary_follows:
        lines += always_missed()
    texts = []
    patterns = policy.unmatched(declared_labels())
    if patterns:
        texts.append("\n  ".join(on_a_screen([*dict.fromkeys(patterns)], "report")))
    if lines:
        here = " in this process (those that it started report for themselves)" if started_others() else ""
        texts.append("\n  ".join([f"nothing was captured{here} for", *on_a_screen(lines, "report")]))
    return texts


def _make_reachable() -> None:
    """Put what rewritten code calls into builtins too: functions can run with other globals than their module's."""
    for name in CALLED:
        setattr(builtins, PREFIX + name, getattr(recorder, name))


def _outlive_modules() -> None:
    """Give live functions their own code back, before the interpreter fills their globals with None.

    What runs after this, a ``__del__`` say, is the program as it was written.
    """
    recording.switch(False)
    # Whatever goes wrong here goes wrong after the program's end, and is none of its business.
    with contextlib.suppress(Exception):
        bring_up_to_date(())
