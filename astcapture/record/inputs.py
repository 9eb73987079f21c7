"""Records what a call gets first: the function that rewritten code calls in place of the callee."""

from __future__ import annotations

from functools import partial
from types import BuiltinMethodType, FunctionType, MethodType, MethodWrapperType, ModuleType
from typing import Any

from astcapture.record.events import Site
from astcapture.record.executions import missed
from astcapture.record.recording import record
from astcapture.record.state import state
from astcapture.record.torch import modules, uncompiled

#: The parameters of a function that may be the module that it works for.
Owners = tuple[Any, ...]

#: Stands for the input of a call without any.
NOTHING = object()
#: Types whose names can be asked for without running code of the program.
_NAMED = frozenset({FunctionType, MethodType, BuiltinMethodType, type})
_METHODS = frozenset({MethodType, BuiltinMethodType, MethodWrapperType})


def given(sites: tuple[Site, ...], owners: Owners, callee: Any, /, *arguments: Any, **options: Any) -> Any:
    """Record what a call is about to get first; the user's code calls the returned object.

    Only C code runs between that call and the callee, so no frame of ours appears in a traceback.

    Args:
        sites: the sites.
        owners: the ``self`` of the calling function, and other parameters that may be a module.
        callee: the function that is called.
        *arguments: its arguments.
        **options: its keyword arguments.
    """
    if not callable(callee):
        return callee  # calling it raises what it would have raised
    if state.on:
        record_input(sites, owners, callee, arguments, options)
    return partial(callee, *arguments, **options)


def given_starred(sites: tuple[Site, ...], owners: Owners, callee: Any, /) -> Any:
    """`given` in two steps, for a call with ``*`` or ``**``: Python names what is returned here if it cannot unpack."""
    if not callable(callee):
        return Starred(callee)  # calling it raises what it would have raised
    starred = partial_of(sites, owners, callee)
    if type(callee) in _NAMED:
        starred.__qualname__, starred.__module__ = callee.__qualname__, callee.__module__
    return Starred(starred)


class Starred:
    """What is called with the arguments, as an attribute: the compiler gives reading it a line of its own."""

    __slots__ = ("call",)

    def __init__(self, call: Any) -> None:
        self.call = call


def partial_of(sites: tuple[Site, ...], owners: Owners, callee: Any) -> Any:
    """`given` with its first arguments; a function, whose name can be set."""

    def starred(*arguments: Any, **options: Any) -> Any:
        return given(sites, owners, callee, *arguments, **options)

    return starred


def record_input(
    sites: tuple[Site, ...], owners: Owners, callee: Any, arguments: tuple[Any, ...], options: dict[str, Any]
) -> None:
    """Record the receiver of a method, the first argument, or the first keyword argument; count a call without any."""
    first = first_of(receiver_of(callee), arguments, options)
    for site in sites:
        if first is NOTHING:
            missed(site, *owners)
        else:
            record(None, site, first, None, owners)


def receiver_of(callee: Any) -> Any:
    """The object whose method is called; `NOTHING` where that is a module or a class, or where it is no method.

    By the types alone: to ask an object of the program for an attribute can run its code.
    """
    if type(callee) not in _METHODS:
        return NOTHING
    receiver = callee.__self__
    return receiver if is_receiver(receiver) else NOTHING


def is_receiver(value: Any) -> bool:
    """Whether a method works on an object, rather than being a function that belongs to it."""
    kind = type(value)
    return not (value is None or issubclass(kind, (type, ModuleType)) or modules.is_module(value))


def first_of(receiver: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """What a call gets first; `NOTHING` if it gets nothing."""
    if receiver is not NOTHING:
        return receiver
    if arguments:
        return arguments[0]
    return next(iter(options.values()), NOTHING)


uncompiled.leave_alone(
    partial_of((), (), None), given, given_starred, partial_of, record_input, receiver_of, is_receiver, first_of
)
