"""Which ``nn.Module`` is running, and its path in the model: ``blocks.3.attn``.

Found on the stack, without being handed the model: the frames of ``nn.Module._call_impl`` say which
modules are running, the outermost is the model, and the nearest is the layer. The paths of a model's
modules are written down once, when it is first met. Nothing here keeps a module alive.
"""

from __future__ import annotations

import sys
from _thread import get_ident
from collections.abc import Callable
from sys import _getframe
from types import CodeType, FrameType, MethodType
from typing import Any, NamedTuple
from weakref import ref

from astcapture.record import checkpoint
from astcapture.record.live import live_objects

# `nn.Module`, and the code of its `_call_impl`, once torch is imported.
_base: type | None = None
_call: CodeType | None = None
_backward_pass = checkpoint.backward_pass
# What waits for the first module: torch's hooks for these registrations, and what they call then.
_KINDS = ("module", "parameter", "buffer")
_handles: list[Any] = []


def _ready() -> None:
    """Nothing waits."""


#: The names that lead from a model to a module, wrappers included.
Names = tuple[str, ...]
#: Those names, and the path that is told of them.
Place = tuple[Names, str]


class _Paths(NamedTuple):
    """What is written down of a model, by the identities of its modules."""

    model: ref[Any]
    #: Every way to each module.
    all: dict[int, list[Place]]
    #: The way to each module that has one.
    places: dict[int, Place]


# Of each model, by its identity, as long as it lives.
_paths: dict[int, _Paths] = {}

#: Modules that only wrap a model, by class, and the name under which they hold it; it is no part of a path.
WRAPPERS = {
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "FullyShardedDataParallel": "_fsdp_wrapped_module",
    "OptimizedModule": "_orig_mod",
}


def find_torch() -> bool:
    """Look for torch among the imported modules; False as long as it has no ``nn.Module``."""
    global _base, _call, _backward_pass
    _base = getattr(sys.modules.get("torch.nn.modules.module"), "Module", None)
    _call = getattr(getattr(_base, "_call_impl", None), "__code__", None)
    checkpoint.find()
    _backward_pass = checkpoint.backward_pass
    return _call is not None


def is_module(value: Any) -> bool:
    """By the type alone: to ask an object for its class can run code of its own."""
    return _base is not None and issubclass(type(value), _base)


def live_modules() -> list[Any]:
    """Every module of the process."""
    return [] if _base is None else live_objects(type.__subclasscheck__.__get__(_base))


def when_one_exists(ready: Callable[[], None]) -> None:
    """Call `ready` as soon as there is a module: now, or when the first is given a part, a parameter or a buffer.

    Until then none can be running, and looking for one would cost as much as copying a small tensor
    does. What waits are hooks of torch's own, for registrations alone, and the first takes them off.
    A model that is unpickled registers nothing; `first_layer` finds that one running.
    """
    global _ready
    home = sys.modules["torch.nn.modules.module"]
    register = [getattr(home, f"register_module_{kind}_registration_hook", None) for kind in _KINDS]
    stop_waiting()
    # To look through all objects takes long where there are many, and mostly the first value is a model's.
    if None in register or _is_one_running() or live_modules():
        ready()
        return
    _ready = ready
    _handles.extend(one(_first) for one in register if one is not None)


def stop_waiting() -> None:
    """Take the hooks off again."""
    while _handles:
        _handles.pop().remove()


def _first(module: Any, name: str, part: Any) -> None:
    stop_waiting()
    _ready()


def first_layer(owner: Any) -> str | None:
    """What `layer` says while no module is known of; from the first on that is found running, one is."""
    if not _is_one_running():
        return None
    stop_waiting()
    _ready()
    return layer(owner)


def _is_one_running() -> bool:
    frame: FrameType | None = _getframe(2)
    while frame is not None and frame.f_code is not _call:
        frame = frame.f_back
    return frame is not None


def layer(owner: Any) -> str | None:
    """The path of `owner`, or if that is no module of the nearest that is running, in the outermost one that is.

    None where no module is running. Called from `record`, two frames above the function that is captured.

    Raises:
        Recomputed: the function runs for the second time, because its forward was checkpointed.
    """
    if _backward_pass() != -1 and checkpoint.is_second_run(_getframe(2)):
        raise checkpoint.Recomputed
    run = _runs.get(get_ident())
    if run is not None:
        # In one piece, without a call of Python's: between two layers a model sweeps the processor's caches, and
        # whatever is touched here comes from main memory.
        goes_on, outermost, depths, places = run
        place = places.get(id(owner))
        if place is not None and (forward := goes_on()) is not None:
            names, path = place
            try:
                for depth in depths:
                    # An exception's traceback may keep a frame alive that is not on the stack any more.
                    if id(_getframe(depth)) == outermost:
                        # Modules are replaced, deleted and moved, and their addresses given to others.
                        module = forward.__self__
                        for name in names:
                            module = module._modules[name]
                        if module is owner:
                            return path
                        break
            except (ValueError, KeyError, AttributeError):
                pass  # the stack is not as deep as that, or the names lead nowhere
    return _look_for_layer(owner)


