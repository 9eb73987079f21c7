"""A launched program sees what it would see under ``python SCRIPT``: each test runs it both ways and compares."""

from __future__ import annotations

import os
import py_compile
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

DRIVER = """
import sys
from astcapture.imports.launcher import run_script
module = sys.argv[1] == "-m"
run_script(sys.argv[1 + module:], module=module)
"""
SHOW_START = """
import sys
print(sys.argv, sys.path)
print(sorted((name, repr(value).partition(" at 0x")[0]) for name, value in globals().items()))
print(sys.modules["__main__"].__dict__ is globals())
"""


@pytest.fixture
def compare(tmp_path):
    """Run a command line plainly and launched, check that all that can be seen is equal, and return it."""
    driver = tmp_path / "driver" / "driver.py"
    driver.parent.mkdir()
    driver.write_text(DRIVER)

    def run(*arguments: str, options: tuple[str, ...] = (), cwd: Path = tmp_path) -> subprocess.CompletedProcess[str]:
        plain, launched = (
            subprocess.run([sys.executable, *options, *start, *arguments], cwd=cwd, capture_output=True, text=True)
            for start in ((), (str(driver),))
        )
        assert (launched.stdout, launched.stderr) == (plain.stdout, plain.stderr)
        assert launched.returncode == plain.returncode
        return launched

    return run


@pytest.fixture
def script(tmp_path):
    def write(text: str, name: str = "script.py", encoding: str = "utf-8") -> str:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding=encoding)
        return name

    return write


def test_pitfall_43_a_launched_script_sees_the_arguments_path_and_main_of_a_plain_one(compare, script):
    result = compare(script(SHOW_START), "--its", "--own=arguments", "--", "-c", "x")
    assert "['script.py', '--its', '--own=arguments', '--', '-c', 'x']" in result.stdout


def test_a_script_in_another_folder_finds_its_neighbours(compare, script):
    script("print(__name__)", "folder/neighbour.py")
    assert compare(script("import neighbour", "folder/script.py")).stdout == "neighbour\n"
    compare(script(SHOW_START, "folder/script.py"))
    compare("folder/../folder/script.py")


def test_a_link_to_a_script_finds_the_neighbours_of_the_script(compare, script, tmp_path):
    script("", "folder/neighbour.py")
    script("import neighbour" + SHOW_START, "folder/script.py")
    (tmp_path / "link.py").symlink_to("folder/script.py")
    compare("link.py")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="-P came with Python 3.11")
def test_the_option_that_keeps_the_scripts_folder_off_the_path_is_honoured(compare, script):
    compare(script(SHOW_START), options=("-P",))


def test_isolated_mode_keeps_the_scripts_folder_off_the_path(compare, script):
    compare(script(SHOW_START), options=("-I",))


def test_a_module_runs_as_after_dash_m(compare, script):
    script("print('parent', __import__('sys').argv)", "package/__init__.py")
    script(SHOW_START, "package/__main__.py")
    script(SHOW_START + "\n1 / 0", "package/part.py")
    compare("-m", "package", "x", "-m")
    assert "ZeroDivisionError" in compare("-m", "package.part").stderr


def test_a_module_that_is_not_there_is_told_as_python_tells_it(compare):
    assert "No module named nowhere_at_all" in compare("-m", "nowhere_at_all").stderr


def test_a_folder_and_a_zip_file_with_a_main_run(compare, script, tmp_path):
    script(SHOW_START + "\nimport neighbour", "folder/__main__.py")
    script("1 / 0", "folder/neighbour.py")
    with zipfile.ZipFile(tmp_path / "program.zip", "w") as archive:
        for name in ("__main__.py", "neighbour.py"):
            archive.write(tmp_path / "folder" / name, name)
    for program in ("folder", "program.zip"):
        assert "ZeroDivisionError" in compare(program, "x").stderr
        compare(program, "x", options=("-I",))


def test_a_compiled_script_runs(compare, script, tmp_path):
    py_compile.compile(str(tmp_path / script(SHOW_START)), str(tmp_path / "compiled.pyc"))
    compare("compiled.pyc", "x")


def test_a_script_is_read_with_its_own_encoding(compare, script):
    text = "# -*- coding: latin-1 -*-\nprint(ascii('ä'))"
    assert compare(script(text, encoding="latin-1")).stdout == "'\\xe4'\n"


@pytest.mark.parametrize("exit_call", ["sys.exit()", "sys.exit(3)", "sys.exit('told')", "sys.exit([1])", "exit(True)"])
def test_the_exit_status_is_the_scripts(compare, script, exit_call):
    compare(script(f"import sys\n{exit_call}"))


def test_an_error_that_nobody_caught_shows_the_frames_of_the_script_alone(compare, script):
    result = compare(script("def f():\n    return 1 / 0\ntry:\n    f()\nexcept ZeroDivisionError:\n    {}['x']\n"))
    assert result.returncode == 1
    assert "launcher" not in result.stderr


def test_a_syntax_error_in_the_script_shows_no_frame(compare, script):
    assert compare(script("x = (\n")).stderr.startswith("  File")


def test_the_scripts_own_excepthook_sees_the_frames_of_the_script_alone(compare, script):
    compare(
        script(
            "import sys, traceback\n"
            "sys.excepthook = lambda *error: print(traceback.format_exception(*error), [\n"
            "    frame.name for frame in traceback.extract_tb(error[2])])\n"
            "1 / 0\n"
        )
    )


def test_an_interrupted_script_dies_of_the_signal(compare, script):
    # Said outright: a shell that starts the tests in the background has the signal ignored.
    handled = "signal.signal(signal.SIGINT, signal.default_int_handler)"
    result = compare(script(f"import signal\n{handled}\nsignal.raise_signal(signal.SIGINT)"))
    assert "KeyboardInterrupt" in result.stderr


