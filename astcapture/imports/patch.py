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
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.machinery import SourceFileLoader
from operator import is_
from types import CodeType, FunctionType, ModuleType
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from astcapture.errors import CaptureError
from astcapture.imports.compile import compile_tree, marks_functions, matching, with_room
from astcapture.imports.compiled_before import forget_compiled
from astcapture.imports.loader import CaptureLoader, Capturing, is_asleep, loader_of
from astcapture.imports.others import source_to_code_of_another
from astcapture.record import recorder
from astcapture.record.live import live_objects
from astcapture.rewrite.plan import Plan, plan_module
from astcapture.rewrite.transform import CALLED, PREFIX, rewrite
from astcapture.targets.target import Target

T = TypeVar("T")

# The code that a function was made with, to be given back as the very object.
_original: WeakKeyDictionary[FunctionType, CodeType] = WeakKeyDictionary()
# What live modules were last exchanged for; it holds for the loader that they were loaded by.
_exchanged: WeakKeyDictionary[ModuleType, tuple[object, tuple[Target, ...]]] = WeakKeyDictionary()


@dataclass
class Exchange:
    """What came of one module: the qualnames of the functions that were swapped, and why others were not."""

    module: str
    swapped: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    # What its live functions run now, and what they should; the file they stand in, and what is captured there.
    _pairs: dict[CodeType, CodeType] = field(default_factory=dict)
    _path: str = ""
    _plan: Plan | None = None


def bring_up_to_date(targets: Sequence[Target], *, strict: bool = False) -> list[Exchange]:
    """Make every imported module run as `targets`, all that are installed now, ask.

    Returns:
        One `Exchange` for each module that was touched.

    Raises:
        CaptureError: a target that matches no function of its module, or a name that is never bound;
            with `strict`, a bug in the rewriter too.
    """
    modules = outdated(targets)
    exchanges = [_prepared(module, name, before, after, strict) for name, module, before, after in modules]
    _swap(exchanges)
    for (_, module, _, after), done in zip(modules, exchanges, strict=True):
        _exchanged[module] = (loader_of(module), after)
        if done._plan is not None:
            _declare(module, done._plan)
            done.problems += _never_found(done)
    return exchanges


#: Modules that have no file because they are typed, and whose functions are rewritten as they are.
of_cells: set[str] = set()


def _prepared(
    module: ModuleType, name: str, before: Sequence[Target], after: Sequence[Target], strict: bool
) -> Exchange:
    """Compile a module as it runs now, for the targets `before`, and as it should, for `after`."""
    done = Exchange(name)
    path = _source_path(module)
    if path is None:
        if name not in of_cells:
            typed = "; run %load_ext astcapture to capture what is typed in cells" if "IPython" in sys.modules else ""
            done.problems.append(f"{name} has no source file{typed}")
        return done
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        done.problems.append(f"{name}: its source cannot be read ({error.strerror}: {path})")
        return done
    try:
        old, new, done._plan = _versions(module, name, path, source, before, after)
        done._pairs = {one: other for one, other in _paired(old, new) if one != other}
    except CaptureError:
        raise
    except SyntaxError:
        done.problems.append(f"{name}: its source has changed since the import and does not parse ({path})")
    except Exception as error:
        reason = f"{name}: rewriting it failed ({type(error).__name__}: {error}); this is a bug of astcapture"
        if strict:
            raise CaptureError(f"{reason}, please report it") from error
        done.problems.append(f"{reason}, please report it")
    done._path = path
    return done


def _declare(module: ModuleType, plan: Plan) -> None:
    recorder.declare(*plan.declaration())
    for called in CALLED:
        # In the module, so that functions pickled by value find it; builtins have it too.
        module.__dict__.setdefault(PREFIX + called, getattr(recorder, called))


def _source_path(module: ModuleType) -> str | None:
    spec = getattr(module, "__spec__", None)
    loader = getattr(spec, "loader", None) or getattr(module, "__loader__", None)
    if isinstance(loader, SourceFileLoader):
        return str(loader.path)
    path = getattr(module, "__file__", None)
    return path if isinstance(path, str) and path.endswith(".py") else None


def _versions(
    module: ModuleType, name: str, path: str, source: bytes, before: Sequence[Target], after: Sequence[Target]
) -> tuple[CodeType, CodeType, Plan | None]:
    """The code of a module for the targets `before` and for `after`, and the plan behind the latter."""
    other = source_to_code_of_another(loader_of(module))
    if other is not None:
        # What another tool's loader made of the source runs now, not what Python would.
        with contextlib.suppress(Exception):
            old, _ = _compiled(source, name, path, before, other)
            return (old, *_compiled(source, name, path, after, other))
    old = _cached(module, path, before) or _compiled(source, name, path, before)[0]
    cached = None if after else _cached(module, path, after)
    return (old, cached, None) if cached is not None else (old, *_compiled(source, name, path, after))


