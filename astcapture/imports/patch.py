"""Exchanges the code of live functions in modules that are already imported.

The source is compiled twice: as it runs now and as it should run. The two differ only inside the captured functions, so
their code objects can be paired in order. Every live function that runs the old code of a pair gets the new code. This
reaches methods of existing models, closures and decorated functions, because they are all function objects that
reference the code.
"""

from __future__ import annotations

import ast
import contextlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from itertools import compress
from operator import attrgetter
from types import CodeType, FunctionType, ModuleType
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from astcapture.errors import CaptureError
from astcapture.imports.compile import compile_tree, planned, with_room
from astcapture.imports.compiled_before import anything_compiled, forget_compiled, meant_of
from astcapture.imports.loader import CaptureLoader, loader_of
from astcapture.imports.names import MAIN
from astcapture.imports.others import source_to_code_of_another
from astcapture.imports.outdated import Outdated, outdated, remember
from astcapture.imports.pairs import paired
from astcapture.imports.quiet import quietly
from astcapture.record import recorder
from astcapture.record.live import live_functions
from astcapture.rewrite.planned import FunctionPlan, Plan
from astcapture.rewrite.transform import CALLED, PREFIX, rewrite
from astcapture.targets.target import Target

T = TypeVar("T")

_FILE = attrgetter("__code__.co_filename")

# The code of a module as its live functions run it, with the source, the name and the targets that it was made of.
_made: WeakKeyDictionary[ModuleType, tuple[bytes, str, tuple[Target, ...], CodeType]] = WeakKeyDictionary()
# The code object with which a function was created, so that the same object can be restored.
_original: WeakKeyDictionary[FunctionType, CodeType] = WeakKeyDictionary()
#: Modules in which not every function could be exchanged, with the first reason.
not_exchanged: dict[str, str] = {}
#: Functions that did not exist yet when they were to be exchanged, because their module was still running: by key,
#: where they are defined, and the event that came too early.
late: dict[str, tuple[str, str]] = {}


@dataclass
class Exchange:
    """The result for one module: the qualnames of the exchanged functions, and why others were not exchanged."""

    module: str
    swapped: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    # The code that live functions run now and should run; the file; and the plan for it.
    _pairs: dict[CodeType, CodeType] = field(default_factory=dict)
    _path: str = ""
    plan: Plan | None = None


def bring_up_to_date(
    targets: Sequence[Target], *, strict: bool = False, edited: Sequence[Target] = ()
) -> list[Exchange]:
    """Make every imported module run as `targets`, the targets of all installed hooks, require.

    Args:
        targets: of all hooks.
        strict: whether a bug in the rewriter is raised rather than told.
        edited: the functions of which other values are edited than before, whether their code changes or not.

    Returns:
        One `Exchange` for each module that was touched.

    Raises:
        CaptureError: a target that matches no function of its module, or a name that is never bound;
            with `strict`, a bug in the rewriter too.
    """
    found = outdated(targets)
    exchanges = [_prepared(one, strict) for one in found]
    swap(exchanges, edited)
    for one in found:
        remember(one)
    # A declaration may add targets, and then all of this is done again.
    for one, done in zip(found, exchanges, strict=True):
        if done.plan is not None:
            done.problems += _never_found(done, one.module)
            _declare(one.module, done.plan)
        if one.module is not None and done.problems:
            not_exchanged[one.module.__name__] = done.problems[0]
    return exchanges


#: Modules without a file, typed in cells, whose functions the extension rewrites.
of_cells: set[str] = set()


def _prepared(one: Outdated, strict: bool) -> Exchange:
    """Compile a module as it runs now, for the targets `before`, and as it should, for `after`."""
    name, path = one.name, one.path
    done = Exchange(name)
    if path is None:
        if name not in of_cells:
            typed = (
                "; run %load_ext astcapture to capture functions defined in cells" if "IPython" in sys.modules else ""
            )
            done.problems.append(f"{name} has no source file{typed}")
        return done
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        done.problems.append(f"{name}: cannot read its source ({error.strerror}: {path})")
        return done
    try:
        old, new, done.plan = _versions(one, path, source)
        done._pairs = {before: after for before, after in paired(old, new) if before != after}
    except CaptureError:
        raise
    except SyntaxError:
        done.problems.append(f"{name}: its source has changed since the import and has a syntax error now ({path})")
    except Exception as error:
        reason = f"{name}: rewriting failed ({type(error).__name__}: {error}); this is a bug in astcapture"
        if strict:
            raise CaptureError(f"{reason}, please report it") from error
        done.problems.append(f"{reason}, please report it")
    done._path = path
    return done


def _declare(module: ModuleType | None, plan: Plan) -> None:
    recorder.declare(*plan.declaration())
    for called in CALLED if module is not None else ():
        # Set in the module, so that functions pickled by value find it; builtins have it too.
        module.__dict__.setdefault(PREFIX + called, getattr(recorder, called))


