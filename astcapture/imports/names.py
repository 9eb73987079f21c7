"""The names by which a target can name a module: its own name, the script's file name, or a path to the file."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from types import ModuleType

from astcapture.targets.target import Target

#: The module names of the running script, here and in `multiprocessing` workers that run it again.
MAIN = "__main__"
_MAINS = (MAIN, "__mp_main__")

#: A script has ``__cached__ = None``, since it has no cached bytecode. Python 3.15 removed the name.
CACHED: dict[str, None] = {"__cached__": None} if sys.version_info < (3, 15) else {}

#: The module that `astcapture run -m` runs, which is not on the interpreter's own command line.
launched_module: str | None = None


def names_of(module: str, path: str | None) -> tuple[str, ...]:
    """The names that a target can give a module, its own first.

    Args:
        module: the name that it runs under.
        path: its source file, if any.

    >>> names_of("__main__", "/home/me/train.py"), names_of("copy_of", "/home/me/nets/vit.py")[:3]
    (('__main__', 'train'), ('copy_of', 'vit', 'nets.vit'))
    """
    if module in _MAINS:
        name = _name_after_m(path) if module == MAIN else None
        if name is not None:
            return (name, MAIN)
        return (MAIN, _stem(path)) if path is not None and _stem(path) else (MAIN,)
    if path is None or _is_of(path, module):
        return (module,)
    return tuple(dict.fromkeys((module, *_tails(path))))


def path_of(module: ModuleType) -> str | None:
    """The file of a module, by ``__file__`` or by its loader: after a script has ended, ``__file__`` is gone."""
    found = vars(module).get("__file__") or getattr(vars(module).get("__loader__"), "path", None)
    return found if isinstance(found, str) else None


def _name_after_m(path: str | None) -> str | None:
    """The full name of the module that runs as ``__main__``; None for a script, also one that such a module runs."""
    spec = getattr(sys.modules.get(MAIN), "__spec__", None)
    name = getattr(spec, "name", None)
    # ``python FOLDER`` also has a spec, named __main__.
    is_it = isinstance(name, str) and name != MAIN and path in (None, getattr(spec, "origin", None))
    return name if is_it else None


def may_run_as_main(name: str) -> bool:
    """Whether this import may be the one of ``python -m``; for a package that is the import of its ``__main__``."""
    module = module_run() if sys.argv[:1] == ["-m"] else None
    return module is not None and name in (module, f"{module}.{MAIN}")


def module_run() -> str | None:
    """The argument of ``-m`` on the command line."""
    if launched_module is not None:
        return launched_module
    arguments = sys.orig_argv[: len(sys.orig_argv) - len(sys.argv) + 1]
    last = arguments[-1] if arguments else ""
    # ``-m NAME``, ``-mNAME`` or ``-umNAME``.
    return last.partition("m")[2] if last.startswith("-") else last


def meant(targets: Sequence[Target], names: Sequence[str]) -> tuple[str, tuple[Target, ...]]:
    """The targets that name a module with these names, and the name that the first of these targets uses.

    All are returned as targets of that name, since a module has one name in keys. Wildcards match only the first
    name.
    """
    found = [(name, target) for target in targets if (name := _name_used(target, names)) is not None]
    if not found:
        return names[0], ()
    chosen = found[0][0]
    return chosen, tuple(
        target if target.matches_module(chosen) else replace(target, module=chosen) for _, target in found
    )


def with_aliases(target: Target) -> list[Target]:
    """A target; if it names the script, also the same target by the script's other names, since keys use only one."""
    started = sys.argv[0] if sys.argv else ""
    own = module_run() if started == "-m" else _stem(started)
    names = {MAIN, own or MAIN, *names_of(MAIN, path_of(sys.modules[MAIN]) if MAIN in sys.modules else None)}
    return [target, *(replace(target, module=name) for name in names - {target.module} if target.module in names)]


def _name_used(target: Target, names: Sequence[str]) -> str | None:
    if target.matches_module(names[0]):
        return names[0]
    return next((name for name in names[1:] if target.exact_module and target.matches_module(name)), None)


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _parts(path: str) -> list[str]:
    parts = os.path.splitext(os.path.abspath(path))[0].split(os.sep)
    return parts[:-1] if parts[-1] == "__init__" else parts


def _is_of(path: str, module: str) -> bool:
    """Whether importing a module of this name would find this file."""
    return _is_file_of(path if os.path.isabs(path) else os.path.abspath(path), module)


# Each change of what is captured asks this for every imported module.
@cache
def _is_file_of(path: str, module: str) -> bool:
    folder = os.sep + module.replace(".", os.sep)
    stem = os.path.splitext(path)[0]
    return stem.endswith((folder, os.path.join(folder, "__init__")))


def _tails(path: str) -> Iterator[str]:
    """The names under which a file can be imported from the folders above it, the shortest first."""
    name = ""
    for part in reversed(_parts(path)):
        if not part.isidentifier():
            return
        name = f"{part}.{name}" if name else part
        yield name
