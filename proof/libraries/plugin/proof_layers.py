"""The layers of records against the paths of modules, found here by going through all objects of the process.

A hook on every module's call notes which module ran to its end, by the name of its ``forward``, and its paths in
the topmost modules that hold it. Nothing of this package's own way to find a layer is used.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Mapping
from typing import Any
from weakref import ref

import torch
from torch.nn.modules.module import (
    Module,
    register_module_forward_hook,
    register_module_module_registration_hook,
)

#: Wrappers, and the name under which they hold what they wrap; it is no part of a path.
WRAPPERS = {
    "OptimizedModule": "_orig_mod",
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "FullyShardedDataParallel": "_fsdp_wrapped_module",
}
#: So many of one case are told.
SHOWN = 20


class Watch:
    """What ran in a case, and where it stands."""

    def __init__(self) -> None:
        # Of each module, by its identity: itself, and those that hold it with the name.
        self._holders: dict[int, tuple[ref[Module], list[tuple[ref[Module], str]]]] = {}
        self._changed = True
        self.next_case()

    def start(self) -> None:
        # What is there already is no model, and need not be gone through each time.
        gc.collect()
        gc.freeze()
        register_module_module_registration_hook(self._registered)
        register_module_forward_hook(self._ran)

    def next_case(self) -> None:
        gc.collect()  # a model of the last case that hangs in a cycle holds its modules
        self._changed = True
        #: Of each ``forward``, the sets of paths of the modules that ran.
        self.ran: dict[str, set[frozenset[str]]] = {}
        #: Every path in every model that ran.
        self.paths: set[str] = set()
        self._known: set[int] = set()

    def compare(self, records: Mapping[str, Iterable[Any]]) -> list[str]:
        """Records whose layer is no path of a module that ran, and modules that ran without a record."""
        wrong: list[str] = []
        for key, of_function in records.items():
            layers = {record.layer for record in of_function}
            if not layers:
                continue
            ran = self.ran.get(key)
            if ran is None:
                # No forward of a module that was called: a method called by name, or a function.
                wrong += [f"{key}: {layer!r} is no path" for layer in layers - self.paths - {None}]
                continue
            allowed = frozenset().union(*ran)
            wrong += [f"{key}: {layer!r}, it ran at {short(allowed)}" for layer in layers - allowed]
            wrong += [f"{key}: ran at {short(paths)}, no record has it" for paths in ran if not paths & layers]
        return sorted(wrong)[:SHOWN]

    def _registered(self, module: Module, name: str, part: Module | None) -> None:
        self._changed = True

    def _ran(self, module: Module, _arguments: Any, _result: Any) -> None:
        if torch.compiler.is_compiling() or "forward" in vars(module):
            return
        forward = type(module).forward
        key = f"{forward.__module__}:{forward.__qualname__}"
        paths = self._paths(module)
        self.ran.setdefault(key, set()).add(paths)

    def _paths(self, module: Module) -> frozenset[str]:
        known = self._holders.get(id(module))
        if self._changed or known is None or known[0]() is not module:
            self._go_through_all()
        found: set[str] = set()
        stack: list[tuple[Module, str]] = [(module, "")]
        while stack:
            one, below = stack.pop()
            above = [
                (holder, name)
                for reference, name in self._holders[id(one)][1]
                if (holder := reference()) is not None and holder._modules.get(name) is one
            ]
            for holder, name in above:
                dropped = WRAPPERS.get(type(holder).__name__) == name
                stack.append((holder, below if dropped else f"{name}.{below}" if below else name))
            if not above:
                found.add(below)
                self._note_all(one)
        return frozenset(found)

    def _go_through_all(self) -> None:
        modules = [one for one in gc.get_objects() if issubclass(type(one), Module)]
        self._holders = {id(one): (ref(one), []) for one in modules}
        for holder in modules:
            for name, part in vars(holder).get("_modules", {}).items():
                if part is not None and id(part) in self._holders:
                    self._holders[id(part)][1].append((ref(holder), name))
        self._changed = False
        self._known.clear()

    def _note_all(self, topmost: Module) -> None:
        if id(topmost) not in self._known:
            self._known.add(id(topmost))
            for path, _ in topmost.named_modules(remove_duplicate=False):
                names = [name for name in path.split(".") if name not in ("_orig_mod", "_fsdp_wrapped_module")]
                self.paths.update((path, ".".join(names)))


def short(paths: Iterable[str]) -> str:
    listed = sorted(map(repr, paths))
    return " or ".join(listed[:4]) + (f" and {len(listed) - 4} more" if len(listed) > 4 else "")
