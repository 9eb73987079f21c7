"""The memory that values keep alive, in bytes.

A storage counts once, however many tensors share it, and in full, however small a view of it is kept. The contents of a
container count, and so do tensors that other objects refer to, if they are found within a few steps. A model does not
count, because the program keeps it alive anyway.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

from astcapture.record.containers import everything_in, values_in
from astcapture.record.deferred import held
from astcapture.record.references import tensors_behind
from astcapture.record.snapshot import BY_REFERENCE, is_array
from astcapture.record.torch.tensors import is_tensor

#: The bytes of one record besides its value: a tuple and a `Record`.
EVENT = 250
#: The assumed size of other objects: asking them for their size would run their code.
_OBJECT = 64
_SMALL = frozenset({type(None), bool, int, float})


class Scale:
    """Adds up the bytes of values, by device."""

    def __init__(self) -> None:
        self.bytes: Counter[str] = Counter({"cpu": 0})
        self._seen: set[tuple[str, int]] = set()

    def put(self, value: Any) -> None:
        """Add a value with everything it keeps alive."""
        if type(value) in _SMALL:  # most other objects: shared parts are not worth the check
            self.bytes["cpu"] += _OBJECT
            return
        try:
            for one in everything_in(held(value)):
                self._put_one(held(one))
        except Exception:
            # A class of tensors that cannot say where it keeps its data, or a container that another thread changes.
            self.bytes["cpu"] += _OBJECT

    def _put_one(self, value: Any) -> None:
        if is_tensor(value):
            self._put_tensor(value)
        elif is_array(value):
            self._put_array(value)
        elif self._first("object", id(value)):
            self.bytes["cpu"] += size_of(value)
            self.put_behind(value)

    def put_behind(self, value: Any) -> None:
        """Add the tensors that an object of some class refers to."""
        if type(value) not in BY_REFERENCE and not values_in(value):
            for tensor in tensors_behind(value):
                self._put_tensor(tensor)

    def _first(self, kind: str, identity: int) -> bool:
        known = (kind, identity) in self._seen
        self._seen.add((kind, identity))
        return not known

    def _put_tensor(self, tensor: Any) -> None:
        for part in parts_of(tensor):
            storage = part.untyped_storage()
            device = str(storage.device)
            if device != "meta" and self._first(device, storage._cdata):
                self.bytes[device] += storage.nbytes()

    def _put_array(self, array: Any) -> None:
        base = array
        while is_array(base.base):
            base = base.base
        if self._first("array", id(base)):
            self.bytes["cpu"] += max(base.nbytes, array.nbytes if base.base is None else size_of(base.base))


def parts_of(tensor: Any) -> list[Any]:
    """The dense tensors that a tensor consists of: itself, or those of a sparse, nested or wrapping one."""
    torch = sys.modules["torch"]
    layout = tensor.layout
    if layout is torch.sparse_coo:
        return [tensor._indices(), tensor._values()]
    if layout in (torch.sparse_csr, torch.sparse_bsr):
        return [tensor.crow_indices(), tensor.col_indices(), tensor.values()]
    if layout in (torch.sparse_csc, torch.sparse_bsc):
        return [tensor.ccol_indices(), tensor.row_indices(), tensor.values()]
    if hasattr(tensor, "__tensor_flatten__"):
        names, _ = tensor.__tensor_flatten__()
        return [part for name in names for part in parts_of(getattr(tensor, name))]
    return [tensor]


def size_of(value: Any) -> int:
    """The size of an object of the interpreter's own, the typical size of any other; of a container as if numbers
    alone were in it."""
    kind = type(value)
    if kind in BY_REFERENCE or kind is bytearray:
        return sys.getsizeof(value)
    if kind in _COUNTED:
        return sys.getsizeof(value) + _NUMBER * len(value)
    return _OBJECT + (16 + _NUMBER) * len(values_in(value))


#: Containers that can be asked for their size, which runs no code but the interpreter's.
_COUNTED = frozenset({list, tuple, dict, set, frozenset})
_NUMBER = 32


def whole_size(value: Any) -> int:
    """The bytes that one value keeps alive, including shared storages."""
    scale = Scale()
    scale.put(value)
    return sum(scale.bytes.values())


def rough_size(value: Any) -> int:
    """The approximate size of one value, ignoring what it shares with others."""
    value = held(value)
    if type(value) in BY_REFERENCE:
        return sys.getsizeof(value)
    if not values_in(value):
        return own_size(value)
    return sum(own_size(held(one)) for one in everything_in(value))


#: The tensors behind objects that are kept by reference: each counts for the first object alone.
_behind = Scale()


def forget_references() -> None:
    """Forget the counted references, since new objects may get the ids of released ones."""
    global _behind
    _behind = Scale()


def _size_behind(value: Any) -> int:
    if type(value) in BY_REFERENCE:
        return 0
    before = sum(_behind.bytes.values())
    _behind.put_behind(value)
    return sum(_behind.bytes.values()) - before


def own_size(value: Any) -> int:
    """The approximate size of a value without the contents of a container."""
    if not is_tensor(value):
        return int(value.nbytes) if is_array(value) else size_of(value) + _size_behind(value)
    try:
        return int(value.nbytes)
    except RecursionError:
        raise
    except RuntimeError:  # sparse tensors have no such attribute
        return sum(int(part.nbytes) for part in parts_of(value))
