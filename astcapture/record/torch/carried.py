"""The values that compiled code can return as extra outputs: copies of tensors, numbers, strings, plain containers.

This is decided during tracing, by what the compiler knows of a value; no code of the value runs. Other values are not
returned: the compiler would have to rebuild them after the graph, which is impossible, would run them (consume an
iterator, enter a context), or would stop the compiler.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

from astcapture.record.containers import DEPTH
from astcapture.record.torch import graph_copy
from astcapture.record.torch.resumed import NAME_IS_GONE
from astcapture.record.torch.tensors import is_tensor_type
from astcapture.record.torch.transforms import is_wrapped, taken_out, wrapping

#: How a value is returned.
_TENSOR, _BEHIND, _WRAPPED, _ITSELF, _TUPLE, _LIST, _DICT, _REFUSED = range(8)
_TENSORS = frozenset({"TensorVariable", "TensorWithTFOverrideVariable"})
_UNCHANGING = frozenset(
    {"ConstantVariable", "LazyConstantVariable", "SymNodeVariable", "RangeVariable", "SizeVariable"}
)
_CONTAINERS: dict[type, int] = {tuple: _TUPLE, list: _LIST, dict: _DICT}
_NUMBERS = frozenset({type(None), bool, int, float, complex, str, bytes})


class Refused:
    """In place of a value that compiled code cannot return; created by compiled code."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    @property
    def reason(self) -> str:
        """Why there is no value; shown to the user."""
        return f"torch.compile cannot return {self.kind} from its graph: run the model without torch.compile"


class NoValue(Refused):
    """In place of a value that does not exist in compiled code; `kind` is the whole reason."""

    @property
    def reason(self) -> str:
        return self.kind


GONE = NoValue(NAME_IS_GONE)


class Unwrapped:
    """An unwrapped tensor of a transform, and the order of its axes; created by compiled code."""

    def __init__(self, tensor: Any, axes: tuple[int, ...]) -> None:
        self.tensor = tensor
        self.axes = axes


class Several(list[Any]):
    """A container of numbers that the program has not read: `_MARK`, its type, its keys, its values; created by
    compiled code.

    The compiler asks whether a tuple, list or dict is a constant, and then guards the numbers in it by their values:
    it would compile again for each other number. What has a mark in front is none, and no more is asked.
    """

    def container(self) -> Any:
        """The tuple, list or dict, of what is to be handed out."""
        _, kind, keys, *values = self
        values = [handed_out(one) for one in values]
        return dict(zip(keys, values, strict=True)) if kind is dict else kind(values)


class _Mark:
    """Not a constant, for the compiler."""


_MARK = _Mark()


def is_refused(value: Any) -> bool:
    kind = type(value)
    return kind is Refused or kind is NoValue


def handed_out(value: Any) -> Any:
    """A value from compiled code, as it is recorded."""
    kind = type(value)
    if is_tensor_type(kind):
        # An output of a compiler subgraph, such as an `autograd.Function`, has an autograd graph again.
        return value.detach() if value.requires_grad else value
    if kind is Unwrapped:
        return handed_out(value.tensor).permute(value.axes)
    if kind is tuple or kind is list:
        return kind(map(handed_out, value))
    if kind is dict:
        return {key: handed_out(one) for key, one in value.items()}
    if kind is Several:
        return value.container()
    return value


# --- traced by the compiler


def carried(value: Any) -> Any:
    """A copy of a value as an extra output, or `Refused`."""
    from torch._dynamo.comptime import comptime

    comptime(_look)
    how = _how()
    if how == _TENSOR:
        return _copy(value) if _without_grad() else _copy(value.detach())
    if how == _ITSELF:
        return value
    if _has_unread():
        return _carried_apart(value, how)
    if how == _TUPLE:
        return tuple([carried(one) for one in value])
    if how == _LIST:
        return [carried(one) for one in value]
    if how == _DICT:
        return {key: carried(one) for key, one in value.items()}
    return Refused(_name()) if how == _REFUSED else _carried_tensor(value, how)


def _carried_apart(value: Any, how: int) -> Any:
    if how == _DICT:
        return Several([_MARK, dict, tuple(value), *[carried(one) for one in value.values()]])
    return Several([_MARK, list if how == _LIST else tuple, (), *[carried(one) for one in value]])


def _carried_tensor(value: Any, how: int) -> Any:
    import torch

    with torch._C.DisableTorchFunction():
        plain = value if _without_grad() else torch.detach(value)
        if how == _BEHIND:
            return _copy(plain)
        return Unwrapped(taken_out(torch.clone(plain), _depth()), _axes())


def _copy(value: Any) -> Any:
    if value.device.type not in graph_copy.REPLAYED and not _is_apart():
        return value.clone()
    import torch
    from torch._dynamo.comptime import comptime

    comptime(graph_copy.define)
    return torch.ops.astcapture.copy_of(value)


# --- run by the compiler as it traces


class _Found(threading.local):
    """What is known of the traced value."""

    how = _REFUSED
    name = ""
    #: Whether it must be copied by an operator of its own.
    apart = False
    #: Whether gradients are off, so that a copy has no autograd graph. In ``torch.inference_mode``, torch 2.13 cannot
    #: detach a tensor from outside of it: the compiler fails, and leaves a process in which no operation works.
    without_grad = False
    depth = 0
    axes: tuple[int, ...] = ()
    #: Whether it is a container of a number that the program has not read.
    unread = False


