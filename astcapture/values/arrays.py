"""Values as one NumPy array, or as a dask array whose chunks are read where they are worked on."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from astcapture.errors import CaptureError
from astcapture.store.reading import open_shard
from astcapture.values.record import Record
from astcapture.values.stored import StoredRecord

#: A chunk of values that are in memory has at most so many bytes; one of stored values is at most a shard.
_CHUNK = 32 * 2**20


def as_array(value: Any) -> Any:
    """A value as a NumPy array.

    What NumPy has no dtype for becomes the next that it has: bfloat16 and float8 float32.
    """
    import numpy

    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        value = value.detach().cpu().resolve_conj().resolve_neg()
        if value.dtype is torch.complex32:
            value = value.to(torch.complex64)
        elif value.is_floating_point() and value.dtype not in (torch.float16, torch.float32, torch.float64):
            value = value.to(torch.float32)
        return value.numpy()
    array = numpy.asarray(value)
    if array.dtype.hasobject:
        raise CaptureError(f"a value of type {type(value).__name__} is no array: select others, by label or layer")
    return array


def one_shape(records: Sequence[Record], what: str) -> tuple[int, ...]:
    """The shape that all have.

    Raises:
        CaptureError: there are none, or their shapes differ.
    """
    if not records:
        raise CaptureError(f"there is nothing {what}: these Records are empty")
    shapes = {record.form().shape or () for record in records}
    if len(shapes) > 1:
        listed = ", ".join(str(shape) for shape in sorted(shapes)[:4])
        raise CaptureError(f"values of different shapes do not stack ({listed}): select some, by label or layer")
    return next(iter(shapes))


def to_numpy(records: Sequence[Record]) -> Any:
    """See `Records.to_numpy`."""
    import numpy

    shape = one_shape(records, "to make an array of")
    first = as_array(records[0].value)
    result = numpy.empty((len(records), *shape), first.dtype)
    for index, record in enumerate(records):
        # One at a time, so that no more than one is in memory twice.
        array = as_array(record.value)
        if array.dtype != result.dtype:
            result = result.astype(numpy.result_type(result, array))
        result[index] = array
    return result


def to_dask(records: Sequence[Record]) -> Any:
    """See `Records.to_dask`."""
    try:
        dask, array = import_module("dask"), import_module("dask.array")
    except ImportError:
        raise CaptureError('to_dask() needs dask: pip install "astcapture[dask]"') from None
    shape = one_shape(records, "to make an array of")
    dtype = as_array(records[0].value).dtype
    chunks = []
    for path, indices, part in _runs(records):
        read = dask.delayed(_read)(path, indices, dtype) if path is not None else dask.delayed(_gather)(part, dtype)
        chunks.append(array.from_delayed(read, (len(indices), *shape), dtype))
    return array.concatenate(chunks)


def _runs(records: Sequence[Record]) -> list[tuple[Path | None, list[int], list[Any]]]:
    """The records in runs that make a chunk: of one shard, its path and which; in memory, their values."""
    runs: list[tuple[Path | None, list[int], list[Any]]] = []
    size = 0
    for record in records:
        stored = isinstance(record, StoredRecord)
        path = record._shard.path.resolve() if isinstance(record, StoredRecord) else None
        size += 0 if stored else record.form().nbytes
        if not runs or runs[-1][0] != path or size > _CHUNK:
            runs.append((path, [], []))
            size = 0
        runs[-1][1].append(record._index if isinstance(record, StoredRecord) else len(runs[-1][1]))
        if not stored:
            runs[-1][2].append(as_array(record.value))
    return runs


def _read(path: Path, indices: Sequence[int], dtype: Any) -> Any:
    """Runs where the chunk is worked on, which sees the folder under the same path."""
    shard = open_shard(path)
    return _gather([as_array(shard.value(index)) for index in indices], dtype)


def _gather(arrays: Sequence[Any], dtype: Any) -> Any:
    import numpy

    return numpy.stack(arrays).astype(dtype, copy=False)