def _versions(one: Outdated, path: str, source: bytes) -> tuple[CodeType, CodeType, Plan | None]:
    """The code of a module for the targets `before` and for `after`, and the plan behind the latter."""
    before, after = (one.name_before or one.name, one.before), (one.name, one.after)
    other = source_to_code_of_another(loader_of(one.module)) if one.module is not None else None
    if other is not None:
        # The code that runs now comes from another tool's loader, not from plain Python.
        with contextlib.suppress(Exception):
            old, _ = compiled_for(source, path, *before, other)
            return (old, *compiled_for(source, path, *after, other))
    known = _kept(one.module, source, *before) or _cached(one.module, path, one.before)
    old = compiled_for(source, path, *before)[0] if known is None else known
    cached = None if one.after else _cached(one.module, path, one.after)
    if cached is not None:
        return old, cached, None
    new, plan = compiled_for(source, path, *after)
    if one.module is not None:
        _made[one.module] = source, one.name, one.after, new
    return old, new, plan


def _kept(module: ModuleType | None, source: bytes, name: str, targets: Sequence[Target]) -> CodeType | None:
    """The code for these targets, if it is what was made last: an uninstall needs what its install has compiled."""
    last = _made.pop(module, None) if module is not None else None
    return last[-1] if last is not None and last[:-1] == (source, name, tuple(targets)) else None


def compiled_for(
    source: bytes, path: str, name: str, targets: Sequence[Target], other: Callable[..., CodeType] | None = None
) -> tuple[CodeType, Plan | None]:
    """The code of a module for `targets`, and its plan; without targets its own code and None.

    `other` is the compile method of the module's loader if that is another tool's.
    """

    def work() -> tuple[CodeType, Plan | None]:
        if not targets:
            return other(source, path) if other else compile(source, path, "exec", dont_inherit=True), None
        tree = ast.parse(source, path)
        plan = planned(tree, name, path, targets)
        rewrite(tree, plan)
        return other(tree, path) if other else compile_tree(tree, path), plan

    return quietly(lambda: with_room(work))


class _ReadingLoader(SourceFileLoader):
    """Reads bytecode from Python's cache, and writes none."""

    def set_data(self, path: str, data: Any, *, _mode: int = 0o666) -> None:
        pass


def _cached(module: ModuleType | None, path: str, targets: Sequence[Target]) -> CodeType | None:
    """The code that an import of the module for these targets would run, from the bytecode cache if possible.

    At exit the original code of every captured module is restored. Compiling each module twice for that would take
    longer than many programs run. None if the module has to be compiled.
    """
    loader = loader_of(module)
    if module is None:
        return None
    if type(loader) is CaptureLoader and not loader._plain and tuple(targets) == loader.capture_targets:
        return quietly(lambda: loader.get_code(loader.name))
    if type(loader) in (SourceFileLoader, CaptureLoader) and not targets:
        return quietly(lambda: _ReadingLoader(module.__name__, path).get_code(module.__name__))
    return None


def swap(exchanges: Sequence[Exchange], edited: Sequence[Target] = ()) -> None:
    """Give every live function with the old code of a pair the new code, in one pass over all objects.

    Compiled code that may contain one of them is dropped, or one of those that `edited` means.
    """
    by_file: dict[str, list[Exchange]] = {}
    for done in exchanges:
        if done._pairs:
            by_file.setdefault(done._path, []).append(done)
    exchanged = []
    if not anything_compiled():
        edited = ()
    functions = live_functions() if by_file or edited else []
    for function in compress(functions, map(by_file.__contains__, map(_FILE, functions))):
        for done in by_file[function.__code__.co_filename]:
            new = done._pairs.get(function.__code__)
            if new is not None:
                give(function, new)
                done.swapped.append(function.__qualname__)
                exchanged.append(function)
                break
    forget_compiled([*exchanged, *meant_of(edited, functions)])


def give(function: FunctionType, new: CodeType) -> None:
    """Set the code of a function; if it equals its original code, restore that object."""
    original = _original.setdefault(function, function.__code__)
    function.__code__ = original if original == new else new


def _never_found(done: Exchange, module: ModuleType | None) -> list[str]:
    """The captured functions without a live function, with the reason; functions not defined yet go into `late`."""
    problems: list[str] = []
    if module is None or done.plan is None:
        return problems  # it is unknown which functions of such a file are still alive
    frozen = getattr(getattr(module, "__spec__", None), "origin", None) == "frozen"
    running = _is_running(module)
    changed = {(code.co_name, code.co_firstlineno) for code in done._pairs.values()}
    for function in done.plan.functions[:]:
        qualname = function.function.qualname
        if not _is_missing(function, changed, done.swapped):
            continue
        where = f"{done._path}:{function.function.node.lineno}"
        if running:
            late[f"{done.module}:{qualname}"] = where, "install() was called in its module"
            done.plan.functions.remove(function)
            continue
        if frozen:
            why = "the module is frozen into the interpreter: start Python with -X frozen_modules=off"
        else:
            why = "it was replaced, or the file has changed since it was imported"
        problems.append(f"{done.module}:{qualname}: no live function runs the code at {where}: {why}")
    return problems


def _is_missing(planned: FunctionPlan, changed: set[tuple[str, int]], swapped: Sequence[str]) -> bool:
    node, qualname = planned.function.node, planned.function.qualname
    # The code of a decorated function begins at its first decorator.
    line = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return (node.name, line) in changed and qualname not in swapped and not planned.function.enclosing


def _is_running(module: ModuleType) -> bool:
    """Whether a module may still be running: the script, or an unfinished import."""
    if getattr(getattr(module, "__spec__", None), "_initializing", False):
        return True
    return module is sys.modules.get(MAIN) and not hasattr(sys, "ps1")
