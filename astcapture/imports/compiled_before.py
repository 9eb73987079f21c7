"""Makes torch.compile recompile functions whose code was exchanged, and the callers that inlined them.

Dynamo's own guards notice a function that is looked up by name and compiled by itself. They do not notice the method of
a module that was inlined into its caller, and compiled code does not say what was inlined. So the compiled code of a
caller is dropped, unless the caller is a method of modules that contain none of the changed modules.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import nullcontext
from types import CodeType, FunctionType
from typing import Any

from astcapture.record.live import all_classes
from astcapture.record.torch import modules
from astcapture.targets.target import Target


def forget_compiled(functions: Collection[FunctionType]) -> None:
    """Drop compiled code that may have inlined one of these functions, of which other code or values are to run."""
    if not functions or not anything_compiled():
        return
    methods = _Methods(functions)
    if not methods.classes:
        return
    reset = sys.modules["torch._dynamo.eval_frame"].reset_code
    with getattr(sys.modules[_HOME], "compile_lock", None) or nullcontext():
        for code in _compiled():
            if methods.may_be_part_of(code):
                reset(code)


def meant_of(targets: Sequence[Target], functions: Iterable[FunctionType]) -> list[FunctionType]:
    """Those of the functions that one of these targets means."""
    if not targets:
        return []
    of_module: dict[str, list[Target]] = {}
    found = []
    for function in functions:
        module = function.__module__
        if type(module) is not str:
            module = ""
        if module not in of_module:
            of_module[module] = [target for target in targets if target.matches_module(module)]
        if any(target.means(module, function.__qualname__) for target in of_module[module]):
            found.append(function)
    return found


def anything_compiled() -> bool:
    """Whether dynamo has compiled code in this process."""
    return bool(_compiled())


_HOME = "torch._dynamo.convert_frame"


def _compiled() -> list[CodeType]:
    """The code that dynamo has compiled."""
    seen = getattr(getattr(sys.modules.get(_HOME), "input_codes", None), "seen", None)
    reset = getattr(sys.modules.get("torch._dynamo.eval_frame"), "reset_code", None)
    if not seen or reset is None or not modules.find_torch():
        return []
    return [code for reference in list(seen) if (code := reference()) is not None]


class _Methods:
    """The exchanged functions that are methods, and the modules that have them."""

    def __init__(self, functions: Collection[FunctionType]) -> None:
        every = all_classes()
        identities = set(map(id, functions))
        homes = {(one.__module__, one.__qualname__.rpartition(".")[0]) for one in functions}
        #: The classes that have one of them, also if it is decorated.
        self.classes = tuple(
            one
            for one in every
            if _place(one) in homes or not identities.isdisjoint(map(id, _attributes(one).values()))
        )
        self._only_modules = all(map(modules.is_module_type, self.classes))
        self._owners = dict(_owners(filter(modules.is_module_type, every)))
        self._holders = self._modules_that_hold_some()

    def may_be_part_of(self, code: CodeType) -> bool:
        """Whether the compiled form of `code` may have inlined one of the methods."""
        owners = self._owners.get(id(code))
        if owners is None or not self._only_modules:
            return True
        return any(issubclass(kind, tuple(owners)) for kind in self._holders)

    def _modules_that_hold_some(self) -> set[type]:
        """The types of the modules that have such a method, or contain a module that does, directly or not."""
        live = {id(one): one for one in modules.live_modules()}
        held_by: dict[int, list[Any]] = {}
        for module in live.values():
            for one in _held(module):
                held_by.setdefault(id(one), []).append(module)
        found = {identity for identity, one in live.items() if issubclass(type(one), self.classes)}
        waiting = list(found)
        while waiting:
            new = {id(one) for one in held_by.get(waiting.pop(), ())} - found
            found |= new
            waiting += new
        return {type(live[identity]) for identity in found}


def _place(kind: type) -> tuple[Any, Any]:
    return _attributes(kind).get("__module__"), type.__dict__["__qualname__"].__get__(kind)


def _attributes(kind: type) -> Any:
    return type.__dict__["__dict__"].__get__(kind)


def _owners(kinds: Iterator[type]) -> Iterator[tuple[int, list[type]]]:
    """For the code of each method of a module class, the classes that have it."""
    found: dict[int, list[type]] = {}
    for kind in kinds:
        for one in _attributes(kind).values():
            if type(one) is FunctionType:
                found.setdefault(id(one.__code__), []).append(kind)
    yield from found.items()


def _held(module: Any) -> Iterator[Any]:
    """The modules among a module's attributes, or in containers among them."""
    waiting, depth = [vars(module)], 3
    while waiting and depth:
        depth -= 1
        inner: list[Any] = []
        for container in waiting:
            for one in list(container.values() if isinstance(container, dict) else container):
                if modules.is_module(one):
                    yield one
                elif type(one) in (dict, list, tuple, set):
                    inner.append(one)
        waiting = inner
