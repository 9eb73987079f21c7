"""What torch.compile traces where a value is edited.

Which edits apply on a layer is decided while the code is traced. A guard on the module makes the compiler trace again
for a layer on which others apply; layers with the same edits share their code. How often an edit fired, and whether it
changed anything, is counted by the compiled code itself, in tensors.
"""

from __future__ import annotations

from typing import Any

from astcapture.edits import cells
from astcapture.edits.active import Active, why_unfit
from astcapture.edits.receipts import Receipt
from astcapture.edits.registry import registry
from astcapture.edits.site import Site
from astcapture.record import editing
from astcapture.record.editing import EditSite
from astcapture.record.events import Site as RecordSite
from astcapture.record.inputs import Owners
from astcapture.record.torch import compiled, modules, places, traced
from astcapture.record.torch.receiver import traced_receiver

_IN_CHECKPOINT = "it ran in a checkpoint inside torch.compile, where nothing can be counted"


def _edited_compiled(value: Any, site: EditSite, *owners: Any) -> Any:
    from torch._dynamo.comptime import comptime

    chosen: Any = ()
    layer: Any = None
    comptime(_choose)
    for number in chosen:
        value = _apply_traced(registry.numbered[number], value, site, layer)
    return value


def _apply_traced(edit: Active, value: Any, site: EditSite, layer: str | None) -> Any:
    from torch._dynamo.comptime import comptime

    new = edit.change(value, Site(layer, None, site[2], site[3])) if edit.takes_site else edit.change(value)
    counted: Any = None
    executions, fired, changed = "", "", ""
    comptime(_check)
    if counted is None:
        return value
    times: Any = 1
    if edit.call is not None:
        import torch

        times = _is_called(edit.call, getattr(cells, executions) - 1)
        new = torch.where(times, new, value)
    if counted:
        _count(getattr(cells, fired), getattr(cells, changed), times, new, value)
    return new


def _is_called(call: Any, number: Any) -> Any:
    """Whether an execution is one that the edit is for, as a tensor: the compiled code counts them."""
    if isinstance(call, (range, slice)):
        taken = (number >= (call.start or 0)) & ((number - (call.start or 0)) % (call.step or 1) == 0)
        if call.stop is not None:
            taken = taken & (number < call.stop)
    else:
        taken = number < 0
        for one in (call,) if isinstance(call, int) else call:
            taken = taken | (number == one)
    return taken


def _count(fired: Any, changed: Any, times: Any, new: Any, value: Any) -> None:
    import torch

    with torch.no_grad():
        fired.add_(times)
        # NaN differs from itself.
        both_nan = (new != new) & (value != value)
        changed.logical_or_(((new != value) & ~both_nan).any())


def _begins_compiled(site: EditSite, *owners: Any) -> None:
    from torch._dynamo.comptime import comptime

    if editing.begin is not None:
        executions = ""
        comptime(_find_executions)
        if executions:
            getattr(cells, executions).add_(1)


def _given_edited_compiled(
    edit_sites: tuple[EditSite, ...],
    sites: tuple[RecordSite, ...],
    owners: Owners,
    callee: Any,
    /,
    *arguments: Any,
    **options: Any,
) -> Any:
    receiver = traced_receiver(callee)
    if receiver:
        value = receiver[0]
        for site in edit_sites:
            value = _edited_compiled(value, site, *owners)
        name: Any = None
        from torch._dynamo.comptime import comptime

        comptime(_put_name)
        return traced.given_compiled(sites, owners, getattr(value, name), *arguments, **options)
    if arguments:
        value = arguments[0]
        for site in edit_sites:
            value = _edited_compiled(value, site, *owners)
        return traced.given_compiled(sites, owners, callee, value, *arguments[1:], **options)
    for key in options:
        value = options[key]
        for site in edit_sites:
            value = _edited_compiled(value, site, *owners)
        return traced.given_compiled(sites, owners, callee, **{**options, key: value})
    return traced.given_compiled(sites, owners, callee)


# --- run by the compiler while it traces the functions above


def _tracer(context: Any) -> Any:
    return context._i_will_not_complain_if_bc_breaks_InstructionTranslator()


def _variable(context: Any, name: str) -> Any:
    return context.get_local(name)._i_will_not_complain_if_bc_breaks_VariableTracker()


