"""The start-up file: when it switches capturing on, and that it is nobody's trouble otherwise."""

from __future__ import annotations

import shutil
import sys

import pytest

pytestmark = pytest.mark.slow

MODEL = """
from astcapture import capture

@capture("y")
def f(x):
    y = x + 1
    return y * 2
"""


@pytest.fixture
def model(tmp_path):
    (tmp_path / "model.py").write_text(MODEL)
    return tmp_path


@pytest.fixture
def own(installed, tmp_path):
    """A copy of the environment's site-packages to change, and a function to run Python with it alone."""
    venv = type(installed)(tmp_path / "venv")
    shutil.copytree(installed.folder, venv.folder, symlinks=True)
    return venv


def write(folder, text, name="script.py"):
    (folder / name).write_text(text)
    return name


def test_a_script_that_knows_nothing_of_it_is_captured(installed, model):
    script = write(model, "import model\nprint(model.f(1))")
    result = installed.run(script, cwd=model, ASTCAPTURE="model")
    assert result.stdout == "4\n"
    assert "model:f" in result.stderr


def test_without_the_variable_nothing_of_ours_is_imported(installed, tmp_path):
    code = "import sys; print([name for name in sys.modules if 'astcapture' in name], len(sys.meta_path))"
    plain = installed.run("-S", "-c", code)
    for environ in ({}, {"ASTCAPTURE": ""}, {"ASTCAPTURE_STORE": "x"}):
        result = installed.run("-c", code, **environ)
        assert result.stdout == plain.stdout
        assert result.stderr == ""


def test_a_configuration_file_alone_switches_it_on(installed, model):
    write(model, 'targets = ["model:f=x,y"]', "capture.toml")
    script = write(model, "import model\nmodel.f(1)")
    result = installed.run(script, cwd=model, ASTCAPTURE_CONFIG="capture.toml")
    assert result.stderr.count("model:f") == 2


def test_modules_run_with_dash_m_are_captured(installed, model):
    write(model, "import model\nmodel.f(1)")
    assert "model:f" in installed.run("-m", "script", cwd=model, ASTCAPTURE="model").stderr


def test_an_empty_run_says_that_it_is_empty(installed):
    assert "no function was rewritten" in installed.run("-c", "pass", ASTCAPTURE="model").stderr


def test_pitfall_38_a_start_up_file_that_runs_twice_activates_once(own, model):
    shutil.copy(own.site_packages / "astcapture.pth", own.site_packages / "astcapture_again.pth")
    script = write(model, "import model, sys\nmodel.f(1)\nprint([type(f).__name__ for f in sys.meta_path])")
    result = own.run(script, cwd=model, ASTCAPTURE="model")
    assert result.stdout.count("CaptureFinder") == 1
    assert result.stderr.count("model:f") == 1


def test_pitfall_39_a_start_up_file_left_behind_by_a_removed_package_is_silent(own):
    shutil.rmtree(own.site_packages / "astcapture")
    result = own.run("-c", "print('ran')", ASTCAPTURE="model")
    assert (result.stdout, result.stderr) == ("ran\n", "")


def test_pitfall_39_so_is_one_beside_the_bytecode_that_an_uninstall_left(own):
    for path in (own.site_packages / "astcapture").rglob("*"):
        if path.is_file():
            path.unlink()
    result = own.run("-c", "print('ran')", ASTCAPTURE="model")
    assert (result.stdout, result.stderr) == ("ran\n", "")


def test_pitfall_39_site_packages_that_cannot_be_written_to_work(own, model):
    # Bytecode that cannot be written: a file stands where its folder would be, which stops root as well.
    for folder in (own.site_packages / "astcapture", model):
        for cache in (folder, *(path for path in folder.rglob("*") if path.is_dir() and path.name != "__pycache__")):
            shutil.rmtree(cache / "__pycache__", ignore_errors=True)
            (cache / "__pycache__").write_text("")
    script = write(model, "import model\nprint(model.f(1))")
    result = own.run(script, cwd=model, ASTCAPTURE="model")
    assert result.stdout == "4\n"
    assert "model:f" in result.stderr
    assert "Error" not in result.stderr


def test_pitfall_41_the_launcher_needs_no_start_up_file(own, model):
    (own.site_packages / "astcapture.pth").unlink()
    script = write(model, "import model\nmodel.f(1)")
    result = own.run("-m", "astcapture", "run", "-c", "model", script, cwd=model)
    assert result.stderr.count("model:f") == 1


def test_the_start_up_file_warns_of_nothing_where_warnings_are_errors(installed, model):
    script = write(model, "import model\nmodel.f(1)")
    result = installed.run("-W", "error", "-X", "dev", script, cwd=model, ASTCAPTURE="model")
    _header, _dashes, row = result.stderr.splitlines()
    assert row.startswith("model:f")


@pytest.mark.skipif(sys.version_info < (3, 15), reason=".start files are of Python 3.15")
def test_pitfall_41_a_start_file_in_place_of_the_start_up_file_activates_as_that_does(own, model):
    # Beside it Python leaves out the line of the .pth file, as versions from 3.18 on always will.
    write(own.site_packages, "astcapture.imports.startup:activate\n", "astcapture.start")
    script = write(model, "import model, sys\nmodel.f(1)\nprint([type(f).__name__ for f in sys.meta_path])")
    result = own.run("-W", "error", script, cwd=model, ASTCAPTURE="model")
    assert result.stdout.count("CaptureFinder") == 1
    assert result.stderr.count("model:f") == 1
    for options in ((), ("-E",), ("-I",)):
        assert own.run(*options, "-c", "pass", **({"ASTCAPTURE": "model"} if options else {})).stderr == ""
    write(own.site_packages, "", "astcapture.start")
    assert own.run(script, cwd=model, ASTCAPTURE="model").stderr == ""


