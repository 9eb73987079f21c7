"""The functions that captured expressions are compiled to, by their text and the module that they belong to."""

from __future__ import annotations

from types import FunctionType, ModuleType
from typing import Any

_functions: dict[tuple[str, str], FunctionType] = {}


def function_of(module: str, source: str, names: dict[str, Any]) -> tuple[FunctionType, tuple[str, ...]]:
    """The function of an expression, and the locals that it takes.

    Args:
        module: the name of the module in which it is captured.
        source: a lambda whose parameters are the locals that the expression reads.
        names: the globals of the function in which it is captured.
    """
    function = _functions.get((module, source))
    if function is None or function.__globals__ is not names:
        function = eval(compile(source, "<capture>", "eval", dont_inherit=True), names)
        _functions[module, source] = function
    code = function.__code__
    return function, code.co_varnames[: code.co_argcount]


#: Those in code that torch's compiler has traced, by names that say nothing: it follows an attribute of a module.
traced = ModuleType("traced")


def name_compiled(module: str, source: str) -> str:
    """Run by the compiler as it traces: the name in `traced` of the function of an expression."""
    function, _ = function_of(module, source, _traced_globals())
    name = next((name for name, one in vars(traced).items() if one is function), f"of_{len(vars(traced))}")
    setattr(traced, name, function)
    return name


def parameters_compiled(module: str, source: str) -> tuple[str, ...]:
    """Run by the compiler as it traces: the locals that an expression reads."""
    return function_of(module, source, _traced_globals())[1]


name_compiled._dynamo_marked_constant = True  # type: ignore[attr-defined]
parameters_compiled._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _traced_globals() -> dict[str, Any]:
    """Those of the code that is traced outside of our own."""
    from torch._dynamo.symbolic_convert import InstructionTranslator

    tracer: Any = InstructionTranslator.current_tx()
    while tracer.f_globals.get("__name__", "").startswith(("astcapture.", "torch.")) and tracer.parent is not None:
        tracer = tracer.parent
    names: dict[str, Any] = tracer.f_globals
    return names
