"""Converts tensors to bytes and back. Writing uses torch only if it is imported; reading imports it."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

from astcapture.record.kinds import is_a
from astcapture.store.raw import Damaged, Form, Raw, Refused

#: Dtypes that safetensors supports, by torch's names, with the size of one number in bytes.
_STORED = {
    "bool": 1, "uint8": 1, "int8": 1, "uint16": 2, "int16": 2, "uint32": 4, "int32": 4, "uint64": 8, "int64": 8,
    "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8, "complex64": 8,
    "float8_e4m3fn": 1, "float8_e4m3fnuz": 1, "float8_e5m2": 1, "float8_e5m2fnuz": 1, "float8_e8m0fnu": 1,
}  # fmt: skip

#: Dtypes that it does not support, stored as pairs of one that it does.
_PAIRS = {"complex128": ("float64", 16), "complex32": ("float16", 4)}

_DENSE = "pass reduce=lambda tensor: tensor.{} to store it"


def is_tensor(value: Any) -> bool:
    """Whether `value` is a torch tensor."""
    tensor = getattr(sys.modules.get("torch"), "Tensor", None)
    return isinstance(tensor, type) and is_a(value, tensor)


def pack(tensor: Any) -> Raw:
    """The bytes of a tensor in CPU memory, copied only if it is elsewhere or not contiguous.

    Raises:
        Refused: the tensor has no data, or is not dense.
    """
    import torch

    if tensor.layout is not torch.strided or tensor.is_nested:
        if tensor.is_nested:
            raise Refused("a nested tensor: " + _DENSE.format("to_padded_tensor(0)"))
        raise Refused(f"a {str(tensor.layout).removeprefix('torch.')} tensor: " + _DENSE.format("to_dense()"))
    if tensor.is_quantized:
        raise Refused("a quantised tensor: " + _DENSE.format("dequantize()"))
    if tensor.is_meta:
        raise Refused("a tensor on the meta device, which has no values")
    dtype = str(tensor.dtype).removeprefix("torch.")
    shape = tuple(tensor.shape)
    form: Form = ("torch", dtype, shape)
    plain = tensor
    if tensor.requires_grad or type(tensor) is not torch.Tensor:
        plain = tensor.detach().as_subclass(torch.Tensor)
    if plain.device.type != "cpu":
        plain = plain.cpu()
    if plain.is_conj() or plain.is_neg():
        plain = plain.resolve_conj().resolve_neg()
    if not plain.is_contiguous():
        plain = plain.contiguous()
    if dtype in _PAIRS:
        dtype, shape = _PAIRS[dtype][0], (*shape, 2)
    elif dtype not in _STORED:
        # Stored as plain bytes: pairs of float4, or dtypes of a later torch.
        plain, dtype, shape = plain.view(torch.uint8), "uint8", (*shape[:-1], -1)
        shape = tuple(plain.shape)
    return Raw(form, dtype, shape, plain.data_ptr(), plain.nbytes, plain)


def nbytes(dtype: str, shape: Sequence[int]) -> int | None:
    """The bytes of a stored tensor of this form; None if the size of the dtype is unknown."""
    size = _STORED.get(dtype) or _PAIRS.get(dtype, ("", 0))[1]
    return math.prod(shape) * size if size else None


def unpack(dtype: str, shape: Sequence[int], buffer: memoryview) -> Any:
    """The tensor with these bytes; without torch a NumPy array, if NumPy supports the dtype.

    Raises:
        Damaged: there is no such dtype.
        Refused: torch is not installed, and NumPy cannot hold it.
    """
    try:
        import torch
    except ImportError:
        return _without_torch(dtype, shape, buffer)
    kind = getattr(torch, dtype, None)
    if not isinstance(kind, torch.dtype):
        raise Damaged(f"torch {torch.__version__} has no dtype {dtype!r}")
    if not buffer.nbytes:
        return torch.empty(shape, dtype=kind)
    return torch.frombuffer(buffer, dtype=torch.uint8).view(kind).reshape(shape)


def _without_torch(dtype: str, shape: Sequence[int], buffer: memoryview) -> Any:
    import numpy

    try:
        kind = numpy.dtype(dtype)
    except TypeError:
        raise Refused(f"a tensor of dtype {dtype}, which NumPy does not support: install torch to read it") from None
    return numpy.frombuffer(buffer, kind).reshape(shape)


def bits(dtype: str, shape: Sequence[int], buffer: memoryview) -> Any:
    """A NumPy array of a stored tensor, without importing torch: of dtypes that NumPy lacks, unsigned numbers."""
    import numpy

    try:
        kind = numpy.dtype(dtype)
    except TypeError:
        kind = numpy.dtype(f"u{_STORED.get(dtype, 1)}")
        if dtype in _PAIRS:
            kind = numpy.dtype(_PAIRS[dtype][0])
            shape = (*shape, 2)
    return numpy.frombuffer(buffer, kind).reshape(shape)
