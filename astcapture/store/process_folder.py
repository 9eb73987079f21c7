"""The folder of one process: its name, the numbers of its shards, and failures to write."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from astcapture.errors import CaptureError
from astcapture.store.ahead import Prepared, prepare
from astcapture.store.header import Entry
from astcapture.store.rank import rank_of_process
from astcapture.store.shard import TooLong, Written, next_number, write_shard
from astcapture.version import __version__


class NotWritten(Exception):
    """A shard could not be written; the message is that of the operating system."""


def check_root(root: Path) -> None:
    """Create the folder of a run.

    Raises:
        CaptureError: it cannot be created or written to.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise CaptureError(f"the store {str(root)!r} is a file or inside a file: name a folder") from None
    except OSError as error:
        raise CaptureError(f"cannot create the store {str(root)!r}: {error.strerror}") from None
    except ValueError as error:
        raise CaptureError(f"the store {str(root)!r} is not a valid path: {error}") from None
    if not os.access(root, os.W_OK | os.X_OK):
        raise CaptureError(f"cannot write to the store {str(root)!r}: no permission")


class ProcessFolder:
    """The folder with the shards of this process.

    Attributes:
        root: the folder of the run.
        count, nbytes: how much has been stored.
        targets: what is captured, as text.
    """

    def __init__(self, root: Path, targets: Sequence[str] = ()) -> None:
        self.root = root
        self.count = 0
        self.nbytes = 0
        self.targets = list(targets)
        self.started = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        self._number: int | None = None
        self._path: Path | None = None

    @property
    def path(self) -> Path:
        """The folder; its name contains the rank at the first access."""
        if self._path is None:
            host = re.sub(r"[^A-Za-z0-9._-]", "_", platform.node())[:64].lstrip(".") or "host"
            self._path = self.root / f"{host}-{rank_of_process()}-{os.getpid()}"
        return self._path

    def write(
        self,
        entries: Sequence[Entry],
        notes: Mapping[str, Any],
        gradients: Sequence[tuple[int, str, Any]] = (),
        prepared: Callable[[Entry], Prepared] = prepare,
    ) -> list[Written]:
        """Write entries into a shard, or into several if one header would be too large; see `write_shard`.

        Raises:
            NotWritten: nothing of it could be written.
        """
        if self._number is None:
            self._number = next_number(self.path)
        try:
            written = write_shard(
                self.path,
                self._number,
                entries,
                first=self.count,
                run=self._about(),
                notes=notes,
                gradients=gradients,
                prepared=prepared,
            )
        except TooLong:
            half = len(entries) // 2
            return [*self.write(entries[:half], notes, gradients), *self.write(entries[half:], {})]
        except Exception as error:
            raise NotWritten(_reason(error)) from error
        self._number = int(written.path.stem) + 1
        self.count += written.count
        self.nbytes += written.nbytes
        return [written]

    def _about(self) -> dict[str, Any]:
        about: dict[str, Any] = {"astcapture": __version__, "python": platform.python_version()}
        for library in ("torch", "numpy"):
            version = getattr(sys.modules.get(library), "__version__", None)
            if version is not None:
                about[library] = str(version)
        about.update(
            targets=self.targets,
            command=list(getattr(sys, "orig_argv", sys.argv)),
            started=self.started,
            host=platform.node(),
            rank=rank_of_process(),
            pid=os.getpid(),
        )
        return about


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    # Errors of safetensors contain the message of the system.
    found = re.search(r"([A-Z][^:(]*) \(os error \d+\)", str(error))
    return found[1] if found else f"{type(error).__name__}: {error}"
