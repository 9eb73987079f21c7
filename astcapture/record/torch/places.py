"""Finds the place of a module: its path in the topmost module that contains it, ``blocks.3.attn``, and that model.

A torch module knows its children but not its parents. One pass over all live objects finds the parents. After that,
torch's registration hook keeps them up to date while models are built and changed. Changes without that hook
(unpickling, copies, lists that move their items) are noticed when a model is seen for the first time, or when a module
has left its place; then the pass is repeated.

This works the same in eager and compiled code, whichever method of the model was called, because no module has to be
running. Only if a module has several places do the running modules decide. Nothing here keeps a module alive.

It is one file because of its tables, which all parts use, and which one lock protects.
"""

from __future__ import annotations

import os
import sys
from _thread import RLock
from collections.abc import Callable, Sequence
from itertools import count
from sys import _getframe
from types import FrameType
from typing import Any, NamedTuple
from weakref import ref

from astcapture.record.torch import checkpoint, modules
from astcapture.record.torch.module_tree import (
    attributes_of,
    below,
    child_of,
    children_of,
    is_of_keras,
    modules_in,
    names_below,
)


class Where(NamedTuple):
    """The place in a record: the path in the model, and the model's class with its number."""

    layer: str
    model: str


class _Known(NamedTuple):
    """The only place of a module: the topmost module, and the names from there down."""

    top: ref[Any]
    names: tuple[str, ...]
    where: Where


class _Named(NamedTuple):
    """The last known place of a module in compiled code, and the topmost module that contained it."""

    module: ref[Any]
    where: Where
    top: ref[Any]


class _Way(NamedTuple):
    """One way down to a module: all modules on it, the topmost first, and the names between them."""

    chain: tuple[Any, ...]
    names: tuple[str, ...]

    @property
    def model(self) -> Any:
        """The topmost module that is not just a wrapper."""
        return self.chain[self._wrappers]

    @property
    def path(self) -> str:
        """The names without those of wrappers."""
        return ".".join(
            name
            for module, name in zip(self.chain, self.names, strict=False)
            if not _only_wraps(module, name) and name != _OF_KERAS
        )

    @property
    def _wrappers(self) -> int:
        for index, (module, name) in enumerate(zip(self.chain, self.names, strict=False)):
            if not _only_wraps(module, name):
                return index
        return len(self.names)


#: The import name of torch.compile's implementation.
COMPILER = "torch._dynamo"
#: Wrapper modules, by class, and the name of the wrapped module in each; these names are not part of a path.
WRAPPERS = {
    "CheckpointWrapper": ("_checkpoint_wrapped_module",),
    "DataParallel": ("module",),
    "DeepSpeedEngine": ("module",),
    "DistributedDataParallel": ("module",),
    "FullyShardedDataParallel": ("_fsdp_wrapped_module",),
    "OffloadWrapper": ("_checkpoint_wrapped_module",),
    "OptimizedModule": ("_orig_mod",),
    "Wrapper": ("_export_root",),
    "_FabricModule": ("_forward_module", "_original_module"),
}
#: The name under which a Keras ``Sequential`` has a second model with its own layers.
_OF_KERAS = "_functional"
#: How often a search is repeated while other threads build models.
_TRIES = 3
#: The largest number of paths to one module that are compared; nested shared blocks can have more.
_MOST_WAYS = 64

# Every known module by its id; its parents, with the name in each; and the modules with exactly one place.
_seen: dict[int, ref[Any]] = {}
_held: dict[int, list[tuple[ref[Any], str]]] = {}
_known: dict[int, _Known] = {}
# The modules without a parent at the last pass.
_topmost: set[int] = set()
# The modules on the paths in `_known`, whose parents matter.
_passed: set[int] = set()
# The models of each class, by number.
_numbers: dict[str, dict[int, ref[Any]]] = {}
# For each dict of hooks, which replicas of `nn.DataParallel` share with the module that they were made of: that module.
_originals: dict[int, ref[Any]] = {}
# The places of modules in compiled code, by weak reference; they outlive the module.
_named: dict[int, _Named] = {}
_handle: Any = None
# The hooks that wait for the first module: one that registers something, or that is unpickled and called.
_FIRST = ("module_registration", "parameter_registration", "buffer_registration", "forward_pre")
_waiting: list[Any] = []
# The number of registrations that torch has reported, and of searches through all modules.
_registrations = 0
_passes = 0
_lock = RLock()


# --- called by the recorder


