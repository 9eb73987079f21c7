"""Compiles the source of a module to its rewritten code."""

from __future__ import annotations

import ast
import gc
import os
import sys
from collections.abc import Callable, Sequence
from types import CodeType
from typing import Any, TypeVar

from astcapture.errors import CaptureError
from astcapture.imports.follow import check_moved, compiles
from astcapture.rewrite.compilers import COMPILERS
from astcapture.rewrite.find import find_functions
from astcapture.rewrite.plan import plan_module
from astcapture.rewrite.planned import Plan
from astcapture.rewrite.transform import rewrite
from astcapture.targets.target import Target
from astcapture.warn import warn

T = TypeVar("T")

#: The compiler accepts syntax nested this many times deeper than the recursion limit; walking the tree needs the same.
_COMPILER_DEPTH = 4


def compiled_as(name: str) -> dict[str, Any]:
    """The module's name as a keyword for `compile` and `ast.parse`, so that warning filters can match it.

    Before Python 3.15, or without a name, filters match the name of the file.
    """
    return {"module": name} if name and sys.version_info >= (3, 15) else {}


def rewritten_code(
    source: bytes,
    module: str,
    path: str,
    targets: Sequence[Target],
    *,
    strict: bool = False,
    optimize: int = -1,
    name: str = "",
) -> CodeType | None:
    """The code of a module with its captured functions rewritten; there may be none.

    `module` is its name in keys, `name` its own name, as for `compiled_as`.

    Returns None if the module has to be compiled plainly. Either Python rejects the source, and compiling it plainly
    raises the error with Python's own traceback; or the rewriter failed, which is a bug and gives a warning.

    Raises:
        CaptureError: a target or a marker contains a mistake; or the rewriter failed and `strict` is set.
    """

    def work() -> CodeType:
        tree = ast.parse(source, path, **compiled_as(name))
        _rewrite(tree, module, path, targets)
        return _compile(tree, path, optimize, name)

    return _unless_it_fails(work, source, path, strict)


def rewritten_tree(
    source: bytes, module: str, path: str, targets: Sequence[Target], *, strict: bool = False, name: str = ""
) -> ast.Module | None:
    """The rewritten tree, for callers that compile it; None as in `rewritten_code`, or if nothing changed.

    Raises:
        CaptureError: as `rewritten_code` does.
    """

    def work() -> ast.Module | None:
        tree = ast.parse(source, path, **compiled_as(name))
        return tree if _rewrite(tree, module, path, targets) else None

    return _unless_it_fails(work, source, path, strict)


def compile_tree(tree: ast.Module, path: str, optimize: int = -1) -> CodeType:
    """Compile as the import system does: without inheriting the flags of the calling code."""
    return with_room(lambda: _compile(tree, path, optimize))


def _rewrite(tree: ast.Module, module: str, path: str, targets: Sequence[Target]) -> bool:
    """Rewrite the tree in place; False if nothing changed."""
    plan = planned(tree, module, path, targets)
    rewrite(tree, plan)
    return plan.declares


def planned(tree: ast.Module, module: str, path: str, targets: Sequence[Target]) -> Plan:
    """The plan for a module in this process, given its compilers and the modules that it can import.

    Raises:
        CaptureError: as `plan_module` does, and if a target names an import whose definition is not found.
    """
    plan = plan_module(tree, module, path, targets, os.environ, lambda name: compiles(name, module, path))
    check_moved(plan)
    return plan


def switched_off() -> list[str]:
    """The variables that turn other compilers off, on which a plan depends."""
    switches = {compiler.switch for compiler in COMPILERS.values() if compiler.switch is not None}
    return sorted(variable for variable, value in switches if os.environ.get(variable) == value)


def _compile(tree: ast.Module, path: str, optimize: int, name: str = "") -> CodeType:
    code: CodeType = compile(tree, path, "exec", dont_inherit=True, optimize=optimize, **compiled_as(name))
    return code


def _unless_it_fails(work: Callable[[], T], source: bytes, path: str, strict: bool) -> T | None:
    try:
        return with_room(work)
    except CaptureError:
        raise
    except Exception as error:
        if not _is_valid(source, path):
            return None
        reason = f"rewriting failed ({type(error).__name__}: {error}); this is a bug in astcapture, please report it"
        if strict:
            raise CaptureError(f"{path}: {reason}") from error
        # At the module's own file, since no line of the program caused it.
        warn(f"{path}: imported without captures: {reason}", path, 1)
        return None


def _is_valid(source: bytes, path: str) -> bool:
    """Whether Python itself compiles the source."""
    try:
        compile(source, path, "exec", dont_inherit=True)
    except Exception:
        return False
    return True


def with_room(work: Callable[[], T]) -> T:
    """Run `work` with the collector off, and again with a higher recursion limit if it needs one.

    A growing tree has many objects and no garbage, so collecting meanwhile doubles the time. The plain compiler
    accepts expressions several times deeper than the recursion limit (a sum of 1,500 terms), but walking a tree in
    Python counts each level.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        try:
            return work()
        except RecursionError:
            limit = sys.getrecursionlimit()
            sys.setrecursionlimit(limit * _COMPILER_DEPTH)
            try:
                return work()
            finally:
                sys.setrecursionlimit(limit)
    finally:
        if enabled:
            gc.enable()


def matching(targets: Sequence[Target], module: str) -> tuple[Target, ...]:
    """The targets that may name functions of `module`."""
    return tuple(target for target in targets if target.matches_module(module))


def may_hold_functions(read: Callable[[], bytes], targets: Sequence[Target]) -> bool:
    """Whether a module needs parsing: a target names a function in it, or its source mentions astcapture."""
    return any(target.qualname is not None for target in targets) or b"astcapture" in read()


def marks_functions(source: str | bytes) -> bool:
    """Whether a module marks a function in its source.

    Raises:
        SyntaxError: Python rejects the source.
    """
    # Most modules do not mention astcapture, and need not be parsed.
    mentioned = "astcapture" in source if isinstance(source, str) else b"astcapture" in source
    return mentioned and any(function.markers for function in find_functions(ast.parse(source)))


# Errors that the code from `raising_code` will raise.
_pending: dict[int, CaptureError] = {}


def raising_code(error: CaptureError, path: str) -> CodeType:
    """Code that raises `error` on the line of the module with the mistake.

    It runs in place of the module's own code, so that the traceback shows only the user's files: the line that
    imports, and the line with the mistake.
    """
    _pending[id(error)] = error
    tree = ast.parse(f"raise __import__({__name__!r}, None, None, ['pending']).pending({id(error)})")
    for node in ast.walk(tree):
        if isinstance(node, (ast.expr, ast.stmt)):
            # No columns: the expression on that line is not what raises.
            node.lineno = node.end_lineno = error.lineno or 1
            node.col_offset = node.end_col_offset = -1
    code: CodeType = compile(tree, path, "exec", dont_inherit=True)
    return code


def pending(identity: int) -> CaptureError:
    """The error that `raising_code` was given, once."""
    return _pending.pop(identity).with_traceback(None)
