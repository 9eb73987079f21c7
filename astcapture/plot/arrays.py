"""Whatever was captured, as a float NumPy array. Torch is not imported: its tensors are known by what they can do."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astcapture.values.record import Record
from astcapture.values.records import Records

#: A float32 or float64 array.
FloatArray = NDArray[np.floating[Any]]

#: What the functions of `astcapture.plot` accept in place of an array.
Plottable = ArrayLike | Records | Record


def as_array(values: Plottable) -> FloatArray:
    """Return `values` as a NumPy array of float32 or float64, whatever its shape.

    Args:
        values: a torch tensor on any device and of any real type (bfloat16 and tensors that
            require a gradient included), anything that NumPy takes, `Records` of one value, or a `Record`.
            A masked array's masked entries become NaN.

    Raises:
        ValueError: `Records` that hold no value or more than one, complex numbers, or values
            that are not numbers.

    >>> as_array([[1, 0], [0, 1]]).dtype
    dtype('float64')
    """
    given: Any = only_record(values) if isinstance(values, Records) else values
    if isinstance(given, Record):
        given = given.value
    if hasattr(given, "detach") and hasattr(given, "cpu"):
        given = _tensor_to_numpy(given)
    try:
        array = given if np.ma.isMaskedArray(given) else np.asarray(given)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"cannot draw this {type(given).__name__}: it is not an array of numbers ({error})") from error
    if array.dtype.kind == "c":
        raise ValueError(f"cannot draw complex numbers (shape {array.shape}): pass .real, .imag or abs(...)")
    if array.dtype.kind in "OSUMm":
        raise ValueError(f"cannot draw {type(given).__name__} (dtype {array.dtype}): it is not an array of numbers")
    # Half precision has too few digits for means and colour ranges.
    array = array.astype(np.float32 if array.dtype.kind == "f" and array.itemsize < 8 else np.float64, copy=False)
    filled: FloatArray = np.ma.filled(array, np.nan)
    return filled


def only_record(records: Records) -> Record:
    """Return the record of `Records` that hold one.

    Raises:
        ValueError: they hold none, or several.
    """
    if len(records) == 1:
        return records.records[0]
    if len(records) == 0:
        raise ValueError(f"there is nothing to draw: {why_none(records)}")
    raise ValueError(
        f"the Records hold {len(records)} values and one is drawn: pick one, records[0] to records[{len(records) - 1}]"
        ", or with all that is known of it, records.records[0]"
    )


def why_none(records: Records) -> str:
    """Say why `Records` without a value have none.

    >>> why_none(Records())
    'the Records hold no value'
    """
    return records.why_empty() or "the Records hold no value"


def _tensor_to_numpy(tensor: Any) -> Any:
    tensor = tensor.detach().cpu()
    try:
        return tensor.numpy()
    except (TypeError, RuntimeError):  # types that NumPy lacks (bfloat16, float8), lazy negation or conjugation
        return tensor.float().resolve_neg().numpy()