def when_a_module_exists(ready: Callable[[], None]) -> None:
    """Call `ready` as soon as a module exists or runs: now, or when the first is given a part or is called.

    Before that nothing has a place, and searching for one would cost more than recording a small value. Torch's global
    hooks are used, and the first one that is called removes all of them. They are not used if torch.compile is
    imported, which would compile code with a hook in it, and recompile after the hook is removed.
    """
    home = sys.modules["torch.nn.modules.module"]
    register = [getattr(home, f"register_module_{kind}_hook", None) for kind in _FIRST]
    stop_waiting()
    if None in register or COMPILER in sys.modules or modules.nearest(_getframe(1)) or modules.live_modules():
        ready()
        return

    def first(*arguments: Any) -> None:
        stop_waiting()
        ready()

    _waiting.extend(one(first) for one in register if one is not None)


def stop_waiting() -> None:
    """Take the hooks off again."""
    while _waiting:
        _waiting.pop().remove()


def where(owner: Any, others: Sequence[Any] = ()) -> Where | None:
    """The place of `owner`, or of the first of `others` that is a module, or of the nearest module that is running.

    None where none is a module and none is running. Called from `record`, two frames above the captured function.

    Raises:
        Recomputed: the function runs for the second time, because its forward was checkpointed.
    """
    if checkpoint.backward_pass() != -1 and checkpoint.is_second_run(_getframe(2)):
        raise checkpoint.Recomputed
    # As `_only_place`, without another call: this runs for each record.
    known = _known.get(id(owner))
    if known is not None:
        module = known.top()
        try:
            for name in known.names:
                module = module._modules[name]  # type: ignore[union-attr]
        except (AttributeError, KeyError):
            pass
        else:
            if module is owner:
                return known.where
    return _found(owner, others, _getframe(2))


def where_again(owner: Any, others: Sequence[Any] = ()) -> Where | None:
    """`where`, also while a checkpoint runs the function again: an edit applies then as well."""
    return _only_place(owner) or _found(owner, others, _getframe(2))


def _only_place(owner: Any) -> Where | None:
    """The place of a module that has one and is still there."""
    known = _known.get(id(owner))
    if known is not None:
        module = known.top()
        try:
            for name in known.names:
                module = module._modules[name]  # type: ignore[union-attr]
        except (AttributeError, KeyError):
            return None  # it was taken out, or the model is gone
        if module is owner:
            return known.where
    return None


def _found(owner: Any, others: Sequence[Any], frame: FrameType) -> Where | None:
    """The place of the first that is a module, or of the nearest module that is running at a frame."""
    for one in (owner, *others):
        if modules.is_module(one):
            return _only_place(one) or _place(one, lambda: modules.running(frame)[::-1])
    module = modules.nearest(frame)
    return None if module is None else _place(module, lambda: modules.running(frame)[::-1])


def forget_torch() -> None:
    """Recording has stopped: remove the hook, and forget the parents of modules."""
    global _handle
    stop_waiting()
    with _lock:
        if _handle is not None:
            _handle.remove()
            _handle = None
        for table in (_seen, _held, _known, _topmost, _passed, _originals):
            table.clear()


# --- for the reasons why something is empty


def where_of_module(module: Any) -> Where:
    """The place of a live module."""
    return _only_place(module) or _place(module, list)


def every_place(model: Any) -> set[Where]:
    """All places of a live module and of its submodules, also while none of them runs; a shared module has several."""
    _watch()
    found: set[Where] = set()
    for module in below(model):
        _place(module, list)
        found.update(Where(way.path, _model_name(way.model)) for way in _ways(_original(module)))
        named = _named.get(id(ref(module)))
        if named is not None:
            # Compiled code goes on to name it as in a model that is gone.
            found.add(named.where)
    return found


def unwrapped(module: Any) -> Any:
    """The module that wrappers such as ``DistributedDataParallel`` hold; the module itself where it is none."""
    while names := WRAPPERS.get(type(module).__name__):
        inner = next((one for name in names if (one := child_of(module, name)) is not None), None)
        if inner is None:
            break
        module = inner
    return module


def changes() -> int:
    """A number that changes whenever modules may have moved."""
    return _registrations + _passes


def is_topmost(module: Any) -> bool:
    """Whether a live module is a model: it has no parents, or only wrappers."""
    _watch()
    return all(_only_wraps(*holder) for holder in _holders(module))


# --- for compiled code, which has a weak reference to the module and no stack to inspect


def where_of(reference: ref[Any] | None, running: Sequence[Any] = ()) -> Where | None:
    """The place of a module by its weak reference; the last known place if the module is deleted."""
    if reference is None:
        return None
    module = reference()
    before = _named.get(id(reference))
    if module is not None:
        said = None if before is None else before.where
        found = _place(module, lambda: running, said)
        if before is None or not _is_left_of(found, before):
            _named[id(reference)] = _Named(reference, found, ref(_ways(module)[0].chain[0]))
    known = _named.get(id(reference))
    return None if known is None else known.where


