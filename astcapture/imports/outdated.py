"""Which imported modules and executed files do not run as the installed hooks ask, and what they run as now."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from types import ModuleType
from weakref import WeakKeyDictionary

from astcapture.imports.compile import marks_functions
from astcapture.imports.loader import Capturing, is_asleep, loader_of
from astcapture.imports.names import MAIN, meant, names_of, path_of
from astcapture.targets.target import Target

# For which targets live modules were last exchanged, and their names in keys; valid while they have the same loader.
_exchanged: WeakKeyDictionary[ModuleType, tuple[object, str, tuple[Target, ...]]] = WeakKeyDictionary()
# The same for files that ran without being the file of a module, with all names by which targets can name them.
_files: dict[tuple[str, str], tuple[tuple[str, ...], tuple[Target, ...]]] = {}


@dataclass(frozen=True)
class Outdated:
    """A module or a file that runs for the targets `before` and should run for `after`.

    `module` is None for a file that belongs to no module. `name` is its name in the keys of the new code,
    `name_before` in those of the code that runs now.
    """

    name: str
    module: ModuleType | None
    path: str | None
    after: tuple[Target, ...]
    before: tuple[Target, ...] = ()
    name_before: str = ""


def outdated(targets: Sequence[Target]) -> list[Outdated]:
    """The imported modules and the executed files that do not run as `targets` require."""
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
                found.append(Outdated(name, module, source_path(module), after, before, name_before))
    for (path, name_before), (names, before) in list(_files.items()):
        name, after = meant(targets, names)
        if before != after:
            found.append(Outdated(name, None, path, after, before, name_before))
    return found


def runs_for(module: ModuleType) -> tuple[str, tuple[Target, ...]]:
    """A module's name in keys, and the targets for which its functions are rewritten at present."""
    loader = loader_of(module)
    exchanged = _exchanged.get(module)
    if exchanged is not None and exchanged[0] is loader:
        return exchanged[1:]
    if isinstance(loader, Capturing) and not loader._plain:
        return loader.capture_module, tuple(loader.capture_targets)
    return "", ()


def ran_in(path: str, name: str, names: Sequence[str], targets: Sequence[Target], module: ModuleType | None) -> None:
    """Note that a file was rewritten for these targets and runs under `name`, though none of our loaders loaded it."""
    if module is not None:
        _exchanged[module] = (loader_of(module), name, tuple(targets))
    else:
        _files[path, name] = tuple(names), tuple(targets)


def remember(one: Outdated) -> None:
    """Note that it has been brought up to date."""
    if one.module is not None:
        _exchanged[one.module] = (loader_of(one.module), one.name, one.after)
    elif one.path is not None:
        names, _ = _files.pop((one.path, one.name_before), ((one.name,), ()))
        if one.after:
            _files[one.path, one.name] = names, one.after


def exchanged_modules() -> list[ModuleType]:
    """The modules whose live functions were exchanged."""
    return list(_exchanged)


def source_path(module: ModuleType) -> str | None:
    """The source file of a module; None where it has none."""
    spec = getattr(module, "__spec__", None)
    loader = getattr(spec, "loader", None) or getattr(module, "__loader__", None)
    if isinstance(loader, SourceFileLoader):
        return str(loader.path)
    path = getattr(module, "__file__", None)
    return path if isinstance(path, str) and path.endswith(".py") else None


def _is_bare(module: ModuleType) -> bool:
    """Whether this is ``__main__`` before the script has started, as at start-up."""
    return module is sys.modules.get(MAIN) and all(name.startswith("__") for name in vars(module))


def _holds_functions(module: ModuleType, targets: Sequence[Target]) -> bool:
    """Whether a target names functions of an imported module, or its source marks some."""
    if any(target.qualname is not None and target.exact_module for target in targets):
        return True
    path = source_path(module)
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