def _set(context: Any, name: str, value: Any) -> None:
    from torch._dynamo.variables import ConstantVariable, TupleVariable

    variable = (
        TupleVariable([ConstantVariable.create(one) for one in value])
        if isinstance(value, tuple)
        else ConstantVariable.create(value)
    )
    _tracer(context).symbolic_locals[name] = variable


def _owner(context: Any) -> Any:
    """The variable of the module for which the traced function works; None if there is none."""
    modules.find_torch()
    for variable in _variable(context, "owners").items:
        if compiled.module_of(variable) is not None:
            return variable
    return compiled.innermost(_tracer(context))


def _layer(variable: Any) -> str | None:
    module = None if variable is None else compiled.module_of(variable)
    if module is None:
        return None
    return places.where_of_module(module).layer


def _choose(context: Any) -> None:
    site: Any = _variable(context, "site").as_python_constant()
    variable = _owner(context)
    layer = _layer(variable)
    chosen = registry.numbers_at(site, layer)
    _set(context, "chosen", chosen)
    _set(context, "layer", layer)
    if variable is not None and variable.source is not None:
        _guard(variable, site, chosen)


def _guard(variable: Any, site: EditSite, chosen: tuple[int, ...]) -> None:
    """Trace again where the module is one on which other edits apply."""
    from torch._dynamo.guards import install_guard

    held: tuple[Any, str] = (None, "")

    def holds(module: Any) -> bool:
        nonlocal held
        layer = places.where_of_module(module).layer
        # Asked at each call of compiled code: mostly what held the last time.
        if held[0] is registry.state and held[1] == layer:
            return True
        if registry.numbers_at(site, layer) != chosen:
            return False
        held = registry.state, layer
        return True

    def create(builder: Any, guard: Any) -> None:
        manager = builder.get_guard_manager(guard)
        manager.add_lambda_guard(holds, ["the edits of this layer are the same"], getattr(guard, "user_stack", None))

    install_guard(variable.source.make_guard(create))


def _check(context: Any) -> None:
    """Whether the changed value fits, and can be counted."""
    edit: Active = _variable(context, "edit").value
    layer = _variable(context, "layer").as_python_constant()
    site: Any = _variable(context, "site").as_python_constant()
    value, new = (_form(_variable(context, name)) for name in ("value", "new"))
    problem = None if value is None or new is value else why_unfit(value, new)
    if problem is not None:
        edit.note_problem(layer, site[3], problem)
        return
    if edit.call is not None:
        _set(context, "executions", cells.cell(registry.cell_of_executions(site, layer), "int64"))
    receipt = edit.receipts.setdefault(layer, Receipt())
    receipt.lines[site[3]] = None
    if value is None or new is None:
        edit.uncounted = "compiled code does not count edits of values that are no tensors"
    elif not compiled.has_place(None):
        edit.uncounted = _IN_CHECKPOINT
    else:
        receipt.shape, receipt.dtype = tuple(map(int, value.shape)), str(value.dtype).rpartition(".")[2]
        _set(context, "fired", cells.cell(edit.cell_of_fired(layer), "int64", value.device))
        _set(context, "changed", cells.cell(edit.cell_of_changed(layer), "bool", value.device))
        edit.compiled_layers[layer] = None
        _set(context, "counted", True)
        return
    _set(context, "counted", False)


def _form(variable: Any) -> Any:
    """The fake tensor of a traced tensor."""
    try:
        proxy = variable.as_proxy()
        return proxy.node.meta["example_value"]
    except Exception:
        return None


def _find_executions(context: Any) -> None:
    site: Any = _variable(context, "site").as_python_constant()
    if compiled.has_place(None):
        layer = _layer(_owner(context))
        _set(context, "executions", cells.cell(registry.cell_of_executions(site, layer), "int64"))


def _put_name(context: Any) -> None:
    callee = _variable(context, "callee")
    name = callee.name if type(callee).__name__ == "GetAttrVariable" else callee.get_function().__name__
    _set(context, "name", name)


def give_counterparts() -> None:
    """Make the compiler trace these in place of the functions that rewritten code calls."""
    for function, counterpart in {
        editing.edited: _edited_compiled,
        editing.edit_begins: _begins_compiled,
        editing.given_edited: _given_edited_compiled,
    }.items():
        function._torchdynamo_inline = counterpart  # type: ignore[attr-defined]
