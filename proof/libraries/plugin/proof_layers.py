"""The layers of records against the paths of modules, found here by going through all objects of the process.

A hook on every module's call notes which module ran to its end, by the name of its ``forward``, and its paths in
the topmost modules that hold it. Nothing of this package's own way to find a layer is used.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Mapping, Sequence
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
        self._hooks = [
            register_module_module_registration_hook(self._registered),
            register_module_forward_hook(self._ran),
        ]

    def stop(self) -> None:
        for hook in self._hooks:
            hook.remove()
        gc.unfreeze()

    def next_case(self) -> None:
        gc.collect()  # a model of the last case that hangs in a cycle holds its modules
        self._changed = True
        #: Of each ``forward``, the paths of each module whose call ended, in order.
        self.ran: dict[str, list[frozenset[str]]] = {}
        #: Of each ``forward`` that a class of such a module inherits, where it may have been called from there.
        self.inherited: dict[str, set[str]] = {}
        #: Every path in every model that ran.
        self.paths: set[str] = set()
        self._known: set[int] = set()

    def compare(self, records: Mapping[str, Sequence[Any]]) -> tuple[list[str], int]:
        """Records whose layer is no path of a module that ran, and modules that ran without a record.

        Returns:
            Those, a line each; and how many records are of a ``forward`` that ran, whose paths are known exactly.
        """
        wrong: list[str] = []
        exactly = 0
        for key, of_function in records.items():
            layers = {record.layer for record in of_function}
            if not layers:
                continue
            ran, inherited = self.ran.get(key, []), self.inherited.get(key, set())
            if not ran and not inherited:
                # No forward of a module that was called: a method called by name, or a function. Where no module ran at
                # all, a model was only built (``_init_weights``), and its paths are not known.
                if self.paths:
                    wrong += [f"{key}: {layer!r} is no path" for layer in layers - self.paths - {None}]
                continue
            exactly += len(of_function)
            allowed = inherited.union(*ran)
            wrong += [f"{key}: {layer!r}, it ran at {short(allowed)}" for layer in layers - allowed]
            wrong += [f"{key}: ran at {short(one)}, no record has it" for one in {*ran} if not one & layers]
            if layers <= allowed and not in_order(ran, of_function):
                wrong.append(f"{key}: its layers come in another order than the modules ran")
        return sorted(wrong)[:SHOWN], exactly

    def _registered(self, module: Module, name: str, part: Module | None) -> None:
        self._changed = True

    def _ran(self, module: Module, _arguments: Any, _result: Any) -> None:
        if torch.compiler.is_compiling() or "forward" in vars(module):
            return
        paths = self._paths(module)
        own, *others = [vars(one)["forward"] for one in type(module).__mro__ if "forward" in vars(one)]
        self.ran.setdefault(key_of(own), []).append(paths)
        for other in others:
            self.inherited.setdefault(key_of(other), set()).update(paths)

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


def in_order(ran: Sequence[frozenset[str]], records: Sequence[Any]) -> bool:
    """Whether the layers come as the modules ran, by a label of which there is one record for each call."""
    by_label: dict[str, list[str | None]] = {}
    for record in records:
        by_label.setdefault(record.label, []).append(record.layer)
    comparable = [layers for layers in by_label.values() if len(layers) == len(ran)]
    return not comparable or any(
        all(layer in paths for layer, paths in zip(layers, ran, strict=True)) for layers in comparable
    )


def key_of(forward: Any) -> str:
    return f"{getattr(forward, '__module__', '')}:{getattr(forward, '__qualname__', '')}"


def short(paths: Iterable[str]) -> str:
    listed = sorted(map(repr, paths))
    return " or ".join(listed[:4]) + (f" and {len(listed) - 4} more" if len(listed) > 4 else "")
