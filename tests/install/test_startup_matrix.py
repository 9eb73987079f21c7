"""Every way to start Python that docs/compatibility.md lists: does the variable switch capturing on, does the launcher?

Each row of the table there is run twice, once for each column, and what is captured is compared with the cell.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import zipapp
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "matrix"))
from compatibility_page import rows_under

pytestmark = pytest.mark.slow

ROWS = {row[0]: row[1:] for row in rows_under("Ways to start Python")}
LIBRARIES = "{libraries}"  # stands for where the libraries of the tests are

MODEL = "from astcapture import capture\n\n@capture('y')\ndef f(x):\n    y = x + 1\n    return y * 2\n"
# Options can keep a script's folder off the path.
BESIDE = "import os, sys\nsys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))\n"
SCRIPT = BESIDE + "import model\nprint(model.f(1))\n"
WORKERS = """
import multiprocessing
def work(x):
    import model
    return model.f(x)
if __name__ == "__main__":
    pool = multiprocessing.get_context("{method}").Pool(1)
    print(*pool.map(work, [1]))
    pool.close()
    pool.join()
"""
SUBPROCESS = "import subprocess, sys\nsubprocess.run([sys.executable, 'script.py'], check=True{more})\n"
NOTEBOOK = """
import nbclient, nbformat
cell = nbformat.v4.new_code_cell("import model\\nprint(model.f(1))\\nimport astcapture\\nprint(dict(astcapture.cache))")
client = nbclient.NotebookClient(nbformat.v4.new_notebook(cells=[cell]), kernel_name="python3", timeout=60)
print(client.execute().cells[0].outputs[0].text)
"""
PYTEST = "import model\ndef test_it():\n    assert model.f(1) == 4\n"
IS_CAPTURED = re.compile(r"^model:f +y +1 +int$|'model:f': <Records: 1\b", re.MULTILINE)


@dataclass(frozen=True)
class Start:
    """A way to start Python: options of the interpreter, what it runs, and the files of the program."""

    options: tuple[str, ...] = ()
    program: tuple[str, ...] = ("script.py",)
    files: Mapping[str, str] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    #: The fixture that is the virtual environment, and what has to be set for it.
    where: str = "ordinary"


STARTS = {
    "script in a virtual environment, installed from a wheel": Start(),
    "script in a virtual environment, editable install": Start(where="editable"),
    "virtual environment with --system-site-packages, astcapture installed outside of it": Start(where="inheriting"),
    "virtual environment with --system-site-packages and -s, astcapture in the user's site-packages": Start(
        ("-s",), where="inheriting"
    ),
    "virtual environment without --system-site-packages, astcapture installed outside of it": Start(where="secluded"),
    "zipapp, the modules to capture are outside of it": Start(program=("outside.pyz",)),
    "zipapp, the modules to capture are inside": Start(program=("inside.pyz",)),
    "python -m": Start(program=("-m", "script")),
    "python -c": Start(program=("-c", "import model; print(model.f(1))")),
    "python -E": Start(("-E",)),
    "python -I": Start(("-I",)),
    "python -S": Start(("-S",), environ={"PYTHONPATH": "{site}"}),
    "python -s": Start(("-s",)),
    "python -P": Start(("-P",)),
    "python -O": Start(("-O",)),
    "python -OO": Start(("-OO",)),
    "subprocess": Start(program=("parent.py",), files={"parent.py": SUBPROCESS.format(more="")}),
    "subprocess with env={}": Start(program=("parent.py",), files={"parent.py": SUBPROCESS.format(more=", env={}")}),
    **{
        f"multiprocessing, {method}": Start(
            program=("workers.py",), files={"workers.py": WORKERS.format(method=method)}
        )
        for method in ("fork", "spawn", "forkserver")
    },
    "pytest": Start(
        program=("-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "test_it.py"),
        files={"test_it.py": PYTEST},
        environ={"PYTHONPATH": LIBRARIES},
    ),
    "pytest-xdist workers": Start(
        program=("-m", "pytest", "-q", "-n1", "-p", "xdist", "-p", "no:cacheprovider", "test_it.py"),
        files={"test_it.py": PYTEST},
        environ={"PYTHONPATH": LIBRARIES, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    ),
    "Jupyter kernel": Start(
        program=("notebook.py",), files={"notebook.py": NOTEBOOK}, environ={"PYTHONPATH": LIBRARIES}
    ),
}
#: The rows whose tests stand elsewhere, since they need torch.
ELSEWHERE = {"torchrun": "test_startup_torchrun.py"}


@pytest.fixture(scope="session")
def ordinary(installed):
    return installed, {}


@pytest.fixture(scope="session")
def editable(new_venv, sources, tmp_path_factory):
    folder = tmp_path_factory.mktemp("editable")
    code = f"from setuptools import build_meta; build_meta.build_editable({str(folder)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=sources, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    venv = new_venv()
    venv.pip("install", "--no-deps", "--no-index", str(next(folder.iterdir())))
    link_command_line(venv.site_packages)
    return venv, {}


@pytest.fixture(scope="session")
def outside(wheel, tmp_path_factory) -> dict[str, str]:
    """An installation outside of any virtual environment: in the user's site-packages, under a base of our own."""
    base = tmp_path_factory.mktemp("user")
    site_packages = base / "lib" / "python{}.{}".format(*sys.version_info) / "site-packages"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site_packages)
    link_command_line(site_packages)
    return {"PYTHONUSERBASE": str(base)}


