"""``cache.save``: values in memory written to a folder at once, in this thread."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from astcapture.errors import CaptureError
from astcapture.store.encode import STORABLE
from astcapture.store.process_folder import NotWritten, ProcessFolder, check_root
from astcapture.values.gradients import gradients_of
from astcapture.values.notes import Notes
from astcapture.values.record import Record
from astcapture.warn import warn_at

#: As in streaming.
_FULL, _MOST = 32 * 2**20, 4096


def save(records: Sequence[Record], notes: Notes, folder: str | os.PathLike[str]) -> None:
    """Write the records of a mapping to a folder, and what is known besides; see `Captured.save`."""
    root = Path(os.path.abspath(folder))
    check_root(root)
    process = ProcessFolder(root)
    refused: list[str] = []
    batches = _batches(records) or [()]
    for number, batch in enumerate(batches):
        told = notes.plain() if number == len(batches) - 1 else {}
        try:
            for written in process.write(batch, told, gradients_of(batch, process.count)):
                refused += [
                    f"{one.entry.module}:{one.entry.function}: {one.entry.label!r}: {one.why}"
                    for one in written.refused
                ]
        except NotWritten as error:
            raise CaptureError(f"save({str(folder)!r}): the folder cannot be written to: {error}") from None
    if refused:
        warn_at(
            f"{len(refused)} of {len(records)} values are not saved, the first of them {refused[0]}; {STORABLE}",
            stacklevel=3,
        )


def _batches(records: Sequence[Record]) -> list[Sequence[Record]]:
    batches: list[Sequence[Record]] = []
    start = size = 0
    for index, record in enumerate(records):
        size += record.form().nbytes
        if size >= _FULL or index + 1 - start >= _MOST:
            batches.append(records[start : index + 1])
            start, size = index + 1, 0
    return [*batches, records[start:]] if start < len(records) else batches
