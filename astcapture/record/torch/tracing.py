"""Whether a function is being traced rather than run, so that what stands in for its values is none.

``torch.fx``, jax and TensorFlow hand objects through it that stand for values, ``torch.export`` and ``make_fx`` tensors
without data and numbers without a value, while they write down every operation: a record of them would hold nothing, a
copy would become a part of the traced program, and one that is kept is an error of jax's later. ``torch.jit.trace`` and
``make_fx`` of ordinary tensors do run the function, and write down what an expression of ours would do.
"""

from __future__ import annotations

import sys
from typing import Any

from astcapture.record.torch import unseen
from astcapture.record.torch.tensors import is_tensor
from astcapture.record.torch.transforms import is_wrapped, taken_out, wrapping


class NotRun(RuntimeError):
    """There is no value: the function is traced."""


_BY_FX = "torch.fx traces this function instead of running it"
_NO_VALUE = "so there is no value to record"
EXPORTED = f"torch.export traces this function without data, {_NO_VALUE}"
_COMPILED = (
    "torch.compile keeps this torch function in its graph as a single operation and compiles it without data, "
    f"{_NO_VALUE}: run the model without torch.compile"
)
#: Why an expression is not evaluated where the function does run.
_WOULD_BE_WRITTEN = "would add the operations of the expression to the graph, so it is skipped: capture a name instead"
#: Classes of numbers that are known when the program runs.
_SYMBOLS = ("SymInt", "SymFloat", "SymBool")

#: Classes of stand-ins: the module that has them once it is imported, their name there, and what is said of them.
_STAND_INS = (
    ("torch.fx.proxy", "Proxy", f"{_BY_FX}, {_NO_VALUE}"),
    *(
        (
            home,
            "Tracer",
            (
                f"jax traces this function instead of running it, {_NO_VALUE}: "
                "call it outside jax.jit, jax.grad and jax.vmap"
            ),
        )
        for home in ("jax._src.core", "jax.core")
    ),
    (
        "keras.src.backend.common.keras_tensor",
        "KerasTensor",
        f"Keras builds a model from this function, {_NO_VALUE}: capture a function that runs when the model is called",
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
            raise NotRun(why)
    if _GRAPHS in sys.modules and _derives(bases, _GRAPHS, "Tensor") and not _derives(bases, _GRAPHS, "EagerTensor"):
        raise NotRun(
            f"TensorFlow traces this function into a graph instead of running it, {_NO_VALUE}: "
            "call tf.config.run_functions_eagerly(True) first"
        )
    # Asked only of what may be such a tensor or number: nothing else is touched in this state.
    if not (_is_symbol(bases) or (is_tensor(value) and _has_no_data(value))):
        return
    if _compiles():
        raise NotRun(_COMPILED)
    if writes_down():
        raise NotRun(_without_data())
    if type(value).__module__ == "torch._subclasses.functional_tensor":
        # AOTAutograd by itself: in its first pass nothing is written down yet.
        raise NotRun(f"torch traces this function instead of running it, {_NO_VALUE}")


def why_no_expression() -> str | None:
    """Why an expression of ours may not be evaluated here: what it does would be written down as the program's own."""
    if unseen.is_jit_traced():
        return f"torch.jit.trace {_WOULD_BE_WRITTEN}"
    if unseen.dispatch_modes() or unseen.function_modes():
        if _compiles():
            return _COMPILED
        if writes_down():
            return f"make_fx {_WOULD_BE_WRITTEN}" if _mode_of_kind("FAKE") is None else _without_data()
    by_fx = getattr(sys.modules.get("torch.fx._symbolic_trace"), "_is_fx_tracing_flag", False)
    return f"{_BY_FX}, {_NO_VALUE}" if by_fx else None


def _without_data() -> str:
    return EXPORTED if exports() else f"make_fx traces this function without data, {_NO_VALUE}"


def _has_no_data(tensor: Any) -> bool:
    if is_wrapped(tensor):  # by a transform of ``torch.func``, as a tensor of torch's own
        tensor = taken_out(tensor, wrapping(tensor)[0])
    return type(tensor).__module__.startswith("torch._subclasses.")


def _is_symbol(bases: tuple[type, ...]) -> bool:
    return any(_derives(bases, "torch", name) for name in _SYMBOLS)


def _derives(bases: tuple[type, ...], home: str, name: str) -> bool:
    """Whether a class of that name in an imported module, which may be half imported, is among the bases of another."""
    wanted = getattr(sys.modules.get(home), name, None)
    return wanted is not None and any(base is wanted for base in bases)


def _compiles() -> bool:
    """Whether torch's compiler runs code of this thread to see its operations."""
    context = getattr(sys.modules.get("torch._guards"), "TracingContext", None)
    return context is not None and context.try_get() is not None and not exports()


def exports() -> bool:
    """Whether ``torch.export`` traces a program, in either mode."""
    return bool(getattr(sys.modules.get("torch.compiler"), "is_exporting", bool)())


def _mode_of_kind(name: str) -> Any:
    home = sys.modules.get("torch._C")
    kinds = getattr(home, "_TorchDispatchModeKey", None)
    asks = getattr(home, "_get_dispatch_mode", None)
    return None if asks is None or kinds is None else asks(getattr(kinds, name))


def writes_down() -> bool:
    """Whether the operations of this thread are being written down."""
    home = sys.modules.get("torch.fx.experimental.proxy_tensor")
    asks = getattr(home, "get_proxy_mode", None) or getattr(home, "get_innermost_proxy_mode", None)
    return asks is not None and asks() is not None
