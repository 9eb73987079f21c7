"""What is built and installed: the whole package, and the start-up file beside it, in every kind of install."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[2]
START_UP_FILE = "astcapture.pth"
ACTIVE = "import sys; print('astcapture.imports.startup' in sys.modules)"


def build(sources: Path, hook: str, folder: Path, settings: dict[str, str] | None = None) -> Path:
    """Call a hook of the build backend, as pip and build do."""
    code = f"from setuptools import build_meta; build_meta.{hook}({str(folder)!r}, {settings!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=sources, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next(folder.iterdir())


def record(venv) -> list[str]:
    """The paths that an uninstall removes."""
    (path,) = venv.site_packages.glob("astcapture-*.dist-info/RECORD")
    return [line.partition(",")[0] for line in path.read_text().splitlines()]


def assert_installs_and_uninstalls(venv, wheel: Path) -> None:
    venv.pip("install", "--no-deps", "--no-index", str(wheel))
    assert START_UP_FILE in record(venv)
    assert venv.run("-W", "ignore", "-c", ACTIVE, ASTCAPTURE="model").stdout == "True\n"
    venv.pip("uninstall", "--yes", "astcapture")
    assert not list(venv.site_packages.glob("*astcapture*"))


def test_pitfall_39_a_wheel_installs_the_start_up_file_and_an_uninstall_removes_it(wheel, new_venv):
    assert_installs_and_uninstalls(new_venv(), wheel)


@pytest.mark.parametrize("mode", ["lenient", "strict", "compat"])
def test_pitfall_39_so_does_an_editable_install(sources, new_venv, tmp_path, mode):
    assert_installs_and_uninstalls(new_venv(), build(sources, "build_editable", tmp_path, {"editable_mode": mode}))


def test_pitfall_39_so_does_a_wheel_built_from_the_sdist(sources, new_venv, tmp_path):
    (tmp_path / "sdist").mkdir()
    (tmp_path / "wheel").mkdir()
    with tarfile.open(build(sources, "build_sdist", tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.glob("astcapture-*")
    assert_installs_and_uninstalls(new_venv(), build(unpacked, "build_wheel", tmp_path / "wheel"))


def test_the_start_up_file_is_read_after_the_one_that_makes_an_editable_package_importable():
    names = ["__editable__.astcapture-0.1.0.pth", START_UP_FILE]
    assert sorted(names) == names


def test_the_start_up_file_is_one_line_that_interpreters_run():
    (line,) = (PROJECT / START_UP_FILE).read_text(encoding="ascii").splitlines()
    assert line.startswith("import ")


def test_a_wheel_holds_every_file_of_the_package(wheel):
    with zipfile.ZipFile(wheel) as archive:
        built = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = {str(path.relative_to(PROJECT)) for path in (PROJECT / "astcapture").rglob("*.py")}
    data = {"astcapture/py.typed", "astcapture/targets/recipes.toml", "astcapture/plot/paper.mplstyle"}
    data |= {str(path.relative_to(PROJECT)) for path in (PROJECT / "astcapture" / "view" / "web").iterdir()}
    assert built == files | data | {START_UP_FILE}


def test_the_version_of_the_package_is_the_version_of_the_wheel(wheel):
    import astcapture

    assert wheel.name.split("-")[1] == astcapture.__version__


def test_every_requirement_has_its_version_in_the_constraints():
    setup = configparser.ConfigParser()
    setup.read(PROJECT / "setup.cfg", encoding="utf-8")
    extras = setup["options.extras_require"]
    listed = [setup["options"]["install_requires"], *(extras[name] for name in extras if name not in ("dev", "dask"))]
    required = {_name(line) for lines in listed for line in lines.splitlines() if line.strip()} - {"astcapture"}
    constraints = (PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {_name(line) for line in constraints if line.strip() and not line.startswith("#")}
    assert required
    assert not required - pinned


def _name(requirement: str) -> str:
    match = re.match(r"\s*([\w.-]+)", requirement)
    assert match, requirement
    return match[1].lower().replace("_", "-")
