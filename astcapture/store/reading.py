"""Reads shards: the header at once, each array on access, and only data that is as it was written.

Files are not trusted. Every length is compared with the size of the file, the header and every array have a checksum,
and nothing is unpickled or evaluated.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from astcapture.errors import CaptureError
from astcapture.store.checksum import checksum
from astcapture.store.encode import array_forms, decode, decode_array, nbytes
from astcapture.store.header import Gradient, Group, Header, parse
from astcapture.store.maps import may_keep, metadata, opened
from astcapture.store.raw import Damaged, Form
from astcapture.store.shard import gradient_name, tensor_name
from astcapture.store.torch_arrays import bits as torch_bits

#: The limit of safetensors' own readers.
_LONGEST_HEADER = 100_000_000


class Shard:
    """One file of records.

    Attributes:
        path: the file.
        header: its header.
        size: the size of the file in bytes.
        start: the offset of its data in bytes.
    """

    def __init__(self, path: Path, header: Header, size: int, start: int) -> None:
        self.path = path
        self.header = header
        self.size = size
        self.start = start
        self._verified: set[str] = set()
        self._first_sum: Sequence[int] | None = None

    def __len__(self) -> int:
        return len(self.header)

    def __repr__(self) -> str:
        return f"<Shard {self.path}: {len(self)} records>"

    def __reduce__(self) -> tuple[Any, ...]:
        return open_shard, (self.path,)

    def group(self, index: int) -> Group:
        """The description of the record at `index`."""
        return self.header.groups[self.header.group[index]]

    def value(self, index: int) -> Any:
        """The value of the record at `index`: an array in the mapped file, or a value from JSON.

        Raises:
            Damaged: the file has changed since it was written.
        """
        group = self.group(index)
        name = tensor_name(*group.site[:3], group.layer, self.header.first + index)
        form, start = group.form, self._sum_of(index)
        with _told(self.path, name):
            if form[0] != "json":
                return self._array(name, form, self.header.sums[start])
            if index in self.header.values:
                tree = self.header.values[index]
            else:
                last = f"{name}/{form[1]}"
                tree = json.loads(bytes(self._bytes(last, None, self.header.sums[start + form[1]])))
            forms = array_forms(form, tree)
            arrays = [
                self._array(f"{name}/{part}", one, self.header.sums[start + part]) for part, one in enumerate(forms)
            ]
            return decode(tree, arrays)

    def bits(self, index: int) -> tuple[str, Any] | None:
        """The dtype and a NumPy array of the record at `index`, read without torch; None if it is not one array.

        What NumPy has no dtype for comes as its bits: bfloat16 as uint16, float8 as uint8.

        Raises:
            Damaged: the file has changed since it was written.
        """
        group = self.group(index)
        form = group.form
        if form[0] == "json":
            return None
        name = tensor_name(*group.site[:3], group.layer, self.header.first + index)
        with _told(self.path, name):
            buffer = self._bytes(name, nbytes(form), self.header.sums[self._sum_of(index)])
            return (
                (form[1], torch_bits(form[1], form[2], buffer))
                if form[0] == "torch"
                else (
                    "",
                    decode_array(form, buffer),
                )
            )

    def drop(self, index: int, share: float) -> None:
        """Give back the memory of the first part of a record, from 0 to 1; what reads it again reads the file."""
        name = tensor_name(*self.group(index).site[:3], self.group(index).layer, self.header.first + index)
        opened(self).drop(name, share)

    def gradient(self, gradient: Gradient, group: Group) -> Any:
        """The gradient of a record of `group`; the record may be in another shard."""
        name = gradient_name(tensor_name(*group.site[:3], group.layer, gradient.number))
        with _told(self.path, name):
            return self._array(name, gradient.form, gradient.sum)

    def verify(self) -> None:
        """Read everything.

        Raises:
            Damaged: something has changed since it was written.
        """
        for index in range(len(self)):
            self.value(index)

    def _sum_of(self, index: int) -> int:
        """The index of the first checksum of a record."""
        if self._first_sum is None:
            header = self.header
            several = [group.form[0] == "json" for group in header.groups]
            if any(several):
                counts = [
                    header.groups[group].form[1] + (number not in header.values) if several[group] else 1
                    for number, group in enumerate(header.group)
                ]
                self._first_sum = [0, *accumulate(counts)]
            else:
                self._first_sum = range(len(header))
        return self._first_sum[index]

    def _array(self, name: str, form: Form, expected: int) -> Any:
        return decode_array(form, self._bytes(name, nbytes(form), expected))

    def _bytes(self, name: str, length: int | None, expected: int) -> memoryview:
        mapped = opened(self)
        begin, end = mapped.offsets(name)
        if not 0 <= begin <= end <= self.size - self.start or (length is not None and end - begin != length):
            raise Damaged("its offsets in the file are invalid")
        data = memoryview(mapped.data)[self.start + begin : self.start + end]
        if name not in self._verified:
            if checksum(data) != expected:
                raise Damaged("its checksum does not match")
            self._verified.add(name)
        return data if may_keep() else memoryview(bytearray(data))


class _told:
    """Adds the file and the record to error messages."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, Damaged):
            raise Damaged(f"{self._path}: {self._name} is damaged: {error}") from None
        if isinstance(error, OSError):
            raise Damaged(f"{self._path}: {self._name} cannot be read: {error.strerror or error}") from None
        if isinstance(error, CaptureError):
            return  # torch is missing
        # Errors from parsing JSON of another structure.
        if isinstance(error, (ValueError, TypeError, LookupError, AttributeError, RecursionError, RuntimeError)):
            raise Damaged(f"{self._path}: {self._name} is damaged ({type(error).__name__}: {error})") from None


def open_shard(path: Path) -> Shard:
    """Read the header of a shard.

    Raises:
        Damaged: it has changed since it was written; the message does not name the file.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < 8:
            raise Damaged(f"it is only {size} bytes long")
        length = int.from_bytes(file.read(8), "little")
        if length > size - 8 or length > _LONGEST_HEADER:
            raise Damaged(f"its header should have {length:,} bytes, but the file has {size:,}")
        text = file.read(length)
    try:
        header = parse(metadata(text))
    except Damaged:
        raise
    except Exception as error:  # invalid JSON, or of another structure
        raise Damaged(f"its header cannot be read ({type(error).__name__}: {error!s:.80})") from None
    if header.nbytes != size - 8 - length:
        raise Damaged(f"it should have {header.nbytes:,} bytes of data, but has {size - 8 - length:,}")
    return Shard(path, header, size, 8 + length)
