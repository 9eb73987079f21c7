"""Captured expressions that rewritten code hands over as text, as functions of the locals that they read.

Each is compiled once, in the globals of the user's function. Torch's compiler can do neither that nor ask for a frame's
globals; it is given the function as it traces, and follows it as code of the program's own.
"""

from __future__ import annotations

import sys
import threading
from types import FunctionType
from typing import Any

from astcapture.record.torch.resumed import frame_of

# By their text and the module they belong to.
_functions: dict[tuple[str, str], FunctionType] = {}


def function_of(module: str, source: str, names: dict[str, Any]) -> FunctionType:
    """The function whose text is `source`, a lambda, in the globals `names` of a module."""
    function = _functions.get((module, source))
    if function is None or function.__globals__ is not names:
        function = eval(compile(source, "<capture>", "eval", dont_inherit=True), names)
        _functions[module, source] = function
    return function


def parameters_of(function: FunctionType) -> tuple[str, ...]:
    """The locals that it reads."""
    return function.__code__.co_varnames[: function.__code__.co_argcount]


# --- traced by the compiler


def traced_function_of(module: str, source: str) -> tuple[Any, tuple[str, ...]]:
    """The same, with its parameters, for the compiler; `module` is the one whose function it traces."""
    from torch._dynamo.comptime import comptime

    function = None
    comptime(_put_function)
    return function, _parameters()


# --- run by the compiler as it traces


class _Found(threading.local):
    parameters: tuple[str, ...] = ()


_found = _Found()


def _parameters() -> tuple[str, ...]:
    return _found.parameters


_parameters._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _put_function(context: Any) -> None:
    """Bind the local `function` of what is traced."""
    tracer = context._i_will_not_complain_if_bc_breaks_InstructionTranslator()
    module, source = (tracer.symbolic_locals[name].as_python_constant() for name in ("module", "source"))
    function = function_of(module, source, _globals_of(module, tracer))
    _found.parameters = parameters_of(function)
    builder = sys.modules["torch._dynamo.variables.builder"].SourcelessBuilder
    tracer.symbolic_locals["function"] = builder.create(tracer, function)


def _globals_of(module: str, tracer: Any) -> dict[str, Any]:
    frame = frame_of(module, tracer)
    return vars(sys.modules[module]) if frame is None else frame.f_globals
