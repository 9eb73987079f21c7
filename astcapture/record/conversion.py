"""How one value is taken when its hook asks for more than a copy: reduced, converted, moved, or not copied.

In this order: reduce, dtype, device, copy. What is done to a value happens without a graph and
outside autocast, and never reaches the program's own tensor.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from astcapture.record.deferred import Shared
from astcapture.record.dtypes import COMPLEX
from astcapture.record.options import Conversion, Reduce
from astcapture.record.snapshot import copy_array, is_array
from astcapture.record.tensors import is_tensor
from astcapture.record.transfer import can_transfer, transfer
from astcapture.record.transforms import is_wrapped, outside, unwrap


class ChangedInPlace(RuntimeError):
    """A reduce function that was given the program's own value has written to it."""


def convert(value: Any, how: Conversion, own: bool = False) -> Any:
    """What is kept of a value: itself, a copy, or a `Deferred` that stands for it.

    Args:
        value: any value.
        how: what is asked for.
        own: whether nobody else has the value, so that it need not be copied.

    Raises:
        Exception: what the reduce function raises, or torch where it cannot convert or move.
    """
    if not is_tensor(value):
        return _convert_other(value, how)
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
        return keep(made, how, fresh=made is given and private)


def _convert_other(value: Any, how: Conversion) -> Any:
    if how.reduce is None:
        return keep(value, how)
    given = value
    if is_array(value):
        given = copy_array(value) if how.copy else value.view()
        given.flags.writeable = how.copy
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "no_grad"):
        made = how.reduce(given)
    else:
        with torch.no_grad():
            made = how.reduce(given)
    return keep(made, how, fresh=made is given and how.copy)


def _reduced(given: Any, reduce: Reduce) -> Any:
    """What the function makes of the program's own tensor; an error where it has changed it."""
    before = None if given.is_inference() else given._version
    made = reduce(given)
    if before is not None and given._version != before:
        raise ChangedInPlace(
            f"reduce={getattr(reduce, '__name__', reduce)} changed the value in place, and with copy=False "
            "that is the program's own: leave copy=False out, and reduce is given a copy"
        )
    return made


def keep(value: Any, how: Conversion, fresh: bool = False) -> Any:
    """A value in the dtype and on the device that are asked for, copied unless it is `fresh`, which no one else has."""
    if is_tensor(value):
        return _keep_tensor(value, how, fresh)
    if is_array(value):
        return _keep_array(value, how, fresh)
    return value


def _keep_tensor(value: Any, how: Conversion, fresh: bool) -> Any:
    tensor = value.detach() if value.requires_grad else value
    dtype, device = dtype_of(tensor, how), how.device
    if device is not None and (tensor.is_meta or _is_on(tensor, device)):
        device = None  # a meta tensor holds nothing that could be moved
    if device is not None and can_transfer(tensor, device):
        return transfer(tensor if dtype is None else tensor.to(dtype))
    kept = tensor
    if dtype is not None or device is not None:
        kept = tensor.to(device=device or tensor.device, dtype=dtype or tensor.dtype)
    if kept is not tensor or fresh:
        return kept
    return tensor.clone() if how.copy else Shared(tensor if tensor is not value else tensor.detach())


def dtype_of(tensor: Any, how: Conversion) -> Any:
    """The torch dtype that a tensor is to be converted to; None where it stays what it is.

    A floating dtype holds for floating tensors, a complex one for complex tensors; whole numbers, booleans and
    quantised tensors stay as they are.
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
    # numpy has no bfloat16 or float8: such arrays stay what they are.
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
