"""The code that torch.compile traces where a value is recorded: it adds a link to the chain of the thread.

Compiled code has no stack to inspect. So a link has a weak reference to the module whose method recorded the value, and
`places` finds its layer afterwards.
"""

from __future__ import annotations

import sys
import weakref
from _thread import get_ident
from typing import Any

from astcapture.record import scope
from astcapture.record.events import Failed, NotRecorded, Site, append
from astcapture.record.torch import at_breaks, modules, places, tracing, uncompiled
from astcapture.record.torch.carried import carried
from astcapture.record.torch.chain import Link, of_thread

_NO_PLACE = (
    "inside torch.compile, checkpoints and torch.cond allow no side effects, so nothing is recorded: run it without "
    "torch.compile, or set torch._dynamo.config.skip_fwd_side_effects_in_bwd_under_checkpoint = True first"
)


def put(site: Any, value: Any, owner: Any, others: tuple[Any, ...]) -> None:
    """Add a link to the chain of this thread. Traced by the compiler; only the compiled form runs."""
    if not is_exported(site) and has_place(site):
        _add(site, value, owner, others)


def put_copy(site: Any, value: Any, owner: Any, others: tuple[Any, ...]) -> None:
    """Like `put`, with a copy of a value of the program."""
    if not is_exported(site) and has_place(site):
        _add(site, carried(value), owner, others)


def _add(site: Any, value: Any, owner: Any, others: tuple[Any, ...]) -> None:
    from torch._dynamo.comptime import comptime

    chain = of_thread.chain
    comptime(_renew)
    link = Link([chain.last, site, value, _reference(owner, others)])
    chain.last = link
    chain.tick = link
    _arm()


def _renew(context: Any) -> None:
    """Run by the compiler before a link is added. After an operator with functions of its own, such as flex attention,
    torch 2.13 stores attributes of an object that it knows in a table that it has replaced: they would be lost."""
    chain = context.get_local("chain")._i_will_not_complain_if_bc_breaks_VariableTracker()
    output = context._i_will_not_complain_if_bc_breaks_InstructionTranslator().output
    table: Any = getattr(getattr(chain, "dict_vt", None), "items", None)
    if getattr(table, "side_effects", None) is not None:
        table.side_effects = output.side_effects


def _arm() -> None:
    """Run by the compiler, after it has traced what lets go of a tick."""
    of_thread.chain.arm()


_arm._dynamo_marked_constant = True  # type: ignore[attr-defined]


def beside(function: Any, *arguments: Any) -> Any:
    """Call a function whose side effects cancel out, also where the compiler allows none."""
    if has_place(None):
        return function(*arguments)
    from torch._dynamo import utils

    unchecked = getattr(utils, "_disable_side_effect_safety_checks_for_current_subtracer", None)
    return function(*arguments) if unchecked is None else unchecked(function, *arguments)


def has_place(site: Any) -> bool:
    """Whether the compiler allows side effects here; inside a checkpoint or `torch.cond` it does not.

    Run by the compiler during tracing; the result is a constant in the graph. With a site, a value that cannot be
    recorded is reported.
    """
    uncompiled.tell_compiler()
    at_breaks.watch()
    try:
        from torch._dynamo.symbolic_convert import InstructionTranslator

        tracer = InstructionTranslator.current_tx().output.current_tracer
        names = ("allow_side_effects_in_hop", "unsafe_allow_externally_visible_side_effects")
        place = tracer.parent is None or any(getattr(tracer, name, False) for name in names)
    except (ImportError, AttributeError):
        place = True  # another version of torch: it reports itself what it does not allow
    if site is not None:
        of_thread.chain.note_compilation()
        if not place:
            _tell(site, NotRecorded(_NO_PLACE))
    return place


has_place._dynamo_marked_constant = True  # type: ignore[attr-defined]


def is_exported(site: Any) -> bool:
    """Whether the trace becomes a standalone program (an export), which must not contain our code.

    Run by the compiler during tracing; the result is a constant in the graph. With a site, its value is reported as
    not recorded.
    """
    exported = tracing.exports()
    if exported and site is not None:
        _tell(site, tracing.NotRun(tracing.EXPORTED))
    return exported


is_exported._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _tell(site: Site, error: Exception) -> None:
    """Report a value that is not recorded."""
    append((site, Failed(error), get_ident(), None, scope.holding()))


def _reference(owner: Any, others: tuple[Any, ...]) -> Any:
    """A weak reference to the first module among the arguments, or else to the innermost whose method is traced.

    Its place is noted now, while it is alive.
    """
    from torch import nn
    from torch._dynamo.comptime import comptime

    one: Any = None
    for given in (owner, *others):
        if isinstance(given, nn.Module):
            one = given
            break
    if one is None:
        comptime(_put_innermost)
    if one is None:
        return None
    comptime(_name_owner)
    return weakref.ref(one)


def _put_innermost(context: Any) -> None:
    """Run by the compiler while it traces `_reference`: in a comprehension, or a function that is given no module."""
    here = context._i_will_not_complain_if_bc_breaks_InstructionTranslator()
    variable = innermost(here)
    if variable is not None:
        here.symbolic_locals["one"] = variable


def innermost(tracer: Any) -> Any:
    """The variable of the innermost module whose method is traced; None if there is none."""
    while tracer is not None:
        first = tracer.f_code.co_varnames[: min(tracer.f_code.co_argcount, 1)]
        variable = getattr(tracer, "symbolic_locals", {}).get(*first) if first else None
        if module_of(variable) is not None:
            return variable
        tracer = getattr(tracer, "parent", None)
    return None


def _name_owner(context: Any) -> None:
    """Run by the compiler while it traces `_reference`."""
    variable = context.get_local("one")._i_will_not_complain_if_bc_breaks_VariableTracker()
    module = getattr(variable, "value", None)
    if modules.is_module(module):
        places.name_all(weakref.ref(module), _running(context))


def module_of(variable: Any) -> Any:
    """The module that stands behind a value of traced code; None if it is none."""
    try:
        module = getattr(variable, "value", None)
    except Exception:
        return None  # some kinds of values are asked to become constants then
    return module if modules.is_module(module) else None


def _running(context: Any) -> list[Any]:
    """The modules that run at the traced call, the outermost first: from the real stack and the traced frames."""
    traced = []
    tracer = context._i_will_not_complain_if_bc_breaks_InstructionTranslator()
    while tracer is not None:
        module = module_of(getattr(tracer, "symbolic_locals", {}).get("self"))
        if module is not None:
            traced.append(module)
        tracer = getattr(tracer, "parent", None)
    return [*modules.running(sys._getframe(1))[::-1], *traced[::-1]]


def snapshot(value: Any) -> Any:
    """A copy of a value as an output of compiled code, see `carried`; traced by the compiler."""
    return value if is_exported(None) else carried(value)
