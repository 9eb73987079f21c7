"""Which ``nn.Module`` is running, and its path in the model: ``blocks.3.attn``.

Found on the stack, without being handed the model: the frames of ``nn.Module._call_impl`` say which
modules are running, the outermost is the model, and the nearest is the layer. The paths of a model's
modules are written down once, when it is first met. Nothing here keeps a module alive.
"""

from __future__ import annotations

import sys
from _thread import get_ident
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType, FrameType, MethodType
from typing import Any
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
_asked = -1


def _ready() -> None:
    """Nothing waits."""


#: The names that lead from a model to a module, wrappers included.
Names = tuple[str, ...]
# For each model, by identity, as long as it lives: itself, and for each module in it, by identity, the
# names that lead there and the path that is told of them.
_paths: dict[int, tuple[ref[Any], dict[int, list[tuple[Names, str]]]]] = {}

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
    A model that is unpickled registers nothing; `seldom` finds that one running.
    """
    global _ready
    home = sys.modules["torch.nn.modules.module"]
    register = [getattr(home, f"register_module_{kind}_registration_hook", None) for kind in _KINDS]
    stop_waiting()
    if None in register or live_modules():
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


def seldom(owner: Any) -> str | None:
    """What `layer` says, for one value in 32, the first among them, while no module is known of."""
    global _asked
    _asked += 1
    if _asked & 31:
        return None
    path = layer(owner)
    if path is not None:
        stop_waiting()
        _ready()
    return path


def seldom_of_second_runs(owner: Any) -> str | None:
    """`seldom`, where a function outside any module may be run again because it is checkpointed.

    Raises:
        Recomputed: it is.
    """
    if _backward_pass() != -1 and checkpoint.is_second_run(sys._getframe(2)):
        raise checkpoint.Recomputed
    return seldom(owner)


def layer(owner: Any) -> str | None:
    """The path of `owner`, or if that is no module of the nearest that is running, in the outermost one that is.

    None where no module is running. Called from `record`, two frames above the function that is captured.

    Raises:
        Recomputed: the function runs for the second time, because its forward was checkpointed.
    """
    if _backward_pass() != -1 and checkpoint.is_second_run(sys._getframe(2)):
        raise checkpoint.Recomputed
    thread = get_ident()
    run = _runs.get(thread)
    if run is not None and run.goes_on() is not None:
        known = run.known.get(id(owner))
        if (known is not None or is_module(owner)) and _is_at_one_of(run.depths, run.frame):
            if known is not None:
                return known
            model = run.model()
            paths = [] if model is None else _paths_of(model, owner)
            if len(paths) == 1 and not paths[0].startswith("<"):
                run.known[id(owner)] = paths[0]
                return paths[0]
    nearest: FrameType | None = None
    outermost: FrameType | None = None
    depth = away = 2
    frame: FrameType | None = sys._getframe(depth)
    while frame is not None:
        if frame.f_code is _call:
            outermost, away = frame, depth
            if nearest is None:
                nearest = frame
        frame = frame.f_back
        depth += 1
    if nearest is None or outermost is None:
        return None
    model = outermost.f_locals["self"]
    # A method can be called without its module being called; a function has only those that were.
    module = owner if is_module(owner) else model if nearest is outermost else nearest.f_locals["self"]
    paths = _paths_of(model, module)
    if len(paths) > 1:
        return _path_run(paths, model, nearest)
    if module is owner and not paths[0].startswith("<"):
        _remember(thread, outermost, model, owner, paths[0], away)
    return paths[0]


@dataclass
class _Run:
    """One call of a model, and the layers that have been found in it.

    What is on the stack below a frame stays there as long as the frame runs. The outermost module is
    therefore the same while its frame is there: it is looked for once, and at the same depth from then on.
    """

    #: The bound ``forward`` that `nn.Module._call_impl` makes for itself: it lives as long as the call.
    goes_on: ref[Any]
    #: The identity of the frame, which is its own while it runs.
    frame: int
    model: ref[Any]
    #: How far up the stack the frame was: mostly alike for all layers.
    depths: list[int]
    #: The paths of modules, by their identity.
    known: dict[int, str]


# How many depths are remembered, the latest first; a function that calls itself has any number.
_WAYS = 4
# The latest run of each thread.
_runs: dict[int, _Run] = {}


def _is_at_one_of(depths: list[int], frame: int) -> bool:
    """Whether that frame is on the stack, so far above the caller. An exception's traceback may keep one alive."""
    for depth in depths:
        try:
            if id(sys._getframe(depth + 1)) == frame:
                return True
        except ValueError:  # the stack is not as deep as that
            continue
    return False


def _remember(thread: int, outermost: FrameType, model: Any, owner: Any, path: str, depth: int) -> None:
    run = _runs.get(thread)
    if run is None or run.frame != id(outermost) or run.goes_on() is None:
        forward = outermost.f_locals.get("forward_call")
        if type(forward) is not MethodType or forward.__self__ is not model or "forward" in vars(model):
            return  # it may outlive the call
        run = _runs[thread] = _Run(ref(forward), id(outermost), ref(model), [], {})
    run.known[id(owner)] = path
    if depth not in run.depths:
        run.depths = [depth, *run.depths[: _WAYS - 1]]


def _paths_of(model: Any, module: Any) -> list[str]:
    known = _paths.get(id(model))
    found = known[1].get(id(module)) if known is not None and known[0]() is model else None
    # Modules are replaced, deleted and moved, and their addresses given to others.
    if found is None or not all(leads_to(model, names, module) for names, _ in found):
        found = _write_down(model).get(id(module))
    # A module that is run and not registered (held in a plain list, say) has no path; its class names it.
    return [path for _, path in found] if found else [f"<{type(module).__name__}>"]


def _write_down(model: Any) -> dict[int, list[tuple[Names, str]]]:
    identity = id(model)
    paths: dict[int, list[tuple[Names, str]]] = {}
    for names, path, module in walk(model):
        paths.setdefault(id(module), []).append((names, path))
    _paths[identity] = (ref(model, lambda _: _paths.pop(identity, None)), paths)
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
