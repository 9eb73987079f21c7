"""Whether a function is being traced rather than run, so that what stands in for its values is none.

``torch.fx``, jax and TensorFlow hand objects through it that stand for values, ``torch.export`` and ``make_fx`` tensors
without data, while they write down every operation: a record of them would hold nothing, a copy would become a part
of the traced program, and one that is kept is an error of jax's later.
"""

from __future__ import annotations

import sys
from typing import Any

from astcapture.record.tensors import is_tensor


class NotRun(RuntimeError):
    """There is no value: the function is traced."""


#: Classes of stand-ins: the module that has them once it is imported, their name there, and what is said of them.
_STAND_INS = (
    ("torch.fx.proxy", "Proxy", "torch.fx traces this function and does not run it"),
    *(
        (
            home,
            "Tracer",
            "jax traces this function and does not run it: call it outside of jax.jit, jax.grad and jax.vmap",
        )
        for home in ("jax._src.core", "jax.core")
    ),
    (
        "keras.src.backend.common.keras_tensor",
        "KerasTensor",
        "Keras builds a model of this function and does not run it: capture what runs when the model is called",
    ),
)
_GRAPHS = "tensorflow.python.framework.ops"
#: `type.__mro__`, which no metaclass can answer in its own way.
_bases = type.__dict__["__mro__"].__get__


def check_run(value: Any) -> None:
    """Pass where `value` is one.

    Raises:
        NotRun: it stands in for one while the function is traced.
    """
    bases = _bases(type(value))
    for home, name, why in _STAND_INS:
        if home in sys.modules and _derives(bases, home, name):
            raise NotRun(f"{why}, so there is no value to record")
    if _GRAPHS in sys.modules and _derives(bases, _GRAPHS, "Tensor") and not _derives(bases, _GRAPHS, "EagerTensor"):
        raise NotRun(
            "TensorFlow traces this function into a graph and does not run it: with "
            "tf.config.run_functions_eagerly(True) it runs. There is no value to record"
        )
    # Asked only of what may be such a tensor: nothing else is touched in this state.
    if not is_tensor(value) or not type(value).__module__.startswith("torch._subclasses."):
        return
    if _compiles():
        raise NotRun(
            "torch.compile has this function of torch's in its graph as a whole and compiles it without data, so there "
            "is no value to record: run the model without torch.compile"
        )
    if writes_down():
        raise NotRun("torch.export traces this function without data, so there is no value to record")


def _derives(bases: tuple[type, ...], home: str, name: str) -> bool:
    """Whether a class of that name in an imported module, which may be half imported, is among the bases of another."""
    wanted = getattr(sys.modules.get(home), name, None)
    return wanted is not None and any(base is wanted for base in bases)


def _compiles() -> bool:
    """Whether torch's compiler runs code of this thread to see its operations."""
    context = getattr(sys.modules.get("torch._guards"), "TracingContext", None)
    exports = getattr(sys.modules.get("torch.compiler"), "is_exporting", bool)
    return context is not None and context.try_get() is not None and not exports()


def writes_down() -> bool:
    """Whether the operations of this thread are being written down."""
    home = sys.modules.get("torch.fx.experimental.proxy_tensor")
    asks = getattr(home, "get_proxy_mode", None) or getattr(home, "get_innermost_proxy_mode", None)
    return asks is not None and asks() is not None
