"""From the source of a module to its rewritten code."""

from __future__ import annotations

import ast
import gc
import sys
import warnings
from collections.abc import Callable, Sequence
from types import CodeType
from typing import Any, TypeVar

from astcapture.errors import CaptureError, CaptureWarning
from astcapture.rewrite.plan import plan_module
from astcapture.rewrite.transform import rewrite
from astcapture.targets.target import Target

T = TypeVar("T")

#: How much deeper than Python code the compiler lets syntax nest; walking a tree from Python needs the same.
_COMPILER_DEPTH = 4


def rewritten_tree(
    source: bytes, module: str, path: str, targets: Sequence[Target], *, strict: bool = False
) -> ast.Module | None:
    """The rewritten tree of a module, or None where there is nothing to rewrite in it.

    None too where the source does not parse (importing it plainly raises the error, with Python's
    own traceback) and where the rewriter itself fails, which is a bug and is warned of.

    Raises:
        CaptureError: what the user asked for is wrong.
    """
    try:
        return _with_room(lambda: _rewrite(source, module, path, targets))
    except CaptureError:
        raise
    except SyntaxError:
        return None
    except Exception as error:
        if strict:
            raise
        reason = f"{type(error).__name__}: {error}"
        warnings.warn(
            f"{path}: imported without captures, because rewriting it failed ({reason}); "
            "this is a bug of astcapture, please report it",
            CaptureWarning,
            stacklevel=2,
        )
        return None


def _rewrite(source: bytes, module: str, path: str, targets: Sequence[Target]) -> ast.Module | None:
    tree = ast.parse(source, path)
    plan = plan_module(tree, module, path, targets)
    return rewrite(tree, plan) if plan else None


def compile_tree(tree: ast.Module, path: str, optimize: int = -1) -> CodeType:
    """Compile as the import system compiles source: without the flags of the code that asks for it."""
    return _with_room(lambda: compile(tree, path, "exec", dont_inherit=True, optimize=optimize))


def _with_room(work: Callable[[], T]) -> T:
    """Run `work` with the collector off, and again with a higher recursion limit if it needs one.

    A tree is many objects and no garbage: collecting while it grows doubles the time. And the plain
    compiler takes expressions several times deeper than the recursion limit (a sum of 1,500 terms),
    while reading a tree back counts each level against it.
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
    """The targets that may mean functions of `module`."""
    return tuple(target for target in targets if target.matches_module(module))


def may_hold_functions(source: bytes, targets: Sequence[Any]) -> bool:
    """Whether a module is worth parsing: a function of it is named, or it mentions the marker's package."""
    return any(target.qualname is not None for target in targets) or b"astcapture" in source