def _is_left_of(found: Where, before: _Named) -> bool:
    """Whether a module is in the remains of a deleted model, and was recorded in that model."""
    return before.top() is None and f".{before.where.layer}".endswith(f".{found.layer}" if found.layer else "")


def name_all(reference: ref[Any], running: Sequence[Any]) -> None:
    """Note the places of all modules of the model of `module`, since they may be deleted before they are needed."""
    module = reference()
    if module is None:
        return
    where_of(reference, running)
    ways = _ways(module)
    for one in below(ways[0].chain[0]):
        # Every live object has only one weak reference without a callback, which all callers share.
        if id(ref(one)) not in _named:
            where_of(ref(one), running)


def forget_dead() -> None:
    """Forget the places of deleted modules; called when no record needs one."""
    for identity, named in list(_named.items()):
        if named.module() is None:
            del _named[identity]


# --- the search


def _place(module: Any, running: Callable[[], Sequence[Any]], before: Where | None = None) -> Where:
    """The place of a module; `running` returns the running modules, the outermost first."""
    _watch()
    asked = _registrations
    original = _original(module)
    way, alone = _way(original, running, before)
    if id(way.chain[0]) not in _topmost:
        _look_at_all()
        way, alone = _way(original, running, before)
    found = Where(way.path, _model_name(way.model))
    if alone and original is module and _leads_through_modules(way):
        _passed.update(map(id, way.chain))
        _known[id(module)] = _Known(ref(way.chain[0]), way.names, found)
        if asked != _registrations:
            _known.pop(id(module), None)  # another thread is building a model, maybe around this one
    return found


def _way(module: Any, running: Callable[[], Sequence[Any]], before: Where | None) -> tuple[_Way, bool]:
    """The path that names a module, and whether all paths to it give the same name."""
    if _has_moved(module):
        _look_at_all()
    ways = _ways(module)
    if len({(id(way.model), way.path) for way in ways}) == 1:
        return ways[0], True
    return _chosen(ways, [_original(one) for one in running()], before), False


def _leads_through_modules(way: _Way) -> bool:
    return all(name in modules_in(one) for one, name in zip(way.chain, way.names, strict=False))


def _chosen(ways: list[_Way], running: Sequence[Any], before: Where | None) -> _Way:
    """Of several paths to a module, the one through the running modules.

    If several remain: the one that was chosen before, else the first in the largest model.
    """
    for one in running:
        through = [way for way in ways if any(module is one for module in way.chain)]
        ways = through or ways
    if before is not None:
        ways = [way for way in ways if way.path == before.layer] or ways
    if len(ways) == 1:
        return ways[0]
    sizes = {id(way.chain[0]): len(list(below(way.chain[0]))) for way in ways}
    largest = max(sizes.values())
    ways = [way for way in ways if sizes[id(way.chain[0])] == largest]
    top = ways[0].chain[0]
    # As `named_modules` goes.
    order = {names: number for number, names in enumerate(names_below(top))}
    return min((way for way in ways if way.chain[0] is top), key=lambda way: order.get(way.names, len(order)))


def _ways(module: Any) -> list[_Way]:
    """Every path to a module from a module without parents; at least one."""
    found: list[_Way] = []
    stack = [_Way((module,), ())]
    while stack and len(found) < _MOST_WAYS:
        way = stack.pop()
        above = [one for one in _holders(way.chain[0]) if all(one[0] is not module for module in way.chain)]
        if not above:
            found.append(way)
        stack += [_Way((one, *way.chain), (name, *way.names)) for one, name in reversed(above)]
    return found


def _holders(module: Any) -> list[tuple[Any, str]]:
    """The parents of a module now, with its name in each."""
    found = []
    seen = set()
    for reference, name in _held.get(id(module), ()):
        one = reference()
        if one is not None and (id(one), name) not in seen and child_of(one, name) is module:
            seen.add((id(one), name))
            found.append((one, name))
    return found


def _has_moved(module: Any) -> bool:
    """Whether a former parent no longer contains it."""
    return any(
        (one := reference()) is not None and child_of(one, name) is not module
        for reference, name in _held.get(id(module), ())
    )


