"""Exchange the code of live functions, for modules that are imported already.

The same source is compiled as it runs now and as it should run. The two differ only inside the
captured functions, so their code objects pair up in order; every live function that runs one of a
pair gets the other. That reaches methods of models built long ago, closures and decorated functions,
because they all are function objects that hold the code.
"""

from __future__ import annotations

import ast
import contextlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.machinery import SourceFileLoader
from operator import is_
from types import CodeType, FunctionType, ModuleType
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from astcapture.errors import CaptureError
from astcapture.imports.compile import compile_tree, marks_functions, planned, with_room
from astcapture.imports.compiled_before import forget_compiled
from astcapture.imports.loader import CaptureLoader, Capturing, is_asleep, loader_of
from astcapture.imports.names import MAIN, meant, names_of, path_of
from astcapture.imports.others import source_to_code_of_another
from astcapture.imports.pairs import paired
from astcapture.imports.quiet import quietly
from astcapture.record import recorder
from astcapture.record.live import live_objects
from astcapture.rewrite.planned import FunctionPlan, Plan
from astcapture.rewrite.transform import CALLED, PREFIX, rewrite
from astcapture.targets.target import Target

T = TypeVar("T")

# The code that a function was made with, to be given back as the very object.
_original: WeakKeyDictionary[FunctionType, CodeType] = WeakKeyDictionary()
# What live modules were last exchanged for, and what their keys call them; it holds for the loader that they were
# loaded by.
_exchanged: WeakKeyDictionary[ModuleType, tuple[object, str, tuple[Target, ...]]] = WeakKeyDictionary()
# The same for files that were run without being the file of a module, with all the names that targets know them by.
_files: dict[tuple[str, str], tuple[tuple[str, ...], tuple[Target, ...]]] = {}
#: Modules of which not all could be exchanged, each with the first reason.
not_exchanged: dict[str, str] = {}
#: The functions that were to be exchanged and did not exist yet, as their module was still running: by key, where they
#: are defined, and since when that is too late.
late: dict[str, tuple[str, str]] = {}


@dataclass(frozen=True)
class Outdated:
    """A module or a file that does not run as it should: for which targets it runs, and for which it should.

    `module` is None for a file that is no module's. `name` is what the keys of the new code call it, `name_before`
    those of the code that runs now.
    """

    name: str
    module: ModuleType | None
    path: str | None
    after: tuple[Target, ...]
    before: tuple[Target, ...] = ()
    name_before: str = ""


@dataclass
class Exchange:
    """What came of one module: the qualnames of the functions that were swapped, and why others were not."""

    module: str
    swapped: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    # What its live functions run now, and what they should; the file they stand in, and what is captured there.
    _pairs: dict[CodeType, CodeType] = field(default_factory=dict)
    _path: str = ""
    plan: Plan | None = None


def bring_up_to_date(targets: Sequence[Target], *, strict: bool = False) -> list[Exchange]:
    """Make every imported module run as `targets`, all that are installed now, ask.

    Returns:
        One `Exchange` for each module that was touched.

    Raises:
        CaptureError: a target that matches no function of its module, or a name that is never bound;
            with `strict`, a bug in the rewriter too.
    """
    found = outdated(targets)
    exchanges = [_prepared(one, strict) for one in found]
    swap(exchanges)
    for one in found:
        _remember(one)
    # What is declared may bring targets with it, for which all of this is done again.
    for one, done in zip(found, exchanges, strict=True):
        if done.plan is not None:
            done.problems += _never_found(done, one.module)
            _declare(one.module, done.plan)
        if one.module is not None and done.problems:
            not_exchanged[one.module.__name__] = done.problems[0]
    return exchanges


def _remember(one: Outdated) -> None:
    if one.module is not None:
        _exchanged[one.module] = (loader_of(one.module), one.name, one.after)
    elif one.path is not None:
        names, _ = _files.pop((one.path, one.name_before), ((one.name,), ()))
        if one.after:
            _files[one.path, one.name] = names, one.after


def ran_in(path: str, name: str, names: Sequence[str], targets: Sequence[Target], module: ModuleType | None) -> None:
    """Take note that a file runs rewritten for these targets, under `name`, though no loader of ours is behind it."""
    if module is not None:
        _exchanged[module] = (loader_of(module), name, tuple(targets))
    else:
        _files[path, name] = tuple(names), tuple(targets)


#: Modules that have no file because they are typed, and whose functions are rewritten as they are.
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
        # In the module, so that functions pickled by value find it; builtins have it too.
        module.__dict__.setdefault(PREFIX + called, getattr(recorder, called))


def _source_path(module: ModuleType) -> str | None:
    spec = getattr(module, "__spec__", None)
    loader = getattr(spec, "loader", None) or getattr(module, "__loader__", None)
    if isinstance(loader, SourceFileLoader):
        return str(loader.path)
    path = getattr(module, "__file__", None)
    return path if isinstance(path, str) and path.endswith(".py") else None