def test_exit_functions_run_after_the_error_was_printed_as_they_do_plainly(compare, script):
    compare(script("import atexit, sys\natexit.register(print, 'bye', file=sys.stderr)\n1 / 0"))


def test_a_script_that_is_not_there_is_told_as_python_tells_it(compare):
    result = compare("nowhere.py")
    assert "can't open file" in result.stderr
    assert result.returncode == 2


def test_classes_of_the_script_can_be_pickled(compare, script):
    compare(script("import pickle\nclass A: pass\nprint(type(pickle.loads(pickle.dumps(A()))) is A)"))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_worker_processes_find_the_scripts_functions(compare, script, method):
    text = (
        "import multiprocessing\n"
        "def work(x):\n"
        "    return x + 1\n"
        "if __name__ == '__main__':\n"
        f"    with multiprocessing.get_context('{method}').Pool(1) as pool:\n"
        "        print(pool.map(work, [1, 2]))\n"
    )
    assert compare(script(text)).stdout == "[2, 3]\n"


def test_pitfall_43_the_users_sitecustomize_still_runs(script, tmp_path):
    script("print('customised')", "site/sitecustomize.py")
    script("", "model.py")
    result = launch(tmp_path, "-c", "model", script("import model"), PYTHONPATH=str(tmp_path / "site"))
    assert result.stdout == "customised\n"


def launch(cwd: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """``python -m astcapture run``."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ASTCAPTURE")}
    command = [sys.executable, "-m", "astcapture", "run", *arguments]
    return subprocess.run(command, cwd=cwd, env=clean | environ, capture_output=True, text=True)


@pytest.fixture
def model(script):
    script("from astcapture import capture\n@capture('y')\ndef f(x):\n    y = x + 1\n    return y * 2\n", "model.py")
    return "model"


CALL_MODEL = "import sys, model\nprint(model.f(1), sys.argv)\n"


def test_run_captures_and_sums_up_on_standard_error(script, model, tmp_path):
    result = launch(tmp_path, "-c", model, script(CALL_MODEL), "--its", "--own=arguments")
    assert result.stdout == "4 ['script.py', '--its', '--own=arguments']\n"
    assert "model:f" in result.stderr
    assert result.returncode == 0


def test_options_after_the_script_are_the_scripts(script, model, tmp_path):
    arguments = ["-c", "other", "-o", "x", "--strict", "--help", "--", "-m"]
    result = launch(tmp_path, "-c", model, script(CALL_MODEL), *arguments)
    assert str(["script.py", *arguments]) in result.stdout


def test_run_captures_from_a_module_run_after_dash_m(script, model, tmp_path):
    script(CALL_MODEL)
    result = launch(tmp_path, "-c", model, "-m", "script", "x")
    assert result.stdout == f"4 ['{tmp_path / 'script.py'}', 'x']\n"
    assert "model:f" in result.stderr


def test_run_exits_with_the_scripts_status_and_traceback(script, model, tmp_path):
    result = launch(tmp_path, "-c", model, script("import model\nmodel.f(None)"))
    assert result.returncode == 1
    assert result.stderr.startswith('Traceback (most recent call last):\n  File "' + str(tmp_path / "script.py"))
    assert launch(tmp_path, "-c", model, script("import model, sys; sys.exit(7)")).returncode == 7


def test_run_without_a_target_is_wrong_usage(script, tmp_path):
    result = launch(tmp_path, script("print('ran')"))
    assert result.returncode == 2
    assert "nothing to capture: write -c TARGET before SCRIPT" in result.stderr
    assert not result.stdout


def test_run_takes_its_targets_from_the_environment_where_none_is_given(script, model, tmp_path):
    result = launch(tmp_path, script(CALL_MODEL), ASTCAPTURE=model)
    assert result.stderr.count("model:f") == 1


def test_run_puts_its_own_targets_in_place_of_the_environments(script, model, tmp_path):
    script("def g():\n    z = 1\n    return z\n", "other.py")
    result = launch(tmp_path, "-c", model, script(CALL_MODEL + "import other; other.g()"), ASTCAPTURE="other:g=z")
    assert result.stderr.count("model:f") == 1
    assert "other" not in result.stderr


def test_a_wrong_target_is_told_in_one_line_and_nothing_runs(script, tmp_path):
    result = launch(tmp_path, "-c", "model.py", script("print('ran')"))
    assert result.returncode == 1
    assert result.stderr.startswith("astcapture: target 'model.py'")
    assert "Traceback" not in result.stderr
    assert not result.stdout


def test_the_scripts_own_functions_are_captured_where_the_target_is_main(script, tmp_path):
    text = "def f(x):\n    y = x + 1\n    return y * 2\nprint(f(1))\n1 / 0"
    plain = subprocess.run([sys.executable, script(text)], cwd=tmp_path, capture_output=True, text=True)
    result = launch(tmp_path, "-c", "__main__:f=y", "script.py")
    assert result.stdout == plain.stdout
    assert result.stderr.startswith(plain.stderr)
    assert "__main__:f" in result.stderr


def test_a_name_that_the_script_never_binds_is_told_in_one_line(script, tmp_path):
    result = launch(tmp_path, "-c", "__main__:f=yy", script("def f(x):\n    y = x\n    return y\nprint('ran')"))
    assert result.returncode == 1
    assert result.stderr.startswith("astcapture: ")
    assert result.stderr.splitlines()[0].endswith("'yy' is never bound in f (line 1): did you mean y?")
    assert "Traceback" not in result.stderr
    assert not result.stdout


def test_where_the_script_is_not_there_nothing_is_summed_up(tmp_path):
    result = launch(tmp_path, "-c", "model", "nowhere.py")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
