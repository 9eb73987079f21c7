"""Writes one shard: encodes values, writes them with safetensors under a temporary name, and renames the file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from astcapture.store.ahead import Prepared, prepare
from astcapture.store.checksum import checksum
from astcapture.store.encode import Encoded, encode
from astcapture.store.header import Entry, Gradient, header_text, metadata
from astcapture.store.raw import Raw, Refused

SUFFIX = ".safetensors"
#: Safetensors readers accept headers of up to 100 MB, in which the text is escaped.
_LONGEST_HEADER = 32_000_000


@dataclass(frozen=True)
class Refusal:
    """A value that was not stored, and why."""

    entry: Entry
    why: str


class TooLong(Exception):
    """The header would be too large: write fewer records at once."""


@dataclass(frozen=True)
class Written:
    """The result of writing a shard.

    Attributes:
        path: the file.
        count: how many records it contains.
        nbytes: the bytes of their arrays.
        refused: the entries that could not be stored.
    """

    path: Path
    count: int
    nbytes: int
    refused: Sequence[Refusal]


def write_shard(
    folder: Path,
    number: int,
    entries: Sequence[Entry],
    *,
    first: int,
    run: Mapping[str, Any],
    notes: Mapping[str, Any],
    gradients: Sequence[tuple[int, str, Any]] = (),
    prepared: Callable[[Entry], Prepared] = prepare,
) -> Written:
    """Write one shard. Its name is `number`, or the next number that is free.

    Args:
        folder: the folder of the process; created if it does not exist.
        entries: what to store, in order.
        first: the number of the first entry in the process.
        run, notes: further data for the header, as JSON types.
        gradients: gradients that arrived late: number of the record, its name in shards, value.
        prepared: returns the encoded value of an entry.

    Raises:
        OSError, safetensors.SafetensorError: it cannot be written; no file is left behind.
        TooLong: the header would be too large.
    """
    taken: list[tuple[Entry, Encoded]] = []
    refused: list[Refusal] = []
    tensors: dict[str, Raw] = {}
    sums: list[int] = []
    for entry in entries:
        encoded, own_sums, why = prepared(entry)
        if encoded is None:
            refused.append(Refusal(entry, why or ""))
            continue
        name = tensor_name(entry.module, entry.function, entry.label, entry.layer, first + len(taken))
        for part, raw in enumerate(encoded.arrays):
            tensors[name if encoded.form[0] != "json" else f"{name}/{part}"] = raw
        sums += own_sums
        taken.append((entry, encoded))
    found = []
    for record, name, value in gradients:
        try:
            raw = encode(value).arrays[0]
        except Refused:
            continue
        tensors[gradient_name(name)] = raw
        found.append(Gradient(record, raw.form, checksum(raw.buffer())))
    size = sum(raw.nbytes for raw in tensors.values())
    text = header_text(taken, sums, found, size, run, first, notes)
    if len(text) > _LONGEST_HEADER and len(entries) > 1:
        raise TooLong
    path = _write(folder, number, tensors, metadata(text))
    return Written(path, len(taken), size, refused)


def tensor_name(module: str, function: str, label: str, layer: str | None, number: int) -> str:
    """The name of a record's array in its shard."""
    name = f"{module}:{function}/{label}/{layer}/{number}" if layer else f"{module}:{function}/{label}/{number}"
    # A label may contain half a surrogate pair, which is not valid in a file.
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode()


def gradient_name(name: str) -> str:
    """The name of the gradient of the record with this name."""
    return f"{name}/grad"


def _write(folder: Path, number: int, tensors: Mapping[str, Raw], about: dict[str, str]) -> Path:
    from safetensors import serialize_file

    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{number:06}-{os.getpid()}.tmp"
    try:
        serialize_file(_specs(tensors), temporary, about)
        return _give_name(temporary, number)
    finally:
        temporary.unlink(missing_ok=True)


def _specs(tensors: Mapping[str, Raw]) -> dict[str, Any]:
    try:
        from safetensors import TensorSpec
    except ImportError:
        return {name: _before_08(raw) for name, raw in tensors.items()}
    return {
        name: TensorSpec(dtype=raw.dtype, shape=raw.shape, data_ptr=raw.address, data_len=raw.nbytes)
        for name, raw in tensors.items()
    }


#: Dtypes that safetensors supports since 0.4; for older releases they are stored as bytes.
_LATER = frozenset({"complex64", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"})


def _before_08(raw: Raw) -> dict[str, Any]:
    """An array as older releases accept it: with a copy of its bytes."""
    if raw.dtype in _LATER:
        raw = raw._replace(dtype="uint8", shape=(raw.nbytes,))
    return {"dtype": raw.dtype, "shape": raw.shape, "data": bytes(raw.buffer())}


def _give_name(temporary: Path, number: int) -> Path:
    """Rename a finished file atomically, without overwriting another."""
    while True:
        path = temporary.parent / f"{number:06}{SUFFIX}"
        try:
            os.link(temporary, path)
        except FileExistsError:
            number += 1
        except OSError:
            if not temporary.exists():
                raise
            # No hard links here. No other process writes to this folder, so checking first is enough.
            if path.exists():
                number += 1
                continue
            os.replace(temporary, path)
            return path
        else:
            return path


def next_number(folder: Path) -> int:
    """The number after the highest shard in the folder."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return 0
    numbers = [int(name[: -len(SUFFIX)]) for name in names if name.endswith(SUFFIX) and name[: -len(SUFFIX)].isdigit()]
    return max(numbers, default=-1) + 1