@pytest.fixture(scope="session")
def inheriting(new_venv, outside):
    venv = new_venv()
    settings = venv.folder / "pyvenv.cfg"
    text = settings.read_text().replace("include-system-site-packages = false", "include-system-site-packages = true")
    settings.write_text(text)
    return venv, outside


@pytest.fixture(scope="session")
def secluded(new_venv, outside):
    return new_venv(), outside


def link_command_line(site_packages: Path) -> None:
    for name in ("click", "tomli"):
        if spec := importlib.util.find_spec(name):
            (site_packages / name).symlink_to(Path(spec.origin).parent)


@pytest.fixture
def captures(request, tmp_path) -> Callable[..., tuple[str, subprocess.CompletedProcess[str]]]:
    """Start Python in one way and say, in the words of the table, whether the model was captured."""

    def run(start: Start, launched: bool) -> tuple[str, subprocess.CompletedProcess[str]]:
        folder = tmp_path / ("launched" if launched else "plain")
        write_program(folder, start.files)
        venv, environ = request.getfixturevalue(start.where)
        libraries = Path(importlib.util.find_spec("pytest").origin).parents[1]
        for name, value in start.environ.items():
            environ = {**environ, name: value.format(site=venv.site_packages, libraries=libraries)}
        how = ("-m", "astcapture", "run", "-c", "model") if launched else ()
        if not launched:
            environ = {**environ, "ASTCAPTURE": "model"}
        done = venv.run(*start.options, *how, *start.program, cwd=folder, **environ)
        if IS_CAPTURED.search(done.stdout + done.stderr):
            return "yes", done
        return ("warned" if "model is imported without captures" in done.stderr else "no"), done

    return run


def write_program(folder: Path, files: Mapping[str, str]) -> None:
    folder.mkdir()
    for name, text in {"model.py": MODEL, "script.py": SCRIPT, **files}.items():
        (folder / name).write_text(text)
    for name, inside in (("outside", ()), ("inside", ("model.py",))):
        (folder / name).mkdir()
        (folder / name / "__main__.py").write_text("import model\nprint(model.f(1))\n" if inside else SCRIPT)
        for file in inside:
            (folder / name / file).write_text(MODEL)
        zipapp.create_archive(folder / name, folder / f"{name}.pyz")


OPTIONS = [name for name in STARTS if re.fullmatch("python -[A-Z]+|python -s", name)]
WORKING = [name for name in STARTS if name.startswith(("subprocess", "multiprocessing"))]


@pytest.mark.parametrize("name", OPTIONS)
def test_pitfall_40_options_that_ignore_the_environment_or_site_keep_it_off(captures, name):
    if name == "python -P" and sys.version_info < (3, 11):
        pytest.skip("-P came with Python 3.11")
    captures_as_the_page_says(captures, name)


@pytest.mark.parametrize("name", WORKING)
def test_pitfall_42_processes_of_the_program_are_captured_and_say_so(captures, name):
    captures_as_the_page_says(captures, name)


@pytest.mark.parametrize("name", [name for name in STARTS if name not in (*OPTIONS, *WORKING)])
def test_what_activates_and_what_does_not_is_what_the_page_says(captures, name):
    if name == "Jupyter kernel":
        pytest.importorskip("nbclient")
    captures_as_the_page_says(captures, name)


def captures_as_the_page_says(captures, name: str) -> None:
    for cell, launched in zip(ROWS[name], (False, True), strict=True):
        if cell == "—":
            continue
        found, done = captures(STARTS[name], launched)
        assert found == cell.partition(":")[0].partition(",")[0], (cell, done.stdout, done.stderr)
        installed_nowhere = "No module named" in done.stderr
        assert installed_nowhere == (cell == "no: it is not installed there"), done.stderr
        if not installed_nowhere:
            assert done.returncode == 0, done.stderr
            assert "4" in done.stdout or name.startswith("pytest")
        if found == "no" and not installed_nowhere and not name.startswith("subprocess"):
            assert done.stderr == ""


def test_every_row_of_the_page_is_tested_and_every_test_has_its_row():
    assert set(ROWS) == set(STARTS) | set(ELSEWHERE)
    for name, file in ELSEWHERE.items():
        assert repr(name).strip("'") in (Path(__file__).parents[1] / "torch" / file).read_text(encoding="utf-8")


def test_a_zipapp_that_carries_the_package_captures_by_its_own_install(new_venv, tmp_path, wheel):
    write_program(tmp_path / "program", {})
    app = tmp_path / "app"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(app)
    (app / "__main__.py").write_text(
        BESIDE + "import astcapture\nhook = astcapture.install(['model'])\nimport model\nmodel.f(1)\n"
        "print(list(astcapture.cache['f']), astcapture.__file__)\nhook.uninstall()\n"
    )
    zipapp.create_archive(app, tmp_path / "program" / "app.pyz")
    done = new_venv().run("app.pyz", cwd=tmp_path / "program")
    assert (done.stdout, done.stderr) == (
        f"[2] {tmp_path / 'program' / 'app.pyz' / 'astcapture' / '__init__.py'}\n",
        "",
    )
