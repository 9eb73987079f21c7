"""A placeholder tensor for attention weights while a user's ``reduce=`` function works on them.

Selections, sums, means, extremes and elementwise functions are deferred until the result is known, and then computed
block by block. Functions along one axis (``topk``, ``argmax``) are computed block by block at once. For anything else
the whole tensor is computed, if there is room.

An in-place operation also changes views that were derived before. So before one, everything is computed in full, and
the views are derived again with the calls that the user made.

This is one file because it is one table: for each deferred torch function, what it does to blocks.
"""

from __future__ import annotations

import operator
import sys
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

from astcapture.record.kinds import is_a
from astcapture.record.torch.blocks import (
    COMBINED,
    Blocks,
    Permuted,
    Pointwise,
    Reduced,
    Selected,
    evaluate,
    evaluate_along,
)

#: Called with a number of bytes; returns whether there is room for them.
Room = Callable[[int], bool]


class NoRoom(Exception):
    """The function needs more memory than is left."""


class Family:
    """The placeholders derived from one value, oldest first, and the room for them."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self._members: list[weakref.ref[State]] = []

    def add(self, state: State) -> None:
        self._members.append(weakref.ref(state))

    def members(self) -> list[State]:
        return [state for one in self._members if (state := one()) is not None]

    def keep(self) -> None:
        """Compute everything that is still referenced, before the program continues and modifies its tensors.

        Raises:
            NoRoom: there is none for it.
        """
        for state in self.members():
            state.whole()

    def spread(self) -> None:
        """Derive the views again, now from computed tensors."""
        for state in self.members():
            if state.tensor is None and state.sources and any(one.tensor is not None for one in state.sources):
                state.ask(state.view)
                state.tensor = state.derive()


class State:
    """The state of a placeholder.

    Attributes:
        blocks: how it is computed.
        tensor: the tensor itself, once it had to be computed.
        sources: the states of the placeholders from which it was derived.
    """

    def __init__(
        self,
        blocks: Blocks,
        family: Family,
        sources: Sequence[State] = (),
        derive: Callable[[], Any] = lambda: None,
        view: bool = False,
    ) -> None:
        self.blocks, self.family, self.sources, self.derive, self.view = blocks, family, tuple(sources), derive, view
        self.tensor: Any = None
        family.add(self)

    def ask(self, nothing: bool = False) -> None:
        """Ask for the room that the tensor takes.

        Raises:
            NoRoom: there is none.
        """
        if not nothing and not self.family.room(self.blocks.nbytes):
            raise NoRoom

    def whole(self) -> Any:
        """The tensor itself."""
        if self.tensor is None:
            self.ask()
            self.tensor = evaluate(self.blocks)
            self.family.spread()
        return self.tensor


def reduced(blocks: Blocks, function: Callable[[Any], Any], room: Room) -> tuple[Any, bool]:
    """The result of a function for the tensor that `blocks` computes, and whether it is used nowhere else.

    Args:
        blocks: the tensor.
        function: the user's.
        room: called before anything as large as a result is computed.

    Raises:
        NoRoom: there is not enough memory for the function or its result.
        Exception: an error of the function.
    """
    family = Family(room)
    first = _wrap(State(blocks, family))
    made = function(first)
    fresh = is_stand_in(made) and made.state.tensor is None
    made = settled(made)
    del first
    family.keep()
    return made, fresh


def is_stand_in(value: Any) -> bool:
    return is_a(value, sys.modules["torch"].Tensor) and type(value) is _kind()


def settled(value: Any, depth: int = 4) -> Any:
    """The result of a function, with placeholders replaced by tensors, also inside containers.

    Raises:
        NoRoom: there is none for them.
    """
    if is_stand_in(value):
        return value.state.whole()
    if depth and type(value) in (list, set, tuple):
        return type(value)(settled(one, depth - 1) for one in value)
    if depth and type(value) is dict:
        return {key: settled(one, depth - 1) for key, one in value.items()}
    if depth and is_a(value, tuple) and hasattr(value, "_make"):
        return value._make(settled(one, depth - 1) for one in value)
    return value


def _wrap(state: State) -> Any:
    torch = sys.modules["torch"]
    blocks = state.blocks
    made = torch.Tensor._make_wrapper_subclass(_kind(), blocks.shape, dtype=blocks.dtype, device=blocks.device)
    made.state = state
    return made


@cache
def _kind() -> Any:
    torch = sys.modules["torch"]

    def by_function(cls: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _answer(func, args, kwargs or {})

    def by_dispatch(cls: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*_plain(args), **_plain(kwargs or {}))

    members = {"__torch_function__": classmethod(by_function), "__torch_dispatch__": classmethod(by_dispatch)}
    return type("AttentionWeights", (torch.Tensor,), {"__module__": __name__, **members})


#: What is known without computing anything: attributes, and methods.
_KNOWN = frozenset(
    {
        "shape", "dtype", "device", "ndim", "layout", "nbytes", "itemsize", "requires_grad", "is_cuda", "is_cpu",
        "is_sparse", "is_quantized", "is_nested", "is_meta", "is_leaf", "grad_fn", "names",
        "size", "dim", "ndimension", "numel", "nelement", "element_size", "is_floating_point", "is_complex", "stride",
        "is_contiguous", "get_device", "__len__",
    }
)  # fmt: skip


def _name(func: Any) -> str:
    """The name of a torch function; for the getter of an attribute, the name of the attribute."""
    name = getattr(func, "__name__", "")
    return getattr(func.__self__, "__name__", "") if name == "__get__" else name


def _answer(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    name = _name(func)
    if name in _KNOWN:
        with sys.modules["torch"]._C.DisableTorchFunctionSubclass():
            return func(*args, **kwargs)
    if _changes(name, kwargs):
        for state in _states((*args, *kwargs.values())):
            state.family.members()[0].whole()
    elif name in _PUT_OFF:
        answer = _put_off(name, func, args, dict(kwargs))
        if answer is not NotImplemented:
            return answer
    return func(*_plain(args), **_plain(kwargs))


def _changes(name: str, kwargs: Mapping[str, Any]) -> bool:
    """Whether a function modifies its argument in place."""
    if name.startswith("__"):
        return name in ("__setitem__", "__set__") or (name.startswith("__i") and name not in _NO_CHANGE)
    return name.endswith("_") or "out" in kwargs


_NO_CHANGE = frozenset({"__int__", "__index__", "__invert__", "__iter__"})


def _plain(value: Any) -> Any:
    """An argument with placeholders replaced by computed tensors."""
    if is_stand_in(value):
        return value.state.whole()
    if type(value) in (list, tuple):
        return type(value)(map(_plain, value))
    if is_a(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return value


def _states(value: Any) -> list[State]:
    if is_stand_in(value):
        return [value.state]
    if is_a(value, (list, tuple)):
        return [state for one in value for state in _states(one)]
    return []


def _put_off(name: str, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """The result of a function without the whole tensor; NotImplemented if it needs the whole tensor."""
    given = [*args] or [kwargs.pop("input", None)]
    if not is_stand_in(given[0]) or any(state.tensor is not None for state in _states((*given, *kwargs.values()))):
        return NotImplemented
    try:
        return _PUT_OFF[name](name, func, given, kwargs)
    except NoRoom:
        raise
    except Exception:
        return NotImplemented  # the real tensor will raise the right error


def _derived(blocks: Blocks, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], view: bool = False) -> Any:
    states = _states((*args, *kwargs.values()))

    def derive() -> Any:
        return func(*_plain(args), **_plain(kwargs))

    return _wrap(State(blocks, states[0].family, states, derive, view))


def _like(value: Any) -> Any:
    """A tensor without data in place of a placeholder."""
    torch = sys.modules["torch"]
    if is_stand_in(value):
        return torch.empty(value.state.blocks.shape, dtype=value.state.blocks.dtype, device="meta")
    return value


# Selections.


def _getitem(name: str, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    tensor, index = args
    blocks = _selected(tensor.state.blocks, index if isinstance(index, tuple) else (index,))
    return NotImplemented if blocks is None else _derived(blocks, func, args, kwargs, view=True)


def _select(name: str, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    names = {"select": ("dim", "index"), "narrow": ("dim", "start", "length"), "index_select": ("dim", "index")}
    given = _given(args, kwargs, *names[name])
    blocks = args[0].state.blocks
    axis = _axis(given["dim"], blocks)
    chosen: Any = given["index"] if name != "narrow" else None
    if name == "narrow":
        start = operator.index(given["start"])
        start += blocks.shape[axis] if start < 0 else 0
        if start + given["length"] > blocks.shape[axis]:
            return NotImplemented
        chosen = slice(start, start + given["length"])
    made = _selected(blocks, (*[slice(None)] * axis, chosen))
    return NotImplemented if made is None else _derived(made, func, args, kwargs, view=name != "index_select")


def _unbind(name: str, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    blocks = args[0].state.blocks
    axis = _axis(_given(args, kwargs, "dim").get("dim", 0), blocks)
    parts = tuple(args[0].select(axis, index) for index in range(blocks.shape[axis]))
    return iter(parts) if name == "__iter__" else parts


def _unsqueeze(name: str, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    blocks = args[0].state.blocks
    dim = operator.index(_given(args, kwargs, "dim")["dim"])
    if not -len(blocks.shape) - 1 <= dim <= len(blocks.shape):
        return NotImplemented
    index = (*[slice(None)] * (dim % (len(blocks.shape) + 1)), None)
    return _derived(_selected(blocks, index), func, args, kwargs, view=True)  # type: ignore[arg-type]


def _selected(blocks: Blocks, index: tuple[Any, ...]) -> Blocks | None:
    """The blocks of ``tensor[index]``; None if its axes would not stay in order."""
    if sum(not (isinstance(one, (int, slice)) or one is None or one is Ellipsis) for one in index) > 1:
        return None
    if any(isinstance(one, bool) for one in index) or sum(one is Ellipsis for one in index) > 1:
        return None
    used = sum(one is not None and one is not Ellipsis for one in index)
    if not any(one is Ellipsis for one in index):
        index = (*index, Ellipsis)
    positions: list[Sequence[int]] = []
    axes: list[int | None] = []
    for one in index:
        for part in [slice(None)] * (len(blocks.shape) - used) if one is Ellipsis else [one]:
            if part is None:
                axes.append(None)
                continue
            if not isinstance(part, int):
                axes.append(len(positions))
            positions.append(_positions(part, blocks.shape[len(positions)]))
    return Selected(blocks, tuple(positions), axes)


def _positions(one: Any, length: int) -> Sequence[int]:
    if isinstance(one, int):
        place = range(length)[one]
        return range(place, place + 1)
    if isinstance(one, slice):
        if one.step is not None and one.step <= 0:
            raise ValueError
        return range(length)[one]
    listed = one.tolist() if hasattr(one, "tolist") else list(one)
    if any(isinstance(place, list) for place in listed):
        raise ValueError
    if listed and all(isinstance(place, bool) for place in listed):
        if len(listed) != length:
            raise ValueError
        return [place for place, wanted in enumerate(listed) if wanted]
    return [range(length)[operator.index(place)] for place in listed]


# Permutations.


def _permuted(name: str, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    blocks = args[0].state.blocks
    order = list(range(len(blocks.shape)))
    if name == "permute":
        dims = args[1:] if len(args) > 2 or (len(args) == 2 and isinstance(args[1], int)) else None
        dims = _given(args, kwargs, "dims")["dims"] if dims is None else dims
        order = [_axis(dim, blocks) for dim in dims]
        if sorted(order) != list(range(len(blocks.shape))):
            return NotImplemented
    else:
        one, other = (-2, -1)
        if name not in ("mT",):
            given = _given(args, kwargs, "dim0", "dim1")
            one, other = given["dim0"], given["dim1"]
        one, other = _axis(one, blocks), _axis(other, blocks)
        order[one], order[other] = other, one
    return _derived(Permuted(blocks, order), func, args, kwargs, view=True)


# Reductions.


def _reduced(name: str, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    blocks = args[0].state.blocks
    given = _given(args, kwargs, "dim", "keepdim")
    dims = given.get("dim")
    if name in ("max", "min"):
        if len(args) > 1 or kwargs:
            return _along(name, func, args, kwargs)
        name = f"a{name}"
    everything = dims is None or (isinstance(dims, (tuple, list)) and not dims)
    listed = range(len(blocks.shape)) if everything else dims if isinstance(dims, (tuple, list)) else [dims]
    axes = [_axis(dim, blocks) for dim in listed]
    like = func(_like(args[0]), *args[1:], **kwargs)
    made = Reduced(blocks, name, axes, bool(given.get("keepdim", False)), like.dtype, given.get("dtype"))
    return _derived(made, func, args, kwargs) if made.shape == tuple(like.shape) else NotImplemented


#: The names of the arguments up to the axis, of functions that work along one; the axis is the last where it may
#: be left out.
_ALONG = {
    "topk": ("k", "dim"), "sort": ("dim",), "argsort": ("dim",), "argmax": ("dim",), "argmin": ("dim",),
    "max": ("dim",), "min": ("dim",), "softmax": ("dim",), "log_softmax": ("dim",), "logsumexp": ("dim",),
    "cumsum": ("dim",), "cummax": ("dim",), "var": ("dim",), "std": ("dim",), "median": ("dim",),
    "any": ("dim",), "all": ("dim",), "prod": ("dim",), "count_nonzero": ("dim",),
}  # fmt: skip
_LAST_BY_DEFAULT = frozenset({"topk", "sort", "argsort"})


def _along(name: str, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    blocks = args[0].state.blocks
    dim = _given(args, kwargs, *_ALONG[name]).get("dim", -1 if name in _LAST_BY_DEFAULT else None)
    if isinstance(dim, (list, tuple)) and len(dim) == 1:
        (dim,) = dim
    if not isinstance(dim, int) or isinstance(dim, bool):
        return NotImplemented
    call = partial(_call_on, func, args[1:], kwargs)
    like = call(_like(args[0]))
    several = isinstance(like, tuple)
    listed = list(like) if several else [like]
    if not args[0].state.family.room(sum(one.numel() * one.element_size() for one in listed)):
        raise NoRoom
    made = evaluate_along(blocks, _axis(dim, blocks), call, listed)
    return type(like)(made) if several else made[0]


def _call_on(func: Any, others: Sequence[Any], kwargs: Mapping[str, Any], tensor: Any) -> Any:
    return func(tensor, *others, **kwargs)


# Elementwise functions.

_POINTWISE = frozenset(
    {
        "mul", "multiply", "add", "sub", "div", "true_divide", "pow", "square", "sqrt", "rsqrt", "exp", "log", "log2",
        "log10", "log1p", "neg", "abs", "clamp", "clamp_min", "clamp_max", "clip", "float", "double", "half",
        "bfloat16", "to", "type", "gt", "lt", "ge", "le", "eq", "ne", "isnan", "isfinite", "nan_to_num", "sigmoid",
        "clone", "detach", "contiguous", "xlogy", "special_entr", "rsub", "reciprocal", "round", "logical_not",
        "__add__", "__radd__", "__sub__", "__rsub__", "__mul__", "__rmul__", "__truediv__", "__rtruediv__",
        "__pow__", "__neg__", "__abs__", "__gt__", "__lt__", "__ge__", "__le__", "__eq__", "__ne__",
    }
)  # fmt: skip
#: Functions that return the tensor itself, or a view of it.
_MAYBE_ITSELF = frozenset({"detach", "contiguous", "to", "type", "float", "double", "half", "bfloat16"})


def _pointwise(name: str, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    torch = sys.modules["torch"]
    standing = [index for index, one in enumerate(args) if is_stand_in(one)]
    simple = (bool, int, float, str, torch.dtype, type(None))
    others = [*(one for index, one in enumerate(args) if index not in standing), *kwargs.values()]
    like = func(*map(_like, args), **kwargs)
    blocks = [args[index].state.blocks for index in standing]
    if not all(is_a(one, simple) for one in others) or like.device.type != "meta":
        return NotImplemented
    if any(one.shape != tuple(like.shape) for one in blocks):
        return NotImplemented

    def of(*parts: Any) -> Any:
        given = list(args)
        for index, part in zip(standing, parts, strict=True):
            given[index] = part
        return func(*given, **kwargs)

    return _derived(Pointwise(blocks, of, like.dtype), func, args, kwargs, view=name in _MAYBE_ITSELF)


# Arguments of a call.


def _given(args: Sequence[Any], kwargs: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The arguments after the tensor, by torch's parameter names."""
    spelled = {"axis": "dim", "keepdims": "keepdim", "axis0": "dim0", "axis1": "dim1"}
    named = {spelled.get(name, name): value for name, value in kwargs.items()}
    return {**dict(zip(names, args[1:], strict=False)), **named}


def _axis(dim: Any, blocks: Blocks) -> int:
    """An axis counted from the first.

    Raises:
        IndexError: there is none.
    """
    return range(len(blocks.shape))[operator.index(dim)]


_PUT_OFF: dict[str, Callable[[str, Any, Sequence[Any], dict[str, Any]], Any]] = {
    **dict.fromkeys(_ALONG, _along),
    **dict.fromkeys([*COMBINED, "max", "min"], _reduced),
    **dict.fromkeys(_POINTWISE, _pointwise),
    "__getitem__": _getitem,
    **dict.fromkeys(["select", "narrow", "index_select"], _select),
    **dict.fromkeys(["unbind", "__iter__"], _unbind),
    "unsqueeze": _unsqueeze,
    **dict.fromkeys(["permute", "transpose", "swapaxes", "mT"], _permuted),
}
