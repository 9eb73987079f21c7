"""The path of a module that is not on the stack, from who holds whom.

One pass over the garbage collector's objects finds every live ``nn.Module``. Those that no other
holds are the models, and each module's path is written down in the first model that leads to it. It
stays known when the model is gone, as long as there are records of it to be named.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import ref

from astcapture.record import modules


@dataclass
class _Known:
    model: ref[Any]
    names: modules.Names
    path: str


# By the weak reference, of which every live object has one without a callback, so that all that ask hold the
# same. A hash of the module's own could be anything.
_known: dict[int, tuple[ref[Any], _Known]] = {}


def path_of(module: ref[Any] | None) -> str | None:
    """The path of a module in the model that holds it, without the names of wrappers; None without a module."""
    if module is None:
        return None
    known = _known.get(id(module))
    if known is None or not _is_there(module, known[1]):
        _write_down()
        known = _known.get(id(module), known)
    return None if known is None else known[1].path


def _is_there(module: ref[Any], known: _Known) -> bool:
    """Whether what was written down holds: modules are moved. Of what is gone, what is known is the last."""
    here, model = module(), known.model()
    return here is None or model is None or modules.leads_to(model, known.names, here)


def forget_dead() -> None:
    """Forget what is gone, modules and models; called when no record waits for its name.

    A module that has outlived its model may be in another one when it runs next.
    """
    for identity, (module, known) in list(_known.items()):
        if module() is None or known.model() is None:
            del _known[identity]


def _write_down() -> None:
    modules.find_torch()
    live = modules.live_modules()
    held = {id(child) for one in live for child in one._modules.values()}
    found: dict[int, tuple[ref[Any], _Known]] = {}
    # Those that are held lead to others too: modules that hold one another have nobody above them.
    for model in sorted(live, key=lambda one: id(one) in held):
        if id(ref(model)) in found:
            continue
        for names, path, module in modules.walk(model):
            reference = ref(module)
            found.setdefault(id(reference), (reference, _Known(ref(model), names, path)))
    for identity, new in found.items():
        old = _known.get(identity)
        # What has outlived its model was recorded in that one.
        if old is None or old[1].model() is not None:
            _known[identity] = new
