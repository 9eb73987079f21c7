"""Captured values as NumPy arrays, one at a time: of a stored run no more than two values are in memory."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import pairwise
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astcapture.errors import CaptureError
from astcapture.store import maps
from astcapture.store.reading import Shard, open_shard
from astcapture.values.record import Record
from astcapture.values.stored import StoredRecord
from astcapture.view.scale import Floats

#: The bits of infinity in float16; those of NaN and of negative numbers are greater.
_HALF_INFINITY = 0x7C00
#: What the bits of float16, in the place of those of float32, are too small by; and the least number of float32.
_BIAS, _LEAST = np.float32(2.0**112), np.float32(1e-45)
#: A value of so many bytes is verified while the one before is worked on, and its memory is given back part by part.
_LARGE = 2**22
#: The value of a record that is no array of numbers.
NO_ARRAY = "is no array of numbers"


class Numbers:
    """An array of any real dtype, converted part by part.

    Attributes:
        shape: of the array.
    """

    def __init__(self, array: NDArray[Any], dtype: str = "") -> None:
        self._array = array
        self._dtype = dtype
        self.shape: tuple[int, ...] = array.shape

    def reshape(self, *shape: int) -> Numbers:
        """The same numbers in another shape."""
        return Numbers(self._array.reshape(shape), self._dtype)

    def __getitem__(self, index: Any) -> Floats:
        """A part as float32, or float64 where float32 has too few digits."""
        part = self._array[index]
        if self._dtype == "bfloat16":
            wide = part.astype(np.uint32)
            wide <<= np.uint32(16)
            return np.asarray(wide.view(np.float32))
        if part.dtype == np.float16:
            return _widened(part)
        if part.dtype == np.float32:
            return np.asarray(part)
        small = (
            (part.dtype.kind == "f" and part.dtype.itemsize < 4) or part.dtype.kind == "b" or part.dtype.itemsize == 1
        )
        return np.asarray(part.astype(np.float32 if small else np.float64))


def _widened(half: NDArray[np.float16]) -> Floats:
    """The same numbers as float32.

    NumPy converts float16 one number after the other. With its bits in the place of those of float32, a number is too
    small by a power of two, denormal ones as well; so it takes a tenth of the time.

    >>> _widened(np.array([0.5, 6e-8, 65504.0], np.float16)).tolist()
    [0.5, 5.960464477539063e-08, 65504.0]
    """
    bits = half.view(np.uint16)
    # A thread may take denormal numbers for zero: `torch.set_flush_denormal`.
    if bits.max(initial=0) >= _HALF_INFINITY or not _LEAST * _BIAS:
        return half.astype(np.float32)
    wide = bits.astype(np.uint32)
    wide <<= np.uint32(13)
    numbers: Floats = wide.view(np.float32)
    numbers *= _BIAS
    return numbers


class Reader:
    """Reads the values of records; of stored ones it has its own map of a shard, which it drops with the next one.

    Args:
        order: the records in the order in which they will be read, if that is known. Then a thread verifies the next
            large one while the caller works on the one before.
    """

    def __init__(self, order: Iterable[Record] = ()) -> None:
        self._next = {id(one): other for one, other in pairwise(order) if one is not other}
        self._shard: Shard | None = None
        self._read: StoredRecord | None = None
        self._ahead: tuple[Shard, Future[Any]] | None = None
        self._thread: ThreadPoolExecutor | None = None

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._thread.shutdown()
        if self._ahead is not None:
            maps.close(self._ahead[0])
        self._close()

    def read(self, record: Record) -> Numbers:
        """The value of a record.

        Raises:
            CaptureError: it is no array of numbers, or cannot be read; the message is the end of a sentence.
        """
        if isinstance(record, StoredRecord):
            found = self._stored(record)
            if found is not None:
                return found
        value = record.value
        return of_value(value)

    def drop(self, share: float) -> None:
        """Give back the memory of the first part of the value that was read last, from 0 to all of it at 1.

        Of one that is not large, nothing: finding it in its file would take longer than it is worth.
        """
        if self._shard is not None and self._read is not None:
            self._shard.drop(self._read.index, share)

    def _stored(self, record: StoredRecord) -> Numbers | None:
        shard, self._read = self._shard_of(record), record if _is_large(record) else None
        found = shard.bits(record.index)
        if found is None:
            raise CaptureError(NO_ARRAY)
        self._look_ahead(record)
        dtype, array = found
        if dtype.startswith("float8"):
            return None  # torch converts these
        return checked(array, dtype)

    def _shard_of(self, record: StoredRecord) -> Shard:
        path = record.shard.path
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            # Should it have failed, reading fails in the same way.
            wait([ahead[1]])
            if ahead[0] is not self._shard:
                self._close()
                self._shard = ahead[0]
        if self._shard is None or self._shard.path != path:
            self._close()
            try:
                self._shard = open_shard(path)
            except OSError as error:
                raise CaptureError(f"cannot be read: {error.strerror or error}") from None
        return self._shard

    def _look_ahead(self, record: StoredRecord) -> None:
        """Start to verify the value after this one."""
        following = self._next.get(id(record))
        if not isinstance(following, StoredRecord) or not _is_large(following):
            return
        shard = self._shard
        if shard is None or shard.path != following.shard.path:
            try:
                shard = open_shard(following.shard.path)
            except (OSError, CaptureError):
                return  # reading it will say so
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "astcapture-view-reads")
        self._ahead = shard, self._thread.submit(shard.bits, following.index)

    def _close(self) -> None:
        if self._shard is not None:
            maps.close(self._shard)
            self._shard = None


def _is_large(record: StoredRecord) -> bool:
    return record.form().nbytes >= _LARGE


def of_value(value: Any) -> Numbers:
    """The numbers of a tensor, an array, or what NumPy makes an array of.

    Raises:
        CaptureError: it is none; the message is the end of a sentence.
    """
    dtype = ""
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        tensor = value.detach().cpu()
        dtype = str(tensor.dtype).removeprefix("torch.")
        try:
            value = tensor.numpy()
        except (TypeError, RuntimeError):  # a dtype that NumPy lacks, or a lazy conjugation
            value, dtype = tensor.float().resolve_neg().numpy(), ""
    try:
        if np.ma.isMaskedArray(value):
            value = np.ma.filled(value.astype(np.float64), np.nan)
        array = np.asarray(value)
    except (ValueError, TypeError):
        raise CaptureError(NO_ARRAY) from None
    return checked(array, dtype)


def checked(array: NDArray[Any], dtype: str = "") -> Numbers:
    """The numbers of an array.

    Raises:
        CaptureError: it has no numbers, or complex ones.
    """
    if array.dtype.kind == "c" or dtype.startswith("complex"):
        raise CaptureError("has complex numbers: capture .abs(), .real or .imag")
    if array.dtype.kind not in "fiub":
        raise CaptureError(NO_ARRAY)
    if array.size == 0:
        raise CaptureError(f"is empty, of shape {array.shape}")
    if any(size > 2**31 for size in array.shape):
        raise CaptureError(f"is too large, of shape {array.shape}")
    return Numbers(array, dtype)
