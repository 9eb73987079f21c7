"""Turns captured expressions, which rewritten code passes as text, into functions of the locals that they read.

Each is compiled once, with the globals of the user's function. torch.compile can neither compile text nor access a
frame's globals. It gets the function while it traces, and traces it like code of the program. To avoid expressions that
would stop it, an expression over tensors is first run on fake tensors, which have a shape but no data.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import threading
from collections.abc import Mapping
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

from astcapture.record.torch.resumed import user_frame
from astcapture.record.torch.tensors import is_tensor_type

# By module, text, and the locals that are not bound.
_functions: dict[tuple[str, str, tuple[str, ...]], FunctionType] = {}


def function_of(module: str, source: str, names: dict[str, Any], unbound: tuple[str, ...] = ()) -> FunctionType:
    """The function with the text `source`, a lambda, in the globals `names` of a module.

    Its parameters in `unbound` are replaced by local names without a value.
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
        # A name that is assigned anywhere in a function is a local of it.
        names: list[ast.expr] = [ast.Name(name, ast.Store()) for name in unbound]
        definition.body.insert(0, ast.If(ast.Constant(False), [ast.Assign(names, ast.Constant(None))], []))
    tree = ast.fix_missing_locations(ast.Module([definition], []))
    constants = compile(tree, "<capture>", "exec", dont_inherit=True).co_consts
    return next(constant for constant in constants if type(constant) is CodeType)


def is_about(error: NameError, unbound: tuple[str, ...]) -> bool:
    """Whether an expression has read one of its unbound locals, perhaps in a nested scope."""
    within = error.__traceback__ and error.__traceback__.tb_next
    itself = isinstance(error, UnboundLocalError) and within is not None and within.tb_next is None
    return itself or error.name in unbound


# --- traced by the compiler


def traced_value_of(module: str, source: str, read: Any) -> tuple[Any, str | None, bool]:
    """The value of an expression, or the reason why there is none, and whether the reason is an unbound local.

    `module` is the module of the traced function, and `read` has the locals, as in `recorder.evaluate`.
    """
    from torch._dynamo.comptime import comptime

    function: Any = None
    arguments: Any = None
    comptime(_prepare)
    # Read before the call, in which another expression may be evaluated.
    why, is_unbound = _why(), _is_unbound()
    if why is not None:
        return None, why, is_unbound
    try:
        return function(*arguments), None, False
    except Exception:
        return None, RAISED, False


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
    """Set the locals `function` and `arguments` of the traced frame, and check whether the call is possible."""
    from torch._dynamo.variables.builder import SourcelessBuilder

    tracer = context._i_will_not_complain_if_bc_breaks_InstructionTranslator()
    module, source = (tracer.symbolic_locals[name].as_python_constant() for name in ("module", "source"))
    read, globals_ = tracer.symbolic_locals["read"], user_frame(context).f_globals
    unbound: tuple[str, ...] = ()
    if read.python_type() is tuple:
        function, arguments = function_of(module, source, globals_), read.items
    else:
        names = {key.vt.as_python_constant(): one for key, one in read.items.items()}
        function, arguments, unbound = with_bound(module, source, globals_, names)
    tracer.symbolic_locals["function"] = SourcelessBuilder.create(tracer, function)
    tracer.symbolic_locals["arguments"] = SourcelessBuilder.create(tracer, tuple(arguments))
    error = _tried_out(tracer, function, arguments, source, globals_)
    if error is _NOT_TRIED:
        # The compiler cannot continue after reading an unbound name.
        _found.why, _found.is_unbound = (_UNBOUND, True) if unbound else (None, False)
        return
    _found.is_unbound = isinstance(error, NameError) and is_about(error, unbound)
    _found.why = None if error is None else _reason(error)


RAISED = "the expression raised an exception in compiled code: run without torch.compile to see which one"
_UNBOUND = "a local is not bound"
_NOT_TRIED = Exception()


def _tried_out(tracer: Any, function: FunctionType, arguments: list[Any], source: str, globals_: Any) -> Any:
    """The error of an expression when it is run on fake tensors; `_NOT_TRIED` if it could have side effects."""
    examples = [_example(one) for one in arguments]
    output = tracer.output
    quiet = [getattr(output.shape_env, name, None) for name in ("suppress_guards", "ignore_fresh_unbacked_symbols")]
    if any(one is _NONE for one in examples) or None in quiet or not computes_only(source, globals_):
        return _NOT_TRIED
    if not _LEAVING.isdisjoint(_outline(source).attributes):
        return DataIsNeeded()
    numbers = _numbers_from_data(output.shape_env)
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(output.fake_mode)
            for make in quiet:
                stack.enter_context(make())  # type: ignore[misc]
            function(*examples)
    except Exception as error:
        return error
    # An operator with a body of its own, such as an `autograd.Function`, must return each of them; torch 2.13 fails.
    within_operator = output.current_tracer.parent is not None
    return DataIsNeeded() if within_operator and _numbers_from_data(output.shape_env) != numbers else None


