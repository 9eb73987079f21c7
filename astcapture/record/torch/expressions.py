"""Captured expressions, which rewritten code hands over as text, as functions of the locals that they read.

Each is compiled once, in the globals of the user's function. Torch's compiler can do neither that nor ask for a frame's
globals; it is given the function as it traces, and follows it as code of the program's own. It tries it out first: what
it cannot follow, or what fails, would stop it in the middle of the program.
"""

from __future__ import annotations

import ast
import threading
from collections.abc import Mapping
from types import CodeType, FunctionType
from typing import Any

from astcapture.record.torch.resumed import user_frame

# By the module they belong to, their text, and the locals that are not bound.
_functions: dict[tuple[str, str, tuple[str, ...]], FunctionType] = {}


def function_of(module: str, source: str, names: dict[str, Any], unbound: tuple[str, ...] = ()) -> FunctionType:
    """The function whose text is `source`, a lambda, in the globals `names` of a module.

    The `unbound` ones of its parameters are none, but locals of it that are not bound.
    """
    function = _functions.get((module, source, unbound))
    if function is None or function.__globals__ is not names:
        function = FunctionType(_code_of(source, unbound), names)
        _functions[module, source, unbound] = function
    return function


def with_bound(
    module: str, source: str, globals_: dict[str, Any], names: Mapping[str, Any]
) -> tuple[FunctionType, list[Any], tuple[str, ...]]:
    """The function of an expression whose locals may be unbound, what to call it with, and those that are."""
    parameters = parameters_of(function_of(module, source, globals_))
    unbound = tuple([name for name in parameters if name not in names])
    arguments = [names[name] for name in parameters if name in names]
    return function_of(module, source, globals_, unbound), arguments, unbound


def parameters_of(function: FunctionType) -> tuple[str, ...]:
    """The locals that it reads."""
    return function.__code__.co_varnames[: function.__code__.co_argcount]


def _code_of(source: str, unbound: tuple[str, ...]) -> CodeType:
    function = ast.parse(source, mode="eval").body
    assert isinstance(function, ast.Lambda)
    definition = ast.parse("def expression(): return None").body[0]
    assert isinstance(definition, ast.FunctionDef)
    definition.args = function.args
    definition.body = [ast.Return(function.body)]
    if unbound:
        function.args.args = [one for one in function.args.args if one.arg not in unbound]
        # What is assigned to anywhere in a function is a local of it.
        names: list[ast.expr] = [ast.Name(name, ast.Store()) for name in unbound]
        definition.body.insert(0, ast.If(ast.Constant(False), [ast.Assign(names, ast.Constant(None))], []))
    tree = ast.fix_missing_locations(ast.Module([definition], []))
    constants = compile(tree, "<capture>", "exec", dont_inherit=True).co_consts
    return next(constant for constant in constants if type(constant) is CodeType)


def is_about(error: NameError, unbound: tuple[str, ...]) -> bool:
    """Whether an expression has read one of its locals that are not bound, in a scope of its own perhaps."""
    within = error.__traceback__ and error.__traceback__.tb_next
    itself = isinstance(error, UnboundLocalError) and within is not None and within.tb_next is None
    return itself or error.name in unbound


# --- traced by the compiler


def traced_value_of(module: str, source: str, read: Any) -> tuple[Any, str | None, bool]:
    """What an expression gives, or why it gives nothing, and whether that is since it has read what is not bound.

    `module` is the one whose function is traced, and `read` what the expression reads, as in `recorder.evaluate`.
    """
    from torch._dynamo.comptime import comptime

    function: Any = None
    arguments: Any = None
    comptime(_prepare)
    why = _why()
    return (function(*arguments) if why is None else None), why, _is_unbound()


# --- run by the compiler as it traces


class _Found(threading.local):
    why: str | None = None
    is_unbound = False


_found = _Found()


def _why() -> str | None:
    return _found.why


def _is_unbound() -> bool:
    return _found.is_unbound


_ANSWERS: tuple[Any, ...] = (_why, _is_unbound)
for _answer in _ANSWERS:
    _answer._dynamo_marked_constant = True


def _prepare(context: Any) -> None:
    """Bind the locals `function` and `arguments` of what is traced, and see whether that can be called."""
    from torch._dynamo.variables.builder import SourcelessBuilder

    tracer = context._i_will_not_complain_if_bc_breaks_InstructionTranslator()
    module, source = (tracer.symbolic_locals[name].as_python_constant() for name in ("module", "source"))
    read, globals_ = tracer.symbolic_locals["read"], user_frame(context).f_globals
    unbound: tuple[str, ...] = ()
    if read.python_type() is tuple:
        of_ours, arguments = function_of(module, source, globals_), read.items
    else:
        names = {key.vt.as_python_constant(): one for key, one in read.items.items()}
        of_ours, arguments, unbound = with_bound(module, source, globals_, names)
    function = SourcelessBuilder.create(tracer, of_ours)
    tracer.symbolic_locals["function"] = function
    tracer.symbolic_locals["arguments"] = SourcelessBuilder.create(tracer, tuple(arguments))
    error = _tried_out(tracer, function, arguments)
    _found.is_unbound = bool(unbound) and error is not None and any(one in str(error) for one in _READ_UNBOUND)
    _found.why = None if error is None else _reason(error)


RAISED = "the expression raised an exception in compiled code: without torch.compile the summary shows which"
#: In what the compiler says of a local that is not bound.
_READ_UNBOUND = ("undefined local variable", "uninitialized cell")


def _reason(error: Exception) -> str:
    from torch._dynamo.exc import ObservedException, TorchRuntimeError

    if isinstance(error, (ObservedException, TorchRuntimeError, AttributeError)):
        return RAISED
    first = str(error).partition("\n")[0]
    return f"torch.compile cannot follow the expression ({first}): run the model without torch.compile"


def _check_there(value: Any) -> None:
    """Of an attribute that a tensor does not have, the compiler would find that out later."""
    if type(value).__name__ == "GetAttrVariable" and type(value.obj).__name__ == "TensorVariable":
        getattr(value.obj.as_proxy().node.meta["example_value"], value.name)


#: What the compiler notes of objects and of what is done to them.
_NOTED = (
    "id_to_variable",
    "store_attr_mutations",
    "attr_mutation_kinds",
    "keepalive",
    "save_for_backward",
    "tensor_hooks",
)


def _tried_out(tracer: Any, function: Any, arguments: list[Any]) -> Exception | None:
    """What stops the compiler in a call, which leaves nothing behind."""
    from torch import _C
    from torch._dynamo.exc import RestartAnalysis
    from torch._dynamo.utils import counters

    output, effects = tracer.output, tracer.output.side_effects
    state: dict[str, Any] = {}
    before, counts = effects.clone(), {name: count.copy() for name, count in counters.items()}
    output.save_global_state(out=state)
    error: Exception | None = None
    try:
        with _C._PreserveDispatchKeyGuard(), output.subtracer(None, None):
            _check_there(function.call_function(tracer, arguments, {}))
    except RestartAnalysis:
        raise
    except Exception as raised:
        error = raised
    finally:
        # As for the body of an operator that is traced ahead; but other parts of the compiler refer to this object.
        before.track_runahead_tensor_and_symvar_side_effects(effects)
        for name in _NOTED:
            setattr(effects, name, getattr(before, name))
        for restore, value in state.values():
            restore(value)
        counters.clear()
        counters.update(counts)
    return error
