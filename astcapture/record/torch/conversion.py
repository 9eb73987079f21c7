"""Applies the options of a hook to one value, in this order: reduce, dtype, device, copy.

All of it runs without an autograd graph and outside autocast, and does not change the program's own tensor.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from astcapture.record.containers import open_container, whole
from astcapture.record.deferred import Deferred, Parts, Shared
from astcapture.record.kinds import is_a
from astcapture.record.options import Conversion, Reduce
from astcapture.record.snapshot import BY_REFERENCE, copy_array, is_array
from astcapture.record.torch.dtypes import COMPLEX
from astcapture.record.torch.tensors import is_tensor
from astcapture.record.torch.tracing import check_run
from astcapture.record.torch.transfer import can_transfer, transfer
from astcapture.record.torch.transforms import is_wrapped, outside, unwrap


class ChangedInPlace(RuntimeError):
    """A reduce function has modified the program's own value in place."""


def convert(
    value: Any, how: Conversion, own: bool = False, by_reference: Callable[[Any], None] = lambda value: None
) -> Any:
    """Convert a value for recording: the value itself, a copy, or a `Deferred` in its place.

    Args:
        value: any value.
        how: the options.
        own: whether nothing else references the value, so that no copy is needed.
        by_reference: called for each object that is kept by reference.

    Raises:
        Exception: an error of the reduce function, or of torch if it cannot convert or move the value.
    """
    if not is_tensor(value):
        return _convert_other(value, how, by_reference)
    torch = sys.modules["torch"]
    wrapped = is_wrapped(value)
    with torch.no_grad(), outside(wrapped):
        value = unwrap(value) if wrapped else value.detach()
        if how.reduce is None:
            return keep(value, how, own)
        private = own or how.copy
        given = value.clone() if private and not own else value
        with without_autocast(torch, value.device.type):
            made = how.reduce(given) if private else _reduced(given, how.reduce)
        return keep(made, how, made is given and private, by_reference)


def _convert_other(value: Any, how: Conversion, by_reference: Callable[[Any], None]) -> Any:
    if how.reduce is None:
        return keep(value, how, False, by_reference)
    shown: list[tuple[Any, int | None]] = []
    given = whole(value, lambda one: _for_reduce(one, how.copy, shown))
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "no_grad"):
        made = how.reduce(given)
    else:
        with torch.no_grad():
            made = how.reduce(given)
        for tensor, version in shown:
            _check_unchanged(tensor, version, how.reduce)
    return keep(made, how, made is given and how.copy, by_reference)


def _for_reduce(value: Any, copy: bool, shown: list[tuple[Any, int | None]]) -> Any:
    """The argument of a reduce function for a value in a container: a copy, or the value itself, noted in `shown`."""
    check_run(value)
    if is_array(value):
        given = copy_array(value) if copy else value.view()
        given.flags.writeable = copy
        return given
    if not is_tensor(value):
        return value
    wrapped = is_wrapped(value)
    with sys.modules["torch"].no_grad(), outside(wrapped):
        tensor = unwrap(value) if wrapped else value.detach()
        if copy:
            return tensor.clone()
    shown.append((tensor, _version(tensor)))
    return tensor


def _reduced(given: Any, reduce: Reduce) -> Any:
    """The result of the function for the program's own tensor; raises if the tensor was modified."""
    before = _version(given)
    made = reduce(given)
    _check_unchanged(given, before, reduce)
    return made


def _version(tensor: Any) -> int | None:
    """The version counter of a tensor; None for inference tensors, which have none."""
    return None if tensor.is_inference() else tensor._version


def _check_unchanged(tensor: Any, before: int | None, reduce: Reduce) -> None:
    if before is not None and tensor._version != before:
        raise ChangedInPlace(
            f"reduce={getattr(reduce, '__name__', reduce)} modified the value in place, and with copy=False "
            "that is the program's own tensor: remove copy=False, so that reduce gets a copy"
        )


def keep(
    value: Any, how: Conversion, fresh: bool = False, by_reference: Callable[[Any], None] = lambda value: None
) -> Any:
    """Convert a value to the dtype and device of the options, and copy it unless it is `fresh` (used nowhere else).

    In a container, this applies to the tensors and arrays in it.
    """
    if is_tensor(value):
        return _keep_tensor(value, how, fresh)
    if is_array(value):
        return _keep_array(value, how, fresh)
    if type(value) in BY_REFERENCE:
        return value
    if open_container(value) is None:
        by_reference(value)
        return value
    deferred: list[Any] = []

    def keep_one(one: Any) -> Any:
        kept = _keep_leaf(one, how, fresh)
        if is_a(kept, Deferred):
            deferred.append(kept)
        return kept

    container = whole(value, keep_one, by_reference)
    return Parts(container) if deferred else container


def _keep_leaf(value: Any, how: Conversion, fresh: bool) -> Any:
    check_run(value)
    if not is_tensor(value):
        return _keep_array(value, how, fresh) if is_array(value) else value
    # Not `dataclasses.replace`, which may be captured itself.
    return convert(value, Conversion(how.copy, how.device, how.dtype), own=fresh)


def _keep_tensor(value: Any, how: Conversion, fresh: bool) -> Any:
    tensor = value.detach() if value.requires_grad else value
    dtype, device = dtype_of(tensor, how), how.device
    if device is not None and (tensor.is_meta or _is_on(tensor, device)):
        device = None  # a meta tensor has no data to move
    if device is not None and can_transfer(tensor, device):
        return transfer(tensor if dtype is None else tensor.to(dtype))
    kept = tensor
    if dtype is not None or device is not None:
        kept = tensor.to(device=device or tensor.device, dtype=dtype or tensor.dtype)
    if kept is not tensor or fresh:
        return kept
    return tensor.clone() if how.copy else Shared(tensor if tensor is not value else tensor.detach())


def dtype_of(tensor: Any, how: Conversion) -> Any:
    """The torch dtype to which a tensor is converted; None if it is not converted.

    A floating-point dtype applies to floating-point tensors, a complex one to complex tensors; integer, bool and
    quantized tensors are not converted.
    """
    if how.dtype is None:
        return None
    kind = tensor.is_complex() if how.dtype in COMPLEX else tensor.is_floating_point()
    dtype = getattr(sys.modules["torch"], how.dtype) if kind else None
    return None if dtype == tensor.dtype else dtype


def _is_on(tensor: Any, device: str) -> bool:
    kind, _, index = device.partition(":")
    if kind == "cpu":
        return bool(tensor.device.type == kind)
    torch = sys.modules["torch"]
    if not index and kind == "cuda" and tensor.is_cuda:
        return bool(tensor.device.index == torch.cuda.current_device())
    return bool(tensor.device == torch.device(device))


def _keep_array(value: Any, how: Conversion, fresh: bool) -> Any:
    dtype = how.dtype
    # numpy has no bfloat16 or float8: arrays are not converted to these.
    if (
        dtype is not None
        and value.dtype.kind == ("c" if dtype in COMPLEX else "f")
        and hasattr(sys.modules["numpy"], dtype)
    ):
        return value.astype(dtype, copy=how.copy and not fresh)
    return copy_array(value) if how.copy and not fresh else value


def without_autocast(torch: Any, device: str) -> AbstractContextManager[Any]:
    """A context in which neither the device nor the CPU is under autocast."""
    stack = ExitStack()
    for kind in {device, "cpu"}:
        if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
            stack.enter_context(torch.autocast(kind, enabled=False))
    return stack
