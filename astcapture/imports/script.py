"""Rewrites scripts: files that the interpreter, `runpy.run_path` or the children of `multiprocessing` run by path.

All three first ask ``sys.path_hooks`` whether something can import from that path. While a hook is installed, our path
hook accepts a script that a target names, and provides the rewritten code. It rejects all other scripts, which run
without us.
"""

from __future__ import annotations

import ast
import contextlib
import io
import os
import sys
from importlib.machinery import ModuleSpec
from types import CodeType
from typing import TYPE_CHECKING, Any

from astcapture.errors import CaptureError
from astcapture.imports.compile import compile_tree, compiled_as, rewritten_tree
from astcapture.imports.names import CACHED, MAIN, meant, names_of
from astcapture.imports.outdated import ran_in
from astcapture.imports.quiet import quietly
from astcapture.imports.session import refuse_script
from astcapture.targets.target import Target

if TYPE_CHECKING:
    from astcapture.imports.finder import CaptureFinder

_finder: CaptureFinder | None = None
# The largest number of frames between `runpy.run_path` and the call of a path hook.
_DEPTH = 4


def install(finder: CaptureFinder) -> None:
    """Add our path hook at the end, if it is not there yet."""
    global _finder
    _finder = finder
    if _script_hook not in sys.path_hooks:
        sys.path_hooks.append(_script_hook)


def uninstall() -> None:
    global _finder
    _finder = None
    with contextlib.suppress(ValueError):
        sys.path_hooks.remove(_script_hook)


class ScriptFinder:
    """The finder from which the interpreter imports ``__main__``, and the loader with its code."""

    def __init__(self, path: str, code: CodeType) -> None:
        self.path = path
        self.code = code

    def find_spec(self, fullname: str, target: Any = None) -> ModuleSpec | None:
        loader: Any = self
        return ModuleSpec(MAIN, loader, origin=self.path) if fullname == MAIN else None

    def get_code(self, fullname: str) -> CodeType:
        # The file or the targets may have changed when it is run again.
        sys.path_importer_cache.pop(self.path, None)
        return self.code


def _script_hook(path: str) -> ScriptFinder:
    """A path hook for `sys.path_hooks` that accepts scripts in which something is captured.

    Raises:
        ImportError: for everything else.
    """
    name = _run_name(path)
    if name is None or _finder is None or path.endswith(".pyc") or not os.path.isfile(path):
        raise ImportError(path)
    code = _code_of(path, name or MAIN, is_program=not name)
    if code is None:
        raise ImportError(path)
    return ScriptFinder(path, code)


def _run_name(path: str) -> str | None:
    """The ``__name__`` with which a script will run: empty for the interpreter's own; None if it will not run."""
    try:
        frame: Any = sys._getframe(2)
    except ValueError:
        return ""  # no Python runs yet
    for _ in range(_DEPTH):
        if frame is None:
            return None
        if frame.f_code.co_name == "run_path" and frame.f_globals.get("__name__") == "runpy":
            asked = frame.f_locals
            # A path that is not a string cannot be in `sys.path`, where the code is searched next.
            return (
                str(asked["run_name"]) if asked.get("path_name") == path and type(asked["path_name"]) is str else None
            )
        frame = frame.f_back
    return None


def _code_of(path: str, name: str, is_program: bool) -> CodeType | None:
    """Code that runs a script with its captured functions rewritten; None if nothing is captured in it."""
    assert _finder is not None
    names = names_of(name, path)
    key, targets = meant(_finder.targets, names)
    if not targets:
        return None
    try:
        with io.open_code(os.path.abspath(path)) as file:
            source = file.read()
    except OSError:
        return None
    tree = tree_of_script(source, path, key, targets, _finder.strict)
    if tree is None:
        return None
    # Show the warnings of a plain compile, which the interpreter skips now.
    compile(source, path, "exec", dont_inherit=True, **compiled_as(name))
    # For the interpreter everything is set up here; `run_path` has its own frames and only needs its globals fixed.
    if is_program:
        waiting.append((quietly(lambda: compile_tree(tree, path)), key, targets))
        return _compiled(f"run_program({path!r})", "astcapture.imports.launcher", path)
    _set_globals_right_in(tree)
    ran_in(path, key, names, targets, None)
    return quietly(lambda: compile_tree(tree, path))


#: The code of the interpreter's own script, until it runs.
waiting: list[tuple[CodeType, str, tuple[Target, ...]]] = []


def tree_of_script(source: bytes, path: str, key: str, targets: tuple[Target, ...], strict: bool) -> ast.Module | None:
    """The rewritten tree of a script; None if nothing is captured in it. A mistake is reported, and the script runs.

    Processes that a program starts run other scripts, which need not contain what the targets name.
    """
    try:
        return quietly(lambda: rewritten_tree(source, key, path, targets, strict=strict))
    except CaptureError as error:
        refuse_script(error, strict)
        return None


def _set_globals_right_in(tree: ast.Module) -> None:
    """Insert a first statement that sets the globals as `run_path` does when it reads a file itself."""
    statement = ast.parse(f"__import__({__name__!r}, None, None, ['set_right']).set_right(globals())").body[0]
    for node in ast.walk(statement):
        if isinstance(node, (ast.expr, ast.stmt)):
            node.lineno = node.end_lineno = node.col_offset = node.end_col_offset = -1
    index = 1 if tree.body and ast.get_docstring(tree, clean=False) is not None else 0
    while index < len(tree.body) and getattr(tree.body[index], "module", None) == "__future__":
        index += 1
    tree.body.insert(index, statement)


def set_right(names: dict[str, Any]) -> None:
    """Called when a script starts: undo what `run_path` did to import it."""
    path = names["__file__"]
    with contextlib.suppress(ValueError):
        sys.path.remove(path)
    names.update(__loader__=None, __spec__=None, **CACHED)


def _compiled(call: str, module: str, path: str) -> CodeType:
    text = f"__import__({module!r}, None, None, ['run_program']).{call}"
    code: CodeType = compile(text, f"<{module}>", "exec", dont_inherit=True)
    return code
