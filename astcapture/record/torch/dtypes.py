"""The dtypes in which floating-point values can be kept, by the names that torch and numpy share.

They are listed by name, so that a setting can be checked before either library is imported.
"""

from __future__ import annotations

import sys
from typing import Any

from astcapture.errors import CaptureError

FLOATING = (
    "float16", "bfloat16", "float32", "float64",
    "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu",
)  # fmt: skip
COMPLEX = ("complex32", "complex64", "complex128")
#: Other names for these dtypes; "float" and "double" are missing because they differ between the libraries.
_ALIASES = {
    "half": "float16", "bf16": "bfloat16", "fp16": "float16", "fp32": "float32", "fp64": "float64",
    "f2": "float16", "f4": "float32", "f8": "float64", "c8": "complex64", "c16": "complex128",
}  # fmt: skip


def read_dtype(where: str, value: Any) -> str | None:
    """The name of a dtype, given as a torch or numpy dtype or as a name.

    Raises:
        CaptureError: it is not a dtype for floating-point or complex values.

    >>> read_dtype("dtype='torch.half'", "torch.half")
    'float16'
    """
    if value is None:
        return None
    name = _name(value)
    name = _ALIASES.get(name, name)
    if name not in FLOATING + COMPLEX:
        raise CaptureError(f"{where}: {_why_not(name)}")
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "__version__") and not hasattr(torch, name):
        raise CaptureError(f"{where}: torch {torch.__version__} has no such dtype")
    return name


def _name(value: Any) -> str:
    if isinstance(value, str):
        return value.strip().removeprefix("torch.").removeprefix("numpy.").removeprefix("np.")
    if type(value).__module__.partition(".")[0] == "torch":
        return str(value).removeprefix("torch.")
    if isinstance(value, type):
        # numpy.float16 and Python's own, which both libraries read alike.
        return {"float": "float64", "complex": "complex128"}.get(value.__name__, value.__name__)
    name = getattr(value, "name", None)  # numpy.dtype
    return name if isinstance(name, str) else repr(value)


def _why_not(name: str) -> str:
    if name in ("float", "double", "complex"):
        return f'{name!r} means different dtypes in torch and numpy: write "float32" or "float64"'
    if name.startswith(("int", "uint", "bool")):
        return (
            "this dtype would truncate floating-point values: write a floating dtype, or convert them yourself, "
            "reduce=lambda attn: (attn * 255).byte()"
        )
    return f"write one of {', '.join(FLOATING[:4])}, a torch dtype or a numpy dtype"
