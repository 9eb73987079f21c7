"""Copies of the project that mutants are written into, and the processes that run their tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

WORKER = Path(__file__).with_name("worker.py")
PARTS = ("astcapture", "benchmarks", "docs", "examples", "proof", "tests")


class Copy:
    """One copy of the project, and a worker process that runs the copy's tests on the copy's modules."""

    def __init__(self, root: Path, folder: Path, files: Sequence[str], lines: bool = False) -> None:
        self.folder = folder / "project"
        self.beside = folder
        self._seconds = count(1_000_000_000)
        self._files = files
        self._lines = lines
        shutil.rmtree(folder, ignore_errors=True)
        for path in _files_of(root):
            target = self.folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / path, target)
        self._process: subprocess.Popen[str] | None = None

    def run(
        self, files: Sequence[str], tests: Sequence[str] | None = None, seconds: float = 3600, stop: bool = True
    ) -> dict[str, Any]:
        """Run tests of the copy; see `worker` for what comes back."""
        if self._process is None:
            self._process = self._started()
        job = {
            "files": list(files),
            "tests": None if tests is None else list(tests),
            "seconds": seconds,
            "stop": stop,
            "answers": str(self.beside / "answers.jsonl"),
            "output": str(self.beside / "output.txt"),
            "folder": str(self.beside / "tests"),
        }
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def _started(self) -> subprocess.Popen[str]:
        environment = {name: text for name, text in os.environ.items() if not name.startswith("ASTCAPTURE")}
        environment |= {
            "PYTHONPATH": str(self.folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "OMP_NUM_THREADS": "1",
        }
        if self._lines:
            environment["LINES_THAT_RAN"] = str(self.beside / "lines.txt")
        # Bytecode of all that stays as it is, written once; of what is changed, see `changed`.
        subprocess.run([sys.executable, "-m", "compileall", "-q", "astcapture"], cwd=self.folder, check=True)
        where = subprocess.run(
            [sys.executable, "-c", "import astcapture; print(astcapture.__file__)"],
            cwd=self.beside,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        if not Path(where.strip()).is_relative_to(self.folder):
            raise RuntimeError(f"the copy's astcapture is not the one that is imported, but {where.strip()}")
        return subprocess.Popen(
            [sys.executable, str(WORKER), *self._files],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @contextmanager
    def changed(self, module: str, text: str) -> Iterator[None]:
        """The copy with another text of one module. No bytecode of another text passes for its own."""
        path = self.folder / module
        original = path.read_text(encoding="utf-8")
        self._write(path, text)
        try:
            yield
        finally:
            self._write(path, original)

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text, encoding="utf-8")
        # Bytecode is taken for a file's by its second and size: no two texts have the same second.
        second = next(self._seconds)
        os.utime(path, (second, second))
        for cached in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
            cached.unlink()

    def close(self) -> None:
        if self._process is not None:
            assert self._process.stdin is not None and self._process.stdout is not None
            self._process.stdin.close()
            self._process.wait()
            self._process.stdout.close()
            self._process = None

    def __enter__(self) -> Copy:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _files_of(root: Path) -> list[Path]:
    """The files that tests may read, from the project's root on."""
    files = [path for path in root.iterdir() if path.is_file()]
    for part in PARTS:
        files += [path for path in (root / part).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return [path.relative_to(root) for path in files]
