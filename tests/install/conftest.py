"""Installations to test with: a wheel of this very checkout, and environments that hold it and nothing else."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
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
        return self.folder / "lib" / "python{}.{}".format(*sys.version_info) / "site-packages"

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
    """An environment in which the wheel is installed; tests leave it as it is.

    What the command line needs is linked from the environment that runs the tests.
    """
    venv = new_venv()
    venv.pip("install", "--no-deps", "--no-index", str(wheel))
    for name in ("click", "tomli"):
        if spec := importlib.util.find_spec(name):
            (venv.site_packages / name).symlink_to(Path(spec.origin).parent)
    return venv
