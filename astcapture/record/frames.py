"""Functions that rewritten code calls about its own frame: keep a return value, read and clear the locals."""

from __future__ import annotations

import sys
import threading
from typing import Any

from astcapture.record.torch import compiled
from astcapture.record.torch.resumed import user_frame


def locals() -> dict[str, Any]:  # noqa: A001
    """The bound locals of the calling frame."""
    names: dict[str, Any] = sys._getframe(1).f_locals
    return names


def _locals_compiled() -> Any:
    from torch._dynamo.comptime import comptime

    names = None
    comptime(_put_locals)
    return names


def _put_locals(context: Any) -> None:
    """Run by the compiler as it traces the function before: its own ``locals()`` stops where a cell is empty."""
    from torch._dynamo.variables import ConstantVariable, ConstDictVariable
    from torch._dynamo.variables.base import ValueMutationNew

    tracer, user = context._i_will_not_complain_if_bc_breaks_InstructionTranslator(), user_frame(context)
    cells, bound = {*user.cell_and_freevars()}, {}
    for name in {*user.f_code.co_varnames} | cells:
        value = user.symbolic_locals.get(name)
        if name in cells and value is not None:
            value = _content(value, tracer.output.side_effects)
        if value is not None and type(value).__name__ not in ("NullVariable", "DeletedVariable"):
            bound[ConstantVariable.create(name)] = value
    tracer.symbolic_locals["names"] = ConstDictVariable(bound, dict, mutation_type=ValueMutationNew())


def _content(cell: Any, side_effects: Any) -> Any:
    """What is in a cell, as far as the compiler knows; None where it is empty."""
    if side_effects.has_pending_mutation_of_attr(cell, "cell_contents"):
        return side_effects.load_attr(cell, "cell_contents", deleted_ok=True, check=False)
    return None if cell.pre_existing_contents is None else side_effects.load_cell(cell)


locals._torchdynamo_inline = _locals_compiled  # type: ignore[attr-defined]


def forget(result: Any, names: dict[str, Any]) -> Any:
    """Clear the dict of a frame's locals before code that still runs there (``finally``, ``__exit__``) deletes them.

    Up to Python 3.12 the frame keeps that dict after the first access, and with it every value in it. If another
    reference to the dict exists, it is not cleared.
    """
    if sys.getrefcount(names) <= _references:
        names.clear()
    return result


def _forget_compiled(result: Any, names: dict[str, Any]) -> Any:
    return result


forget._torchdynamo_inline = _forget_compiled  # type: ignore[attr-defined]


def _count(result: Any, names: dict[str, Any]) -> int:
    return sys.getrefcount(names)


def _alone() -> int:
    """The number of references to such a dict inside `forget` if nobody else has one."""
    return _count(None, locals())


_references = _alone()


class _Held(threading.local):
    """Return values that are kept while captures are read; one stack per thread."""

    def __init__(self) -> None:
        self.values: list[Any] = []


_held = _Held()


def hold(value: Any) -> None:
    """Keep a return value while captures that may fail are read; `release` returns it."""
    _held.values.append(value)


def release() -> Any:
    """Return the value that `hold` kept last."""
    return _held.values.pop()


def _hold_compiled(value: Any) -> None:
    if compiled.is_exported(None):
        from torch._dynamo.comptime import comptime

        comptime(_hold_traced)
    else:
        compiled.beside(_held.values.append, value)


def _release_compiled() -> Any:
    if not compiled.is_exported(None):
        return compiled.beside(_held.values.pop)
    from torch._dynamo.comptime import comptime

    value = None
    comptime(_release_traced)
    return value


# Run by the compiler as it traces a program to export: of any side effect it would warn, and it never stops between the
# two, so that what it knows of the value can wait in place of the value.
_traced = _Held()


def _hold_traced(context: Any) -> None:
    _traced.values.append(context.get_local("value")._i_will_not_complain_if_bc_breaks_VariableTracker())


def _release_traced(context: Any) -> None:
    tracer = context._i_will_not_complain_if_bc_breaks_InstructionTranslator()
    tracer.symbolic_locals["value"] = _traced.values.pop()


hold._torchdynamo_inline = _hold_compiled  # type: ignore[attr-defined]
release._torchdynamo_inline = _release_compiled  # type: ignore[attr-defined]
