"""Detects whether a function is being traced instead of run, so that there are no real values.

``torch.fx``, jax and TensorFlow call the function with placeholder objects; ``torch.export`` and ``make_fx`` with
tensors without data and symbolic numbers. They record every operation. A record of such values would be empty, a copy
would become part of the traced program, and keeping one causes an error in jax later. ``torch.jit.trace`` and
``make_fx`` with ordinary tensors do run the function, but would also record the operations of our expressions.
"""

from __future__ import annotations

import sys
from typing import Any

from astcapture.record.torch import unseen
from astcapture.record.torch.carried import Refused
from astcapture.record.torch.resumed import LeftBehind
from astcapture.record.torch.tensors import is_tensor
from astcapture.record.torch.transforms import is_wrapped, taken_out, wrapping


class NotRun(RuntimeError):
    """There is no value, because the function is traced."""


_BY_FX = "torch.fx traces this function instead of running it"
_NO_VALUE = "so there is no value to record"
EXPORTED = f"torch.export traces this function without data, {_NO_VALUE}"
_COMPILED = (
    "torch.compile keeps this torch function in its graph as a single operation and compiles it without data, "
    f"{_NO_VALUE}: run the model without torch.compile"
)
#: Why an expression is not evaluated although the function runs.
_WOULD_BE_WRITTEN = "would add the operations of the expression to the graph, so it is skipped: capture a name instead"
#: Classes of symbolic numbers, which get a value only when the program runs.
_SYMBOLS = ("SymInt", "SymFloat", "SymBool")

#: Classes of placeholders: their module, their name in it, and the message.
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
#: The getter of `type.__mro__`, which a metaclass cannot override.
_bases = type.__dict__["__mro__"].__get__


def check_run(value: Any) -> None:
    """Check that `value` is a real value.

    Raises:
        NotRun: it is a placeholder, because the function is traced, or was compiled up to a graph break.
    """
    bases = _bases(type(value))
    if LeftBehind in bases:
        raise NotRun(Refused(value.what).reason)
    for home, name, why in _STAND_INS:
        if home in sys.modules and _derives(bases, home, name):
            raise NotRun(why)
    if _GRAPHS in sys.modules and _derives(bases, _GRAPHS, "Tensor") and not _derives(bases, _GRAPHS, "EagerTensor"):
        raise NotRun(
            f"TensorFlow traces this function into a graph instead of running it, {_NO_VALUE}: "
            "call tf.config.run_functions_eagerly(True) first"
        )
    # Checked only for such tensors and numbers; nothing else is touched during tracing.
    if not (_is_symbol(bases) or (is_tensor(value) and _has_no_data(value))):
        return
    if _compiles():
        raise NotRun(_COMPILED)
    if writes_down():
        raise NotRun(_without_data())
    if type(value).__module__ == "torch._subclasses.functional_tensor":
        # AOTAutograd alone: its first pass does not record operations yet.
        raise NotRun(f"torch traces this function instead of running it, {_NO_VALUE}")


def why_no_expression() -> str | None:
    """Why an expression must not be evaluated here: its operations would become part of the traced program."""
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
    if is_wrapped(tensor):  # wrapped by a ``torch.func`` transform, in one of torch's own tensor classes
        tensor = taken_out(tensor, wrapping(tensor)[0])
    return type(tensor).__module__.startswith("torch._subclasses.")


def _is_symbol(bases: tuple[type, ...]) -> bool:
    return any(_derives(bases, "torch", name) for name in _SYMBOLS)


def _derives(bases: tuple[type, ...], home: str, name: str) -> bool:
    """Whether a class of that name in an imported module, which may be half imported, is among the bases of another."""
    wanted = getattr(sys.modules.get(home), name, None)
    return wanted is not None and any(base is wanted for base in bases)


def _compiles() -> bool:
    """Whether torch.compile is tracing code of this thread."""
    context = getattr(sys.modules.get("torch._guards"), "TracingContext", None)
    return context is not None and context.try_get() is not None and not exports()


def exports() -> bool:
    """Whether ``torch.export`` is tracing a program, in either mode."""
    return bool(getattr(sys.modules.get("torch.compiler"), "is_exporting", bool)())


def _mode_of_kind(name: str) -> Any:
    home = sys.modules.get("torch._C")
    kinds = getattr(home, "_TorchDispatchModeKey", None)
    asks = getattr(home, "_get_dispatch_mode", None)
    return None if asks is None or kinds is None else asks(getattr(kinds, name))


def writes_down() -> bool:
    """Whether the operations of this thread are being recorded into a graph."""
    home = sys.modules.get("torch.fx.experimental.proxy_tensor")
    asks = getattr(home, "get_proxy_mode", None) or getattr(home, "get_innermost_proxy_mode", None)
    return asks is not None and asks() is not None