def _look_for_layer(owner: Any) -> str | None:
    """What `layer` says, by going up the stack."""
    nearest: FrameType | None = None
    outermost: FrameType | None = None
    frame: FrameType | None = _getframe(3)
    depth = away = 2  # as `layer` counts
    while frame is not None:
        if frame.f_code is _call:
            outermost, away = frame, depth
            if nearest is None:
                nearest = frame
        frame = frame.f_back
        depth += 1
    if nearest is None or outermost is None:
        return None
    running = outermost.f_locals
    model = running["self"]
    # A method can be called without its module being called; a function has only those that were.
    module = owner if is_module(owner) else model if nearest is outermost else nearest.f_locals["self"]
    paths = _paths_of(model, module)
    if len(paths) > 1:
        return _path_run(paths, model, nearest)
    if module is owner:
        _remember(id(outermost), running, away)
    return paths[0]


class _Run(NamedTuple):
    """One call of a model.

    What is on the stack below a frame stays there as long as the frame runs. The outermost module is
    therefore the same while its frame is there: it is looked for once, and at the same depth from then on.
    """

    #: The bound ``forward`` that `nn.Module._call_impl` makes for itself: it lives as long as the call.
    goes_on: ref[Any]
    #: The identity of the frame, which is its own while it runs.
    outermost: int
    #: How far up the stack that frame was, the latest first: mostly alike for all layers.
    depths: tuple[int, ...]
    #: The modules that the model holds once.
    places: dict[int, Place]


# How many depths are remembered; a function that calls itself has any number.
_WAYS = 4
# The latest run of each thread.
_runs: dict[int, _Run] = {}


def _remember(outermost: int, running: dict[str, Any], depth: int) -> None:
    model, forward = running["self"], running.get("forward_call")
    if type(forward) is not MethodType or forward.__self__ is not model or "forward" in vars(model):
        return  # it may outlive the call
    thread = get_ident()
    before = _runs.get(thread)
    depths = () if before is None else before.depths
    if depth not in depths:
        depths = (depth, *depths[: _WAYS - 1])
    _runs[thread] = _Run(ref(forward), outermost, depths, _paths[id(model)].places)


def _paths_of(model: Any, module: Any) -> list[str]:
    known = _paths.get(id(model))
    found = known.all.get(id(module)) if known is not None and known.model() is model else None
    # Modules are replaced, deleted and moved, and their addresses given to others.
    if found is None or not all(leads_to(model, names, module) for names, _ in found):
        found = _write_down(model).get(id(module))
    # A module that is run and not registered (held in a plain list, say) has no path; its class names it.
    return [path for _, path in found] if found else [f"<{type(module).__name__}>"]


def _write_down(model: Any) -> dict[int, list[Place]]:
    identity = id(model)
    paths: dict[int, list[Place]] = {}
    for names, path, module in walk(model):
        paths.setdefault(id(module), []).append((names, path))
    places = {module: found[0] for module, found in paths.items() if len(found) == 1}
    _paths[identity] = _Paths(ref(model, lambda _: _paths.pop(identity, None)), paths, places)
    return paths


def leads_to(model: Any, names: Names, module: Any) -> bool:
    for name in names:
        model = model._modules.get(name)
        if model is None:
            return False
    return model is module


def walk(model: Any) -> list[tuple[Names, str, Any]]:
    """Every way into a model: the names, the path without those of wrappers, and the module that it leads to."""
    found: list[tuple[Names, str, Any]] = []
    stack: list[tuple[Names, str, Any, tuple[int, ...]]] = [((), "", model, ())]
    while stack:
        names, path, module, above = stack.pop()
        found.append((names, path, module))
        if id(module) in above:
            continue  # a module that holds itself
        wrapped = WRAPPERS.get(type(module).__name__)
        for name, child in reversed(list(module._modules.items())):
            if child is not None:
                inner = path if name == wrapped else f"{path}.{name}" if path else name
                stack.append(((*names, name), inner, child, (*above, id(module))))
    return found


def _path_run(paths: list[str], model: Any, frame: FrameType | None) -> str:
    """Of the paths of a module that the model holds more than once, the one that the running modules lead to."""
    while frame is not None and len(paths) > 1:
        if frame.f_code is _call:
            above = _paths_of(model, frame.f_locals["self"])
            leading = [path for path in paths if any(_leads(outer, path) for outer in above)]
            paths = leading or paths
        frame = frame.f_back
    return paths[0]


def _leads(outer: str, path: str) -> bool:
    return not outer or path == outer or path.startswith(f"{outer}.")