def _compiled(
    source: bytes, name: str, path: str, targets: Sequence[Target], other: Callable[..., CodeType] | None = None
) -> tuple[CodeType, Plan | None]:
    """The code of a module as `targets` have it, and the plan behind it; its own code for no targets.

    `other` is how the loader of the module compiles, where that is another tool's.
    """

    def work() -> tuple[CodeType, Plan | None]:
        if not targets:
            return other(source, path) if other else compile(source, path, "exec", dont_inherit=True), None
        tree = ast.parse(source, path)
        plan = plan_module(tree, name, path, targets)
        rewrite(tree, plan)
        return other(tree, path) if other else compile_tree(tree, path), plan

    return _quietly(work)


class _ReadingLoader(SourceFileLoader):
    """Takes bytecode from Python's cache, and leaves none there."""

    def set_data(self, path: str, data: Any, *, _mode: int = 0o666) -> None:
        pass


def _cached(module: ModuleType, path: str, targets: Sequence[Target]) -> CodeType | None:
    """The code that an import of the module for these targets runs, out of the bytecode cache where it is there.

    As the interpreter exits, every captured module is made plain again: compiling each twice for it
    would take longer than many a program runs. None where only compiling tells.
    """
    loader = loader_of(module)
    if type(loader) is CaptureLoader and not loader._plain and tuple(targets) == loader.capture_targets:
        return _quietly(lambda: loader.get_code(loader.name))
    if type(loader) in (SourceFileLoader, CaptureLoader) and not targets:
        return _quietly(lambda: _ReadingLoader(module.__name__, path).get_code(module.__name__))
    return None


def _quietly(work: Callable[[], T]) -> T:
    """Compile once more: the import has told what the compiler warns of, and it is told once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return with_room(work)


def _paired(old: CodeType, new: CodeType) -> Iterator[tuple[CodeType, CodeType]]:
    """The code objects of two compilations that differ inside functions only, side by side."""
    stack = [(old, new)]
    while stack:
        one, other = stack.pop()
        yield one, other
        stack.extend(_side_by_side(_nested(one), _nested(other)))


def _side_by_side(old: list[CodeType], new: list[CodeType]) -> Iterator[tuple[CodeType, CodeType]]:
    """Pair those of the same name and line, in order.

    One of them can have more: Python drops the code of a ``def`` that is never reached if no constant comes after it.
    """
    if len(old) == len(new):
        yield from zip(old, new, strict=True)
        return
    rest = list(new)
    for one in old:
        place = (one.co_name, one.co_firstlineno)
        at = next((index for index, other in enumerate(rest) if (other.co_name, other.co_firstlineno) == place), None)
        if at is not None:
            yield one, rest[at]
            del rest[: at + 1]


def _nested(code: CodeType) -> list[CodeType]:
    return [constant for constant in code.co_consts if isinstance(constant, CodeType)]


def _swap(exchanges: Sequence[Exchange]) -> None:
    """Give every live function that runs one of a pair the other, in one pass over all objects."""
    by_file = {done._path: done for done in exchanges if done._pairs}
    exchanged = []
    for function in live_objects(partial(is_, FunctionType)) if by_file else ():
        old = function.__code__
        done = by_file.get(old.co_filename)
        new = done._pairs.get(old) if done is not None else None
        if done is None or new is None:
            continue
        original = _original.setdefault(function, old)
        function.__code__ = original if original == new else new
        done.swapped.append(function.__qualname__)
        exchanged.append(function)
    forget_compiled(exchanged)


def _never_found(done: Exchange) -> list[str]:
    """The captured functions that are not alive, with the reason."""
    problems = []
    frozen = getattr(getattr(sys.modules.get(done.module), "__spec__", None), "origin", None) == "frozen"
    changed = {(code.co_name, code.co_firstlineno) for code in done._pairs.values()}
    for planned in done._plan.functions if done._plan is not None else ():
        node, qualname = planned.function.node, planned.function.qualname
        # The code of a decorated function begins at its first decorator.
        line = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        if (node.name, line) in changed and qualname not in done.swapped and not planned.function.enclosing:
            if frozen:
                why = "the module is frozen into the interpreter: start Python with -X frozen_modules=off"
            else:
                why = "it was replaced, or the file has changed since it was imported"
            problems.append(f"{done.module}:{qualname}: no live function runs {done._path}:{node.lineno}; {why}")
    return problems


def targets_of(module: ModuleType) -> tuple[Target, ...]:
    """The targets that the functions of a module are rewritten for at present."""
    loader = loader_of(module)
    exchanged = _exchanged.get(module)
    if exchanged is not None and exchanged[0] is loader:
        return exchanged[1]
    if isinstance(loader, Capturing) and not loader._plain:
        return tuple(loader.capture_targets)
    return ()


def outdated(targets: Sequence[Target]) -> list[tuple[str, ModuleType, tuple[Target, ...], tuple[Target, ...]]]:
    """The imported modules that do not run as `targets` ask: name, module, what they run as, and what they should."""
    found = []
    for name, module in list(sys.modules.items()):
        if not isinstance(module, ModuleType) or is_asleep(module) or name.partition(".")[0] == "astcapture":
            continue
        before, after = targets_of(module), matching(targets, name)
        if before != after and (before or _holds_functions(module, after)):
            found.append((name, module, before, after))
    return found


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