def _numbers_from_data(shape_env: Any) -> tuple[Any, ...]:
    """How many numbers, such as the result of ``item``, the compiler has taken from data that it does not have yet."""
    return tuple(getattr(shape_env, f"unbacked_{kind}_counter", None) for kind in ("symint", "symfloat"))


#: In place of an example that does not exist.
_NONE = object()


def _example(variable: Any) -> Any:
    """The compiler's fake tensor for a tensor, or a constant; no code of the program's objects runs."""
    if hasattr(type(variable), "peek_type"):
        if not variable.is_realized():
            kind = variable.peek_type()
            if not (is_tensor_type(kind) or kind in (int, bool, float, str, type(None))):
                return _NONE
        variable = variable.realize()
    name = type(variable).__name__
    if name == "TensorVariable":
        return variable.as_proxy().node.meta["example_value"]
    return variable.value if name == "ConstantVariable" else _NONE


class DataIsNeeded(Exception):
    """An expression uses the data of a tensor outside torch."""


#: Torch's errors if a fake tensor has no data, or if the result depends on data.
_OF_DATA = ("DataDependent", "GuardOnDataDependent", "DynamicOutputShape", "UnsupportedFakeTensor", "DataIsNeeded")
#: Tensor methods whose result is outside torch.
_LEAVING = frozenset({"tolist", "numpy", "data_ptr", "untyped_storage"})


def _reason(error: Exception) -> str:
    if type(error).__name__.startswith(_OF_DATA):
        return "torch.compile cannot trace the expression, which depends on data: run the model without torch.compile"
    return RAISED


# --- side effects of an expression


#: Built-in functions without side effects, which run no code of the program when called with tensors and numbers.
_BUILTINS = frozenset({"int", "float", "bool", "len", "abs", "min", "max", "sum", "tuple", "list", "range", "str"})
#: Nodes that only read and compute.
_COMPUTING = (
    *(ast.Lambda, ast.arguments, ast.arg, ast.Name, ast.Constant, ast.expr_context, ast.operator),
    *(ast.unaryop, ast.boolop, ast.cmpop, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Subscript),
    *(ast.Slice, ast.Tuple, ast.List, ast.Dict, ast.Attribute, ast.Call, ast.keyword, ast.Starred, ast.JoinedStr),
    *(ast.FormattedValue, ast.ListComp, ast.comprehension),
)
#: Tensor methods with side effects; those whose name ends with ``_`` also have them.
_DOING = frozenset({"backward", "register_hook", "retain_grad"})


class _Outline(NamedTuple):
    """The parts of an expression.

    Attributes:
        outside: the dotted names that it reads from the module, and calls.
        attributes: every attribute that it reads.
        computes: whether it has no side effects, apart from its calls.
    """

    outside: tuple[tuple[str, ...], ...]
    attributes: frozenset[str]
    computes: bool


@functools.cache
def _outline(source: str) -> _Outline:
    function = ast.parse(source, mode="eval").body
    assert isinstance(function, ast.Lambda)
    nodes = [*ast.walk(function)]
    names = [node for node in nodes if isinstance(node, ast.Name)]
    callees = [node.func for node in nodes if isinstance(node, ast.Call)]
    attributes = frozenset(node.attr for node in nodes if isinstance(node, ast.Attribute))
    own = {one.arg for one in function.args.args}
    own |= {node.id for node in names if isinstance(node.ctx, ast.Store)}
    dotted = [*((node.id,) for node in names), *map(_dotted, callees)]
    computes = (
        all(isinstance(node, _COMPUTING) for node in nodes)
        and all(isinstance(callee, (ast.Name, ast.Attribute)) for callee in callees)
        and _DOING.isdisjoint(attributes)
        and not any(name.endswith("_") and not name.startswith("__") for name in attributes)
    )
    return _Outline(tuple(one for one in dotted if one and one[0] not in own), attributes, computes)


def _dotted(node: ast.expr) -> tuple[str, ...]:
    """The parts of a dotted name; empty for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return (node.id, *reversed(parts)) if isinstance(node, ast.Name) else ()


def computes_only(source: str, globals_: dict[str, Any]) -> bool:
    """Whether an expression only computes: it calls only methods of its locals, and functions of torch.

    >>> computes_only("lambda q, k: (q @ k.mT).softmax(-1)", {})
    True
    >>> computes_only("lambda q: helper(q)", {"helper": print}), computes_only("lambda q: q.zero_()", {})
    (False, False)
    """
    outline = _outline(source)
    return outline.computes and all(_is_torchs(one, globals_) for one in outline.outside)


def _is_torchs(dotted: tuple[str, ...], globals_: dict[str, Any]) -> bool:
    first = dotted[0]
    if first not in globals_:
        return len(dotted) == 1 and first in _BUILTINS
    value = globals_[first]
    for name in dotted[1:]:
        if type(value) is not ModuleType:
            return False
        value = vars(value).get(name)
    if type(value) in (int, float, bool, str):
        return True
    home = value.__name__ if type(value) is ModuleType else getattr(value, "__module__", None)
    return isinstance(home, str) and home.partition(".")[0] in ("torch", "math")