def _look_at_all() -> None:
    """Search the parents of all modules again."""
    global _passes
    for _ in range(_TRIES):
        asked = _registrations
        _passes += 1
        seen: dict[int, ref[Any]] = {}
        held: dict[int, list[tuple[ref[Any], str]]] = {}
        for one in modules.live_modules():
            identity = id(one)
            seen[identity] = ref(one, _forgetting(identity))
            for name, child in children_of(one):
                held.setdefault(id(child), []).append((ref(one), name))
        # Not during the pass over all objects: finalisers that run meanwhile may wait for another thread.
        with _lock:
            _seen.clear()
            _seen.update(seen)
            _held.clear()
            _held.update(held)
            _topmost.clear()
            _topmost.update(seen.keys() - held.keys())
            _known.clear()
            _passed.clear()
            _originals.clear()
        if asked == _registrations:
            return  # else another thread has built a model meanwhile


def _watch() -> None:
    """Install the registration hook."""
    global _handle
    if _handle is None:
        with _lock:
            if _handle is None:
                modules.find_torch()
                home = sys.modules["torch.nn.modules.module"]
                register = getattr(home, "register_module_module_registration_hook", None)
                _look_at_all()
                _handle = _NoHook() if register is None else register(_registered)


class _NoHook:
    """In place of the hook for versions of torch without it."""

    def remove(self) -> None:
        pass


def _registered(module: Any, name: str, child: Any) -> None:
    """Called by torch when a module is registered in another one."""
    global _registrations
    if child is None:
        return
    _registrations += 1
    with _lock:
        for one in (module, child):
            if id(one) not in _seen:
                _seen[id(one)] = ref(one, _forgetting(id(one)))
        holders = _held.setdefault(id(child), [])
        holders[:] = [one for one in holders if one[0]() is not None]
        holders.append((ref(module), name))
        of_keras = is_of_keras(module)
        if of_keras or id(child) in _passed:
            _known.clear()
            _passed.clear()
        if of_keras:
            # Keras tracks its layers without the hook, and registers its variables after it is built: search again.
            _topmost.clear()


def _pass_by(module: Any, name: str, child: Any) -> None:
    """The function that torch.compile traces in place of `_registered`."""


_registered._torchdynamo_inline = _pass_by  # type: ignore[attr-defined]


def _forgetting(identity: int) -> Callable[[ref[Any]], None]:
    # At interpreter exit the names of this module may be deleted before the last ``nn.Module``.
    def forget(reference: ref[Any], seen: Any = _seen, tables: Any = (_held, _known), topmost: Any = _topmost) -> None:
        # Another module may have the same id by now.
        if seen.get(identity) is reference:
            del seen[identity]
            topmost.discard(identity)
            for table in tables:
                table.pop(identity, None)

    return forget


def _only_wraps(module: Any, name: str) -> bool:
    return name in WRAPPERS.get(type(module).__name__, ())


def _original(module: Any) -> Any:
    """The original of a replica of `nn.DataParallel`; any other module itself.

    A replica is a shallow copy, created for each forward, that shares its hooks with the original.
    """
    if not attributes_of(module).get("_is_replica"):
        return module
    hooks = attributes_of(module).get("_forward_hooks")
    original = (_originals.get(id(hooks)) or (lambda: None))()
    if original is None:
        same = (one for reference in list(_seen.values()) if (one := reference()) is not None)
        original = next((one for one in same if _is_made_of(one, hooks)), None)
        if original is None:
            return module
        _originals[id(hooks)] = ref(original)
    return original


def _is_made_of(module: Any, hooks: Any) -> bool:
    attributes = attributes_of(module)
    return attributes.get("_forward_hooks") is hooks and not attributes.get("_is_replica")


# --- the names of models


def _model_name(model: Any) -> str:
    """The class of a model, and from the second live one of a class on its number: ``LlamaForCausalLM#2``."""
    kind = class_name(type(model))
    with _lock:
        taken = _numbers.setdefault(kind, {})
        number = next((number for number, one in taken.items() if one() is model), None)
        if number is None:
            number = next(number for number in count(1) if not _is_model(taken.get(number)))
            taken[number] = ref(model)
    return kind if number == 1 else f"{kind}#{number}"


def _is_model(reference: ref[Any] | None) -> bool:
    """Whether a number is still in use: its model is alive, and has not become part of another one."""
    module = None if reference is None else reference()
    return module is not None and all(way.model is module for way in _ways(module))


def class_name(kind: type) -> str:
    """The name of a model's class; of one that ``fully_shard`` or a parametrization has put in its place, the first."""
    while kind.__name__.startswith(_DERIVED) and len(kind.__bases__) > 0:
        own = [base for base in kind.__bases__ if kind.__name__.endswith(base.__name__)]
        if not own:
            break
        kind = own[0]
    return kind.__name__


_DERIVED = ("FSDP", "Parametrized")


def _after_fork() -> None:
    # Another thread may have held it at the moment of the fork.
    global _lock
    _lock = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
