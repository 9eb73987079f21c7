"""Exchange the code of live functions, for modules that are imported already.

The same source is compiled as it runs now and as it should run. The two differ only inside the
captured functions, so their code objects pair up in order; every live function that runs one of a
pair gets the other. That reaches methods of models built long ago, closures and decorated functions,
because they all are function objects that hold the code.
"""

from __future__ import annotations

import ast
import gc
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from types import CodeType, FunctionType, ModuleType
from weakref import WeakKeyDictionary

from astcapture.imports.compile import compile_tree, matching
from astcapture.imports.loader import Capturing, is_asleep, loader_of
from astcapture.record import recorder
from astcapture.rewrite.find import find_functions
from astcapture.rewrite.plan import Plan, plan_module
from astcapture.rewrite.transform import CALLED, PREFIX, rewrite
from astcapture.targets.target import Target

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


def exchange(module: ModuleType, name: str, before: Sequence[Target], after: Sequence[Target]) -> Exchange:
    """Make the live functions of a module, rewritten for the targets `before`, run as rewritten for `after`.

    Args:
        module: the imported module.
        name: its name, as targets spell it.
        before: the targets that its functions are rewritten for now; none where it is plain.
        after: the targets that they should be rewritten for; none to make it plain again.

    Raises:
        CaptureError: a target that matches no function of it, or a name that is never bound.
    """
    done = Exchange(name)
    path = _source_path(module)
    if path is None:
        done.problems.append(f"{name} has no source file")
        return done
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        done.problems.append(f"{name}: its source cannot be read ({error.strerror}: {path})")
        return done
    old, _ = _compiled(source, name, path, before)
    new, plan = _compiled(source, name, path, after)
    pairs = {one: other for one, other in _paired(old, new) if one != other}
    if plan is not None:
        recorder.declare(*plan.declaration())
        for called in CALLED:
            # In the module, so that functions pickled by value find it; builtins have it too.
            module.__dict__.setdefault(PREFIX + called, getattr(recorder, called))
    if pairs:
        _swap(path, pairs, done, plan)
    return done


def _source_path(module: ModuleType) -> str | None:
    spec = getattr(module, "__spec__", None)
    loader = getattr(spec, "loader", None) or getattr(module, "__loader__", None)
    if isinstance(loader, SourceFileLoader):
        return str(loader.path)
    path = getattr(module, "__file__", None)
    return path if isinstance(path, str) and path.endswith(".py") else None


def _compiled(source: bytes, name: str, path: str, targets: Sequence[Target]) -> tuple[CodeType, Plan | None]:
    tree = ast.parse(source, path)
    plan = plan_module(tree, name, path, targets) if targets else None
    return compile_tree(rewrite(tree, plan) if plan else tree, path), plan or None


def _paired(old: CodeType, new: CodeType) -> Iterator[tuple[CodeType, CodeType]]:
    """The code objects of two compilations that differ inside functions only, side by side."""
    stack = [(old, new)]
    while stack:
        one, other = stack.pop()
        yield one, other
        stack.extend(zip(_nested(one), _nested(other), strict=True))


def _nested(code: CodeType) -> list[CodeType]:
    return [constant for constant in code.co_consts if isinstance(constant, CodeType)]


def _swap(path: str, pairs: dict[CodeType, CodeType], done: Exchange, plan: Plan | None) -> None:
    """Give every live function of the file that runs one of a pair the other."""
    found: set[CodeType] = set()
    for function in gc.get_objects():
        if type(function) is not FunctionType or function.__code__.co_filename != path:
            continue
        old = function.__code__
        new = pairs.get(old)
        if new is None:
            continue
        found.add(new)
        original = _original.setdefault(function, old)
        try:
            function.__code__ = original if original == new else new
        except ValueError:
            done.problems.append(f"{done.module}:{function.__qualname__}: what is captured there changes its closure")
        else:
            done.swapped.append(function.__qualname__)
    missed = {(code.co_name, code.co_firstlineno) for code in pairs.values() if code not in found}
    for planned in plan.functions if plan is not None else ():
        node = planned.function.node
        # The code of a decorated function begins at its first decorator.
        line = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        if (node.name, line) in missed and not planned.function.enclosing:
            done.problems.append(
                f"{done.module}:{planned.function.qualname}: no live function runs {path}:{node.lineno}; "
                "it was replaced, or the file has changed since it was imported"
            )


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


def bring_up_to_date(targets: Sequence[Target]) -> list[Exchange]:
    """Make every imported module run as `targets`, all that are installed now, ask; one `Exchange` for each touched."""
    exchanges = []
    for name, module, before, after in outdated(targets):
        exchanges.append(exchange(module, name, before, after))
        _exchanged[module] = (loader_of(module), after)
    return exchanges


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
        return b"astcapture" in source and any(function.markers for function in find_functions(ast.parse(source)))
    except (OSError, SyntaxError, ValueError):
        return False
