"""A run that was streamed or saved to a folder, asked as the cache is."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from astcapture.errors import CaptureError
from astcapture.record.torch.bypassed import Live
from astcapture.store.raw import Damaged
from astcapture.store.reading import Shard, open_shard
from astcapture.store.shard import SUFFIX
from astcapture.values.captured import Captured
from astcapture.values.html import Summary, Table, counted
from astcapture.values.inventory import inventory
from astcapture.values.notes import Notes, merge, read
from astcapture.values.record import Record, in_cell
from astcapture.values.stored import Process, stored_records
from astcapture.values.summary import ALL_OF_IT, RIGHT, in_bytes, some, summarise
from astcapture.values.why_empty import WHY_NOT_CALLED, Facts, why_empty
from astcapture.warn import warn_at

#: Called with how many shards of how many are done.
Progress = Callable[[int, int], None]


@dataclass
class StoredProcess:
    """What one process stored.

    Attributes:
        name: of its folder: host, rank and number.
        shards: in the order in which they were written.
    """

    name: str
    shards: list[Shard] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.process = Process(lambda: self.shards)

    @property
    def about(self) -> dict[str, Any]:
        """What the process said of itself: versions, targets, command, when it started, host, rank, number."""
        return dict(self.shards[0].header.run)

    def notes(self) -> Notes:
        """What it said last besides its records."""
        for shard in reversed(self.shards):
            if shard.header.notes:
                return read(shard.header.notes)
        return Notes()


class Run(Captured):
    """What `load` gives: the mapping that ``astcapture.cache`` is, over a folder. Values are read when asked for.

    Processes come in the order of their ranks, and of one rank in the order in which they started; within a
    process records are in the order in which they were captured.

    Attributes:
        path: the folder.
        processes: what each process stored.
        damaged: the files that were left out, and why.
    """

    _nothing = "and neither is any other function: no process stored anything here"

    def __init__(self, path: Path, processes: Sequence[StoredProcess], damaged: dict[Path, str]) -> None:
        self.path = path
        self.processes = tuple(processes)
        self.damaged = damaged
        self._all_notes: Notes | None = None

    def _keys(self) -> list[str]:
        keys = dict.fromkeys(self.notes().declared)
        for one in self.processes:
            for shard in one.shards:
                keys.update(dict.fromkeys(group.key for group in shard.header.groups))
        return list(keys)

    def _found(self, key: str | None) -> list[Record]:
        return [
            record
            for one in self.processes
            for shard in one.shards
            for record in stored_records(shard, one.process, key)
        ]

    def notes(self) -> Notes:
        if self._all_notes is None:
            self._all_notes = merge(one.notes() for one in self.processes)
        return self._all_notes

    def summary(self, *, all: bool = False) -> Summary:  # noqa: A002
        summary = summarise(self._found(None), self.notes(), partial(self._why, live=Live()), everything=all)
        left_out = self._left_out()
        table = replace(summary.table, sentences=[*summary.table.sentences, *left_out])
        return Summary("\n".join([summary, *left_out]), table)

    def _left_out(self) -> list[str]:
        return [f"{path}: left out: {why}" for path, why in self.damaged.items()]

    def _why(self, key: str, label: str, live: Live) -> str:
        notes = self.notes()
        told = notes.why.get((key, label))
        if told is not None:
            return told
        missed, failed, error = notes.counts.get((key, label), (0, 0, None))
        facts = Facts(missed, failed, error, key in notes.fused)
        return why_empty(key, label, facts, live) if missed or failed else WHY_NOT_CALLED

    def __repr__(self) -> str:
        return f"<{self._in_words()}>"

    def _in_words(self) -> str:
        count = sum(len(shard) for one in self.processes for shard in one.shards)
        of = f"{counted(len(self), 'function')}, {counted(len(self.processes), 'process')}"
        return f"Run {self.path}: {counted(count, 'value')} of {of}"

    def _as_table(self) -> Table:
        # Counted from the headers: a record for each value would take seconds where there are a million.
        lines = inventory(self, by_cell=True)
        several = len({line.model for line in lines if line.model is not None}) > 1
        again = len({(line.key, line.cell) for line in lines}) > len({line.key for line in lines})
        header = (
            "function",
            "label",
            *["cell"] * again,
            *["model"] * several,
            "layer",
            "count",
            "shape",
            "dtype",
            "bytes",
        )
        rows = [
            (
                line.key,
                line.label,
                *["" if line.cell is None else in_cell(line.cell)] * again,
                *[line.model or ""] * several,
                line.layer or "",
                str(line.count),
                some([*map(str, line.shapes)]),
                some([*line.dtypes]),
                in_bytes(line.nbytes) if line.nbytes else "",
            )
            for line in lines
        ]
        return Table(header, rows, self._in_words(), RIGHT, self._left_out(), all_of_it=ALL_OF_IT)


def load(folder: str | os.PathLike[str], *, verify: bool = False) -> Run:
    """Open a folder that a run was streamed or saved to.

    Headers are read at once, values when they are asked for; each is verified then. A shard that is damaged
    is left out, named in a warning and in ``run.damaged``.

    Args:
        folder: the folder that was given as ``store=`` or to ``cache.save``.
        verify: read every value now, so that shards with a damaged value are left out as well.

    Raises:
        CaptureError: there is no such folder, or nothing of a run in it.

    >>> import tempfile
    >>> from astcapture import Cache
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Cache().save(folder)
    ...     len(load(folder).select(label="attn"))
    0
    """
    run = open_run(Path(folder), verify=verify)
    if run.damaged:
        first, why = next(iter(run.damaged.items()))
        more = f", and {len(run.damaged) - 1} more, see run.damaged" if len(run.damaged) > 1 else ""
        warn_at(f"{first} is left out: {why}{more}", stacklevel=2)
    return run


def open_run(path: Path, *, verify: bool = False, progress: Progress = lambda done, of: None) -> Run:
    """What `load` does, without the warning."""
    files = _shard_files(path)
    processes: dict[str, StoredProcess] = {}
    damaged: dict[Path, str] = {}
    for done, file in enumerate(files):
        progress(done, len(files))
        try:
            shard = open_shard(file)
            if verify:
                shard.verify()
        except Damaged as error:
            damaged[file] = str(error)
        except OSError as error:
            damaged[file] = error.strerror or str(error)
        else:
            processes.setdefault(file.parent.name, StoredProcess(file.parent.name)).shards.append(shard)
    progress(len(files), len(files))
    return Run(path, sorted(processes.values(), key=_order), damaged)


def _order(process: StoredProcess) -> tuple[int, str, str]:
    about = process.about
    rank = about.get("rank")
    return (rank if isinstance(rank, int) else 0, str(about.get("started")), process.name)


def _shard_files(path: Path) -> list[Path]:
    """The shards of a run, by process. What is a link, or is not a file, is none: nothing leads out of the folder."""
    try:
        folders = sorted(entry.path for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        raise CaptureError(f"there is no folder {str(path)!r}") from None
    except NotADirectoryError:
        raise CaptureError(f"{str(path)!r} is a file: name the folder that was given as store=") from None
    except OSError as error:
        raise CaptureError(f"the folder {str(path)!r} cannot be read: {error.strerror}") from None
    files = []
    for folder in folders:
        names = sorted(
            entry.name
            for entry in os.scandir(folder)
            if entry.name.endswith(SUFFIX) and not entry.name.startswith(".") and entry.is_file(follow_symlinks=False)
        )
        files += [Path(folder, name) for name in names]
    if not files:
        raise CaptureError(f"nothing was stored in {str(path)!r}: it has no folder with shards, NNNNNN{SUFFIX}")
    return files
