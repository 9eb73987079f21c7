"""Finds the object whose method compiled code calls.

To the compiler a method is a description of what will be called, which it cannot ask for ``__self__``.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from astcapture.record.torch import modules


def traced_receiver(callee: Any) -> Any:
    """A tuple with the receiver of a method; an empty one where it is a module or a class, or there is none.

    Traced by the compiler.
    """
    from torch._dynamo.comptime import comptime

    found: Any = ()
    comptime(_put_receiver)
    return found


def _put_receiver(context: Any) -> None:
    """Run by the compiler as it traces the function before."""
    from torch._dynamo.variables import TupleVariable

    callee = context.get_local("callee")._i_will_not_complain_if_bc_breaks_VariableTracker()
    if type(callee).__name__ not in ("GetAttrVariable", "UserMethodVariable"):
        return
    receiver = getattr(callee, "obj", None)
    if receiver is not None and _is_receiver(receiver):
        tracer = context._i_will_not_complain_if_bc_breaks_InstructionTranslator()
        tracer.symbolic_locals["found"] = TupleVariable([receiver])


def _is_receiver(variable: Any) -> bool:
    try:
        kind = variable.python_type()
    except Exception:
        return True  # a value whose type the compiler does not know is no module
    return not (issubclass(kind, (type, ModuleType)) or modules.is_module_type(kind))
