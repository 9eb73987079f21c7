"""Converts values to the contents of a shard and back: arrays as bytes, everything else as typed JSON.

In JSON, None, bools, strings, finite floats, ints of up to 64 bits and lists are stored directly. An object has one
key, which is its type: ``tuple``, ``dict``, ``size`` (a ``torch.Size``), ``int`` (hexadecimal), ``float`` (``nan``,
``inf``, ``-inf``), ``array`` (its number and form).
"""

from __future__ import annotations

import json
import math
import sys
from typing import Any, NamedTuple

from astcapture.store import numpy_arrays, torch_arrays
from astcapture.store.raw import Damaged, Form, Raw, Refused

#: The end of a message about a value that cannot be stored.
STORABLE = (
    "only tensors, arrays, None, numbers, strings, and lists, tuples and dicts of these can be stored: "
    "convert the value with reduce="
)

#: JSON longer than this is stored as an array of bytes, so that the header stays small.
_LONG = 2_000
#: The deepest nesting; deeper values most likely contain themselves.
_DEEP = 60


class Encoded(NamedTuple):
    """A value ready to be written: its form, its arrays, and its JSON in the header."""

    form: Form
    arrays: tuple[Raw, ...]
    text: str | None


def encode(value: Any) -> Encoded:
    """Take a value apart.

    Raises:
        Refused: it is or contains something that is neither an array nor plain data.
    """
    raw = _pack(value)
    if raw is not None:
        return Encoded(raw.form, (raw,), None)
    arrays: list[Raw] = []
    text: str | None = json.dumps(_tree(value, arrays, 0), separators=(",", ":"), allow_nan=False)
    form: Form = ("json", len(arrays))
    if text is not None and len(text) > _LONG:
        arrays.append(_bytes(text))
        text = None
    return Encoded(form, tuple(arrays), text)


def _pack(value: Any) -> Raw | None:
    if torch_arrays.is_tensor(value):
        return torch_arrays.pack(value)
    if numpy_arrays.is_array(value):
        return numpy_arrays.pack(value)
    return None


def _bytes(text: str) -> Raw:
    import numpy

    return numpy_arrays.pack(numpy.frombuffer(text.encode("ascii"), numpy.uint8))


def _tree(value: Any, arrays: list[Raw], depth: int) -> Any:
    kind = type(value)  # the exact type: data of a subclass would be lost
    if value is None or kind in (bool, str):
        return value
    if kind is int:
        return value if -(2**63) <= value < 2**63 else {"int": hex(value)}
    if kind is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if depth > _DEEP:
        raise Refused(f"a {kind.__name__} that contains itself, or is nested more than {_DEEP} levels deep")
    if kind is list:
        return [_tree(one, arrays, depth + 1) for one in value]
    if kind is tuple:
        return {"tuple": [_tree(one, arrays, depth + 1) for one in value]}
    if kind is dict:
        for key in value:
            if type(key) is not str:
                raise Refused(f"a dict with a key that is not a string, {key!r:.80}")
        return {"dict": {key: _tree(one, arrays, depth + 1) for key, one in value.items()}}
    raw = _pack(value)
    if raw is not None:
        arrays.append(raw)
        return {"array": [len(arrays) - 1, raw.form]}
    if kind is getattr(sys.modules.get("torch"), "Size", ()):
        return {"size": list(value)}
    raise Refused(f"a value of type {kind.__module__}.{kind.__qualname__}".replace(" builtins.", " "))


def array_forms(form: Form, tree: Any) -> list[Form]:
    """The forms of the arrays of a value, in order, without the array of long JSON.

    Raises:
        Damaged: the tree was not written by astcapture.
    """
    if form[0] != "json":
        return [form]
    found: dict[int, Form] = {}
    _collect(tree, found)
    if sorted(found) != list(range(form[1])):
        raise Damaged("a value refers to arrays that do not exist")
    return [found[number] for number in range(form[1])]


def _collect(tree: Any, found: dict[int, Form]) -> None:
    if isinstance(tree, list):
        for one in tree:
            _collect(one, found)
    elif isinstance(tree, dict):
        ((kind, content),) = tree.items()
        if kind == "array":
            found[content[0]] = content[1]
        elif kind == "dict":
            for one in content.values():
                _collect(one, found)
        elif kind == "tuple":
            _collect(content, found)


def nbytes(form: Form) -> int | None:
    """The bytes that an array of this form has in a shard; None if it is unknown."""
    library, dtype, shape = form[0], form[1], form[2]
    if library == "torch":
        return torch_arrays.nbytes(dtype, shape)
    return numpy_arrays.nbytes(dtype, shape)


def decode_array(form: Form, buffer: memoryview) -> Any:
    """The tensor or array of this form with the bytes of `buffer`."""
    if form[0] == "torch":
        return torch_arrays.unpack(form[1], form[2], buffer)
    return numpy_arrays.unpack(form[1], form[2], len(form) > 3, buffer)


def decode(tree: Any, arrays: list[Any]) -> Any:
    """The value that `encode` converted to this JSON.

    Raises:
        Damaged: the JSON was not written by astcapture.
    """
    if isinstance(tree, list):
        return [decode(one, arrays) for one in tree]
    if not isinstance(tree, dict):
        return tree
    ((kind, content),) = tree.items()
    if kind == "tuple":
        return tuple([decode(one, arrays) for one in content])
    if kind == "dict":
        return {key: decode(one, arrays) for key, one in content.items()}
    if kind == "array":
        return arrays[content[0]]
    if kind == "int":
        return int(content, 16)
    if kind == "float":
        return float(content)
    if kind == "size":
        size = getattr(sys.modules.get("torch"), "Size", tuple)
        return size(content)
    raise Damaged(f"unknown kind of value {kind[:40]!r}")
