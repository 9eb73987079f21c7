"""Converts NumPy arrays and scalars to bytes and back."""

from __future__ import annotations

import ast
import math
import sys
from collections.abc import Sequence
from typing import Any

from astcapture.record.kinds import is_a
from astcapture.store.raw import Damaged, Form, Raw, Refused

#: Dtypes that safetensors supports; all others are stored as bytes.
_STORED = frozenset(
    {
        "bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64",
        "float16", "float32", "float64", "complex64",
    }
)  # fmt: skip


def is_array(value: Any) -> bool:
    """Whether `value` is a NumPy array or one of NumPy's numbers."""
    numpy = sys.modules.get("numpy")
    kinds = getattr(numpy, "ndarray", None), getattr(numpy, "generic", None)
    return all(isinstance(kind, type) for kind in kinds) and is_a(value, kinds)  # type: ignore[arg-type]


def pack(value: Any) -> Raw:
    """The bytes of an array, copied only if they are not contiguous.

    The form has NumPy's name of the dtype (``float32``) or, if the name is not enough, the text of its description
    (``'<M8[s]'``, ``[('x', '<f4')]``).

    Raises:
        Refused: the array contains objects, or has data besides its numbers.
    """
    import numpy

    scalar = isinstance(value, numpy.generic)
    array = numpy.asarray(value)
    dtype = array.dtype
    if isinstance(value, numpy.ma.MaskedArray):
        raise Refused("a masked array: pass reduce=lambda array: array.filled(0) to store it")
    if dtype.hasobject:
        raise Refused(f"an array of Python objects (dtype {dtype})")
    name = dtype.name
    if name in _STORED and dtype.isnative:
        stored, shape = array, array.shape
    else:
        if dtype.isbuiltin == 2:
            raise Refused(f"an array of {name}, which is not one of NumPy's own dtypes")
        name = repr(numpy.lib.format.dtype_to_descr(dtype))
        if _dtype(name) != dtype:
            raise Refused(f"an array of dtype {dtype}, which NumPy cannot describe in full")
        stored, shape = array, (*array.shape, dtype.itemsize)
    contiguous = numpy.ascontiguousarray(stored)
    form: Form = ("numpy", name, array.shape, *(("scalar",) if scalar else ()))
    address = contiguous.__array_interface__["data"][0]
    return Raw(form, name if name in _STORED else "uint8", tuple(shape), address, contiguous.nbytes, contiguous)


def nbytes(dtype: str, shape: Sequence[int]) -> int:
    """The bytes of a stored array of this form."""
    return math.prod(shape) * int(_dtype(dtype).itemsize)


def _dtype(name: str) -> Any:
    import numpy

    try:
        return numpy.dtype(name) if name in _STORED else numpy.lib.format.descr_to_dtype(ast.literal_eval(name))
    except (TypeError, ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise Damaged(f"{name[:80]!r} describes no NumPy dtype ({error})") from None


def unpack(dtype: str, shape: Sequence[int], scalar: bool, buffer: memoryview) -> Any:
    """The array with these bytes, or the number if it was a scalar."""
    import numpy

    kind = _dtype(dtype)
    array = numpy.frombuffer(buffer, numpy.uint8).view(kind) if buffer.nbytes else numpy.empty(0, kind)
    array = array.reshape(shape)
    return array[()] if scalar else array