_found = _Found()


def _how() -> int:
    return _found.how


def _name() -> str:
    return _found.name


def _is_apart() -> bool:
    return _found.apart


def _without_grad() -> bool:
    return _found.without_grad


def _depth() -> int:
    return _found.depth


def _axes() -> tuple[int, ...]:
    return _found.axes


def _has_unread() -> bool:
    return _found.unread


_ANSWERS: tuple[Any, ...] = (_how, _name, _is_apart, _without_grad, _depth, _axes, _has_unread)
for _answer in _ANSWERS:
    _answer._dynamo_marked_constant = True


def _look(context: Any) -> None:
    variable = context.get_local("value")._i_will_not_complain_if_bc_breaks_VariableTracker()
    tracer = context._i_will_not_complain_if_bc_breaks_InstructionTranslator()
    try:
        _found.how, _found.name = _kind(variable, _has_modes(tracer), DEPTH)
        _found.unread = _found.how in _CONTAINERS.values() and any(map(_is_unread, _contents(_real(variable))))
        _found.apart = _calls_flex_attention(tracer)
        _found.without_grad = not sys.modules["torch"].is_grad_enabled()
        if _found.how == _WRAPPED:
            _found.depth, _found.axes = wrapping(_example(_real(variable)))
            sys.modules["torch._dynamo"].allow_in_graph(taken_out)
    except Exception as error:
        _found.how, _found.name = _REFUSED, f"a value of unknown type ({type(error).__name__})"


def _has_modes(tracer: Any) -> bool:
    return bool(getattr(getattr(tracer, "symbolic_torch_function_state", None), "mode_stack", None))


def _calls_flex_attention(tracer: Any) -> bool:
    """Whether the graph calls flex attention: on CPU, inductor fails where it would fuse an operation into that."""
    if "torch.nn.attention.flex_attention" not in sys.modules:
        return False
    called = sys.modules["torch"].ops.higher_order.flex_attention
    return any(True for _ in tracer.output.graph.find_nodes(op="call_function", target=called))


def _kind(variable: Any, modes: bool, depth: int) -> tuple[int, str]:
    """How a value is returned, and what it is."""
    if is_lazy(variable) and not _is_worth_a_look(variable.peek_type()):
        return _REFUSED, named(variable.peek_type())
    variable = _real(variable)
    name = type(variable).__name__
    if name in _TENSORS:
        if is_wrapped(_example(variable)):
            return _WRAPPED, ""
        if not _can_be_copied(_example(variable)):
            return _REFUSED, named(type(_example(variable)))
        return (_BEHIND if modes or name != "TensorVariable" else _TENSOR), ""
    if name in _UNCHANGING:
        return _ITSELF, ""
    if name == "UnspecializedPythonVariable":
        kind = type(variable.raw_value)
        return (_ITSELF if kind in _NUMBERS else _REFUSED), named(kind)
    kind = type_of(variable)
    if kind not in _CONTAINERS or not name.endswith(("TupleVariable", "ListVariable", "DictVariable")):
        return _REFUSED, named(kind)
    for one in _contents(variable):
        how, inner = _kind(one, modes, depth - 1) if depth > 1 else (_REFUSED, "more containers")
        if how == _REFUSED:
            return _REFUSED, f"{named(kind)} with {inner} in it"
    return _CONTAINERS[kind], ""


def _can_be_copied(example: Any) -> bool:
    """Whether a tensor of a custom class, which may implement its operations itself, can be copied; tries it."""
    if getattr(type(example), "__module__", "").startswith("torch."):
        return True
    try:
        example.detach().clone()
    except Exception:
        return False
    return True


def is_lazy(variable: Any) -> bool:
    """Whether the program has not used an input value yet."""
    return hasattr(type(variable), "peek_type") and not variable.is_realized()


def _is_worth_a_look(kind: type) -> bool:
    return kind in _NUMBERS or kind in _CONTAINERS or kind.__name__ in _OF_TORCH or is_tensor_type(kind)


#: Torch's own values that the compiler knows as constants.
_OF_TORCH = frozenset({"Size", "dtype", "device", "layout", "memory_format"})


def _is_unread(variable: Any) -> bool:
    return type(variable).__name__ == "LazyConstantVariable" and not variable.is_realized()


def _real(variable: Any) -> Any:
    """What the compiler knows of a value; a number that the program has not used is not guarded by its value."""
    if not hasattr(type(variable), "peek_type"):
        return variable
    if not _is_unread(variable):
        return variable.realize()
    variable.python_type()  # guards its type
    return variable


def _example(variable: Any) -> Any:
    return variable.as_proxy().node.meta["example_value"]


def _contents(variable: Any) -> list[Any]:
    items = variable.items
    return [*items.values()] if isinstance(items, dict) else [*items]


def type_of(variable: Any) -> Any:
    try:
        return variable.python_type()
    except Exception:
        return type(variable).__name__.removesuffix("Variable")


def named(kind: Any) -> str:
    """A type with its article, for messages."""
    name = "class" if isinstance(kind, type) and issubclass(kind, type) else getattr(kind, "__name__", str(kind))
    name = _NAMES.get(name, name)
    return f"{'an' if name[:1].lower() in 'aeio' else 'a'} {name}"


_NAMES = {"ndarray": "NumPy array", "builtin_function_or_method": "function", "method-wrapper": "function"}