def _versions(one: Outdated, path: str, source: bytes) -> tuple[CodeType, CodeType, Plan | None]:
    """The code of a module for the targets `before` and for `after`, and the plan behind the latter."""
    before, after = (one.name_before or one.name, one.before), (one.name, one.after)
    other = source_to_code_of_another(loader_of(one.module)) if one.module is not None else None
    if other is not None:
        # What another tool's loader made of the source runs now, not what Python would.
        with contextlib.suppress(Exception):
            old, _ = compiled_for(source, path, *before, other)
            return (old, *compiled_for(source, path, *after, other))
    old = _cached(one.module, path, one.before) or compiled_for(source, path, *before)[0]
    cached = None if one.after else _cached(one.module, path, one.after)
    return (old, cached, None) if cached is not None else (old, *compiled_for(source, path, *after))


def compiled_for(
    source: bytes, path: str, name: str, targets: Sequence[Target], other: Callable[..., CodeType] | None = None
) -> tuple[CodeType, Plan | None]:
    """The code of a module as `targets` have it, and the plan behind it; its own code for no targets.

    `other` is how the loader of the module compiles, where that is another tool's.
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
    """Takes bytecode from Python's cache, and leaves none there."""

    def set_data(self, path: str, data: Any, *, _mode: int = 0o666) -> None:
        pass


def _cached(module: ModuleType | None, path: str, targets: Sequence[Target]) -> CodeType | None:
    """The code that an import of the module for these targets runs, out of the bytecode cache where it is there.

    As the interpreter exits, every captured module is made plain again: compiling each twice for it
    would take longer than many a program runs. None where only compiling tells.
    """
    loader = loader_of(module)
    if module is None:
        return None
    if type(loader) is CaptureLoader and not loader._plain and tuple(targets) == loader.capture_targets:
        return quietly(lambda: loader.get_code(loader.name))
    if type(loader) in (SourceFileLoader, CaptureLoader) and not targets:
        return quietly(lambda: _ReadingLoader(module.__name__, path).get_code(module.__name__))
    return None


def swap(exchanges: Sequence[Exchange]) -> None:
    """Give every live function that runs one of a pair the other, in one pass over all objects."""
    by_file: dict[str, list[Exchange]] = {}
    for done in exchanges:
        if done._pairs:
            by_file.setdefault(done._path, []).append(done)
    exchanged = []
    for function in live_objects(partial(is_, FunctionType)) if by_file else ():
        for done in by_file.get(function.__code__.co_filename, ()):
            new = done._pairs.get(function.__code__)
            if new is not None:
                give(function, new)
                done.swapped.append(function.__qualname__)
                exchanged.append(function)
                break
    forget_compiled(exchanged)


def give(function: FunctionType, new: CodeType) -> None:
    """Have a function run other code; its own, where that is equal."""
    original = _original.setdefault(function, function.__code__)
    function.__code__ = original if original == new else new


def _never_found(done: Exchange, module: ModuleType | None) -> list[str]:
    """The captured functions that are not alive, with the reason; those that are yet to be defined are put aside."""
    problems: list[str] = []
    if module is None or done.plan is None:
        return problems  # nobody knows which functions of such a file live on
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
    """Whether the statements of a module may still be being run: those of the script, or of an unfinished import."""
    if getattr(getattr(module, "__spec__", None), "_initializing", False):
        return True
    return module is sys.modules.get(MAIN) and not hasattr(sys, "ps1")


def runs_for(module: ModuleType) -> tuple[str, tuple[Target, ...]]:
    """What the keys of a module's functions call it, and the targets that they are rewritten for at present."""
    loader = loader_of(module)
    exchanged = _exchanged.get(module)
    if exchanged is not None and exchanged[0] is loader:
        return exchanged[1:]
    if isinstance(loader, Capturing) and not loader._plain:
        return loader.capture_module, tuple(loader.capture_targets)
    return "", ()


def outdated(targets: Sequence[Target]) -> list[Outdated]:
    """What does not run as `targets` ask: imported modules, and files that were run."""
    found = []
    seen: set[int] = set()
    for own_name, module in list(sys.modules.items()):
        if not isinstance(module, ModuleType) or is_asleep(module) or own_name.partition(".")[0] == "astcapture":
            continue
        name, after = meant(targets, names_of(own_name, path_of(module)))
        name_before, before = runs_for(module)
        if before != after and id(module) not in seen and not _is_bare(module):
            seen.add(id(module))
            if before or _holds_functions(module, after):
                found.append(Outdated(name, module, _source_path(module), after, before, name_before))
    for (path, name_before), (names, before) in list(_files.items()):
        name, after = meant(targets, names)
        if before != after:
            found.append(Outdated(name, None, path, after, before, name_before))
    return found


def _is_bare(module: ModuleType) -> bool:
    """Whether this is the script's module before the script has begun, as the start-up file finds it."""
    return module is sys.modules.get(MAIN) and all(name.startswith("__") for name in vars(module))


def _holds_functions(module: ModuleType, targets: Sequence[Target]) -> bool:
    """Whether a target names functions of an imported module, or its source marks some."""
    if any(target.qualname is not None and target.exact_module for target in targets):
        return True
    path = _source_path(module)
    if path is None:
        return False
    if any(target.qualname is not None for target in targets):
        return True
    try:
        with open(path, "rb") as file:
            source = file.read()
        return marks_functions(source)
    except (OSError, SyntaxError, ValueError):
        return False


def exchanged_modules() -> list[ModuleType]:
    """The modules whose live functions were exchanged."""
    return list(_exchanged)