def test_a_start_up_file_and_the_launcher_together_activate_once(installed, model):
    script = write(model, "import model, sys\nmodel.f(1)\nprint([type(f).__name__ for f in sys.meta_path])")
    arguments = ("-m", "astcapture", "run", "-c", "model", script)
    result = installed.run(*arguments, cwd=model, ASTCAPTURE="model")
    assert result.stdout.count("CaptureFinder") == 1
    assert result.stderr.count("model:f") == 1


WORKERS = """
import multiprocessing, sys
import model

def work(x):
    import astcapture
    return model.f(x), sum(map(len, astcapture.cache.values()))

if __name__ == "__main__":
    with multiprocessing.get_context(sys.argv[1]).Pool(1) as pool:
        print(pool.map(work, [1]), flush=True)
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pitfall_42_worker_processes_are_captured(installed, model, method):
    result = installed.run(write(model, WORKERS), method, cwd=model, ASTCAPTURE="model")
    assert result.stdout == "[(4, 1)]\n"


def test_pitfall_42_a_program_started_by_the_program_is_captured_and_says_which_it_is(installed, model):
    write(model, "import model\nmodel.f(1)", "child.py")
    script = write(model, "import subprocess, sys\nsubprocess.run([sys.executable, 'child.py'])")
    result = installed.run(script, cwd=model, ASTCAPTURE="model")
    assert "astcapture: process " in result.stderr
    assert "nothing was captured in this process (those that it started report for themselves) for\n" in result.stderr
    assert result.stderr.count("model:f") == 1


def test_processes_in_which_nothing_was_captured_print_no_summary_but_the_first_does(installed, model):
    script = write(model, "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'pass'])\nimport model")
    result = installed.run(script, cwd=model, ASTCAPTURE="model")
    assert "astcapture: process" not in result.stderr
    assert result.stderr.count("model:f  ") == 1
    assert "no module model was imported" not in result.stderr


def test_a_fork_that_exits_prints_nothing_again(installed, model):
    script = write(model, "import model, os\nmodel.f(1)\nif pid := os.fork():\n    os.waitpid(pid, 0)\n")
    assert installed.run(script, cwd=model, ASTCAPTURE="model").stderr.count("model:f") == 1


FORKS = """
import model, multiprocessing
def work(x):
    return model.f(x)
if __name__ == "__main__":
    model.f(0)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        print(pool.map(work, [1, 2]))
        pool.close()
        pool.join()
"""


def test_a_fork_that_captures_sums_up_and_says_what_it_has_from_before(installed, model):
    result = installed.run(write(model, FORKS), cwd=model, ASTCAPTURE="model")
    assert result.stdout == "[4, 6]\n"
    fork, first = result.stderr.split("astcapture: process ")[1], result.stderr
    assert ", 1 of 3 values captured before its fork\nfunction " in fork
    assert first.count("model:f   y          3  int") == 1
    assert first.count("model:f   y          1  int") == 1


def test_the_summary_comes_after_the_traceback_and_what_the_program_prints_at_exit(installed, model):
    script = write(model, "import atexit, model, sys\natexit.register(print, 'bye', file=sys.stderr)\nmodel.f(None)")
    result = installed.run(script, cwd=model, ASTCAPTURE="model")
    assert result.returncode == 1
    places = [result.stderr.index(text) for text in ("Traceback", "TypeError", "bye", "model:f ")]
    assert places == sorted(places)


def test_a_program_that_closed_its_standard_error_is_left_alone(installed, model):
    script = write(model, "import model, sys\nmodel.f(1)\nsys.stderr.close()")
    result = installed.run(script, cwd=model, ASTCAPTURE="model")
    assert (result.returncode, result.stderr) == (0, "")


def test_a_wrong_target_is_told_in_one_line_and_the_program_runs(installed):
    result = installed.run("-c", "print('ran')", ASTCAPTURE="model.py")
    assert result.stdout == "ran\n"
    assert result.stderr.startswith("astcapture: target 'model.py': ")
    assert result.stderr.endswith("\nastcapture: the program runs without capturing\n")
    assert "Traceback" not in result.stderr


def test_a_wrong_target_stops_a_strict_run(installed):
    result = installed.run("-c", "print('ran')", ASTCAPTURE="model.py", ASTCAPTURE_STRICT="1")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("astcapture: target 'model.py': ")
    assert result.stderr.endswith("; ASTCAPTURE_STRICT is set, so the program does not run\n")


def test_a_wrong_switch_is_told_by_the_name_of_its_variable(installed):
    result = installed.run("-c", "print('ran')", ASTCAPTURE="model", ASTCAPTURE_STRICT="maybe")
    assert result.stdout == "ran\n"
    assert result.stderr == (
        "astcapture: ASTCAPTURE_STRICT='maybe' is neither on nor off: write 1 or 0\n"
        "astcapture: the program runs without capturing\n"
    )
