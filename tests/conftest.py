"""What the tests share: installations of this very checkout, sample packages, interpreters of their own, clean imports."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from astcapture.imports import hook as hooks
from astcapture.imports import report
from astcapture.record import recorder, switch
from astcapture.targets import marker
from astcapture.values import cache as caches

PROJECT = Path(__file__).parents[1]
#: What a build needs; a copy of it, so that builds at the same time don't meet in one build folder.
SOURCES = ("astcapture", "astcapture.pth", "setup.py", "setup.cfg", "pyproject.toml", "MANIFEST.in", "LICENSE")


@dataclass(frozen=True)
class Venv:
    """A virtual environment, run by its own interpreter."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def site_packages(self) -> Path:
        return next(self.folder.glob("lib/python*/site-packages"))

    def run(self, *arguments: str, cwd: Path | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run its interpreter with `environ` added to an environment that has no ``ASTCAPTURE...`` in it."""
        return subprocess.run(
            [self.python, *arguments], cwd=cwd or self.folder, env=clean_environ() | environ, **CAPTURED
        )

    def pip(self, *arguments: str) -> None:
        # This pip, on that environment: a fresh one without pip is made ten times as fast.
        command = [sys.executable, "-m", "pip", "--python", self.python, *arguments]
        done = subprocess.run(command, cwd=self.folder, env=clean_environ(), **CAPTURED)
        assert done.returncode == 0, done.stderr


CAPTURED = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL}


def clean_environ() -> dict[str, str]:
    """The environment without what would change how a child Python starts."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("ASTCAPTURE", "PYTHON", "COVERAGE"))
    }


@pytest.fixture(scope="session")
def sources(tmp_path_factory) -> Path:
    """A copy of what the package is built from."""
    folder = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder)
    # The long description is no matter of theirs.
    (folder / "README.md").write_text("astcapture\n")
    return folder


@pytest.fixture(scope="session")
def wheel(sources, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build_wheel(sources, folder)
    return next(folder.glob("*.whl"))


def build_wheel(source: Path, folder: Path) -> None:
    """Build without a network: the backend is that of the test environment."""
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-index", "--no-build-isolation"]
    done = subprocess.run([*command, "-w", folder, source], env=clean_environ(), **CAPTURED)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def new_venv(tmp_path_factory) -> Callable[[], Venv]:
    def make() -> Venv:
        folder = tmp_path_factory.mktemp("venv")
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, env=clean_environ())
        return Venv(folder)

    return make


@pytest.fixture(scope="session")
def installed(new_venv, wheel) -> Venv:
    """An environment in which the wheel is installed; tests leave it as it is."""
    venv = new_venv()
    venv.pip("install", "--no-deps", "--no-index", str(wheel))
    return venv


# Sample packages, run here and in interpreters of their own.


@pytest.fixture
def make_package(tmp_path: Path) -> Callable[..., Path]:
    """Write files, given as a mapping from path to text, into the test's folder, which comes back."""

    def make(files: Mapping[str, str], folder: Path = tmp_path) -> Path:
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
        return folder

    return make


@pytest.fixture
def run_python(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a Python in the test's folder; one argument is a program, several are a command line.

    Its environment has nothing of ours and nothing of Python's, so bytecode is cached. A run that
    ends with another status than `status`, or lasts more than `timeout` seconds, fails the test.
    """

    def run(
        *arguments: str,
        env: Mapping[str, str] | None = None,
        status: int = 0,
        timeout: float = 60,
        cwd: Path = tmp_path,
    ) -> subprocess.CompletedProcess[str]:
        if len(arguments) == 1:
            arguments = ("-c", textwrap.dedent(arguments[0]))
        environ = {**clean_environ(), "PYTHONPATH": str(PROJECT), **(env or {})}
        done = subprocess.run([sys.executable, *arguments], cwd=cwd, env=environ, timeout=timeout, **CAPTURED)
        assert done.returncode == status, done.stdout + done.stderr
        return done

    return run


@pytest.fixture
def fresh_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Import from the test's folder, with bytecode caching on, and leave nothing installed, imported or captured.

    The value is a function that forgets the modules imported from that folder, for importing them again.
    """
    finder = hooks._finder
    meta_path, path_hooks, by_hook = sys.meta_path[:], sys.path_hooks[:], dict(finder.by_hook)
    installed, paused, notice = switch._installed, switch._paused, marker.notice
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    known = set(sys.modules)

    def forget() -> None:
        here = {path.name.partition(".")[0] for path in tmp_path.iterdir()}
        for name in set(sys.modules) - known:
            if name.partition(".")[0] in here:
                del sys.modules[name]

    yield forget
    sys.meta_path[:], sys.path_hooks[:] = meta_path, path_hooks
    finder.by_hook = by_hook
    finder.found.clear()
    report._asked.clear()
    marker.notice = notice
    switch._paused = paused
    switch.installed(installed - switch._installed)
    forget()
    sys.path_importer_cache.clear()
    caches.drain()
    caches._process.sinks[:] = [caches.cache]
    caches._process.declared.clear()
    caches._process.skipped.clear()
    caches.cache.clear()
