"""No warning of this package ends the program that it comments on, whatever the program makes of warnings."""

from __future__ import annotations

import ast
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

import astcapture
from astcapture import CaptureWarning
from astcapture.warn import tell, warn, warn_at

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Make = Callable[..., Path]

SOURCES = Path(astcapture.__file__).parent

#: A module whose function is captured, and a program's own ways of making errors of warnings.
NET = {"net.py": "def f(x):\n    y = x * 2\n    return y\n"}
FILTERED = "import warnings; warnings.filterwarnings('error')\n"
SHOWN = (
    "import warnings\n"
    "def showwarning(*args, **kwargs): raise RuntimeError('shown')\n"
    "warnings.showwarning = showwarning\n"
)
WAYS = {"filter": FILTERED, "showwarning": SHOWN}


def test_a_warning_stays_one_wherever_it_is_not_made_an_error():
    with pytest.warns(CaptureWarning, match="first"):
        warn("first")
    with warnings.catch_warnings(record=True) as recorded:
        warnings.simplefilter("always")
        warn("text", "file.py", 7)
        warn_at("text", 1)
    assert [one.category for one in recorded] == [CaptureWarning, CaptureWarning]
    assert (recorded[0].filename, recorded[0].lineno) == ("file.py", 7)
    assert recorded[1].filename == __file__


def test_a_warning_that_is_filtered_out_is_not_printed(capsys: pytest.CaptureFixture[str]):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warn("text")
        warn_at("text", 1)
    assert capsys.readouterr() == ("", "")


def test_a_warning_that_is_an_error_is_printed(capsys: pytest.CaptureFixture[str]):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn("one")
        warn_at("two", 1)
    assert capsys.readouterr() == ("", "CaptureWarning: one\nCaptureWarning: two\n")


def test_a_showwarning_of_the_programs_own_that_raises_is_survived(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def showwarning(*arguments: object, **named: object) -> None:
        raise RuntimeError("shown")

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", showwarning)
        warn("one")
        warn_at("two", 1)
    assert capsys.readouterr().err == "CaptureWarning: one\nCaptureWarning: two\n"


def test_an_interrupt_in_the_midst_of_a_warning_goes_on_its_way(monkeypatch: pytest.MonkeyPatch):
    def showwarning(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", showwarning)
        with pytest.raises(KeyboardInterrupt):
            warn("text")


def test_standard_error_may_be_missing_closed_or_anything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    class Broken:
        def write(self, text: str) -> int:
            raise ArithmeticError

    closed = (tmp_path / "closed").open("w")
    closed.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for stream in (None, closed, Broken()):
            monkeypatch.setattr(sys, "stderr", stream)
            tell("text")
            warn("text")


def test_nothing_in_the_package_warns_in_another_way():
    warning = {
        path.name
        for path in SOURCES.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("warnings.warn", "warnings.warn_explicit")
    }
    assert warning == {"warn.py"}


# --- each path, where warnings are errors


@pytest.mark.parametrize("way", WAYS)
def test_an_import_without_captures_is_no_failed_import(make_package: Make, run_python: Run, way: str):
    make_package({"compiled.py": "value = 3\n"})
    done = run_python(
        WAYS[way]
        + "import py_compile, os, astcapture\n"
        + "py_compile.compile('compiled.py', 'compiled.pyc'); os.remove('compiled.py')\n"
        + "astcapture.install('compiled:f=y')\n"
        + "import compiled; print(compiled.value)\n"
    )
    assert done.stdout == "3\n"
    assert "CaptureWarning: compiled is imported without captures: SourcelessFileLoader loads it" in done.stderr


@pytest.mark.parametrize("way", WAYS)
def test_a_bug_of_the_rewriter_is_no_failed_import(make_package: Make, run_python: Run, way: str):
    make_package(NET)
    done = run_python(
        WAYS[way]
        + "import astcapture\n"
        + "from astcapture.imports import compile\n"
        + "def broken(*arguments): raise LookupError('seen')\n"
        + "compile.plan_module = broken\n"
        + "astcapture.install('net:f=y')\n"
        + "import net; print(net.f(2))\n"
    )
    assert done.stdout == "4\n"
    assert "imported without captures: rewriting failed (LookupError: seen)" in done.stderr


@pytest.mark.parametrize("way", WAYS)
def test_a_marked_function_that_is_not_rewritten_is_still_defined(make_package: Make, run_python: Run, way: str):
    make_package({"text.txt": "from astcapture import capture\n@capture('y')\ndef f(x):\n    y = x\n    return y\n"})
    done = run_python(
        WAYS[way]
        + "import astcapture, types\n"
        + "astcapture.install('marked')\n"
        + "module = types.ModuleType('marked')\n"  # compiled from a text that is in no file, so that it stays as it is
        + "exec(open('text.txt').read(), vars(module)); print(module.f(3))\n"
    )
    assert done.stdout == "3\n"
    assert "CaptureWarning: f is marked but not captured" in done.stderr


@pytest.mark.parametrize("way", WAYS)
def test_what_cannot_be_exchanged_does_not_stop_the_installation(make_package: Make, run_python: Run, way: str):
    make_package({**NET, "other.py": NET["net.py"]})
    done = run_python(
        WAYS[way]
        + "import types, sys, astcapture\n"
        + "sys.modules['typed'] = types.ModuleType('typed')\n"
        + "import net\n"
        + "hook = astcapture.install(['typed:f=y', 'net:f=y', 'other:f=y'])\n"
        + "import other; net.f(1); other.f(2)\n"
        + "print(list(astcapture.cache['net:f']), list(astcapture.cache['other:f']), hook)\n"
    )
    assert done.stdout.startswith("[2] [4] <Hook")
    assert "CaptureWarning: not captured: typed has no source file" in done.stderr


@pytest.mark.parametrize("way", WAYS)
def test_at_the_memory_limit_the_program_goes_on(make_package: Make, run_python: Run, way: str):
    make_package(NET)
    done = run_python(
        WAYS[way]
        + "import numpy, astcapture\n"
        + "astcapture.install('net:f=y', limit=3000)\n"
        + "import net\n"
        + "for number in range(50): net.f(numpy.zeros(100))\n"
        + "print(number)\n"
    )
    assert done.stdout == "49\n"
    assert done.stderr.count("CaptureWarning: recording has stopped") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="there, a folder that is in use is not replaced")
@pytest.mark.parametrize("way", WAYS)
def test_a_store_that_cannot_be_written_does_not_reach_the_program(make_package: Make, run_python: Run, way: str):
    make_package(NET)
    done = run_python(
        WAYS[way]
        + "import shutil, numpy, astcapture\n"
        + "hook = astcapture.install('net:f=y', store='run')\n"
        + "import net\n"
        + "from astcapture.store import process_folder\n"
        + "def full(*arguments, **named): raise process_folder.NotWritten('No space left')\n"
        + "process_folder.ProcessFolder.write = full\n"
        + "net.f(numpy.ones(3))\n"
        + "hook.uninstall(); print('on')\n"
    )
    assert done.stdout == "on\n"
    assert "cannot be written to (No space left): 1 value is lost" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("way", WAYS)
def test_saving_what_cannot_be_stored_and_loading_what_is_damaged_only_warn(
    make_package: Make, run_python: Run, way: str
):
    make_package(NET)
    done = run_python(
        WAYS[way]
        + "import pathlib, numpy, astcapture\n"
        + "astcapture.install('net:f=y')\n"
        + "import net\n"
        + "class Own:\n"
        + "    def __mul__(self, other): return self\n"
        + "net.f(Own()); net.f(numpy.ones(3))\n"
        + "astcapture.cache.save('run')\n"
        + "astcapture.cache.save('run')\n"
        + "print(len(astcapture.load('run').select()))\n"
        + "first = sorted(pathlib.Path('run').glob('*/*.safetensors'))[0]\n"
        + "first.write_bytes(b'no shard')\n"
        + "print(len(astcapture.load('run').select()))\n"
    )
    assert done.stdout == "2\n1\n"
    assert "CaptureWarning: 1 of 2 values are not saved" in done.stderr
    assert f"{Path('run')}" in done.stderr and "is left out" in done.stderr


@pytest.mark.parametrize("flags", [(), ("-W", "error")], ids=["plain", "errors"])
def test_what_is_told_at_exit_is_told_after_the_store_is_closed(make_package: Make, run_python: Run, flags: list[str]):
    make_package(
        {
            **NET,
            "main.py": """
            import pathlib, warnings, numpy, net
            import astcapture
            def showwarning(message, *others, **named):
                print(str(message).splitlines()[0], len(astcapture.load("run").select(label="y")))
                raise SystemError("shown")
            warnings.showwarning = showwarning
            for number in range(50):
                net.f(numpy.full(3, number))
            """,
        }
    )
    env = {"ASTCAPTURE": "net:f=y;nowhere:g=z", "ASTCAPTURE_STORE": "run"}
    done = run_python(*flags, "-c", "from astcapture.imports.startup import activate; activate(); import main", env=env)
    told = "nothing was captured for\n  target 'nowhere:g=z'"
    assert f"CaptureWarning: {told}" in done.stderr and "Traceback" not in done.stderr
    if not flags:
        assert done.stdout == "nothing was captured for 50\n"
    assert len(astcapture.load(make_package({}) / "run").select(label="y")) == 50


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="there are no forks here")
@pytest.mark.parametrize("way", WAYS)
def test_a_fork_ends_as_it_would_have(make_package: Make, run_python: Run, way: str):
    make_package(
        {
            **NET,
            "main.py": WAYS[way]
            + "import multiprocessing, numpy, astcapture\n"
            + "astcapture.install(['net:f=y', 'nowhere:g=z'], store='run', limit=2000)\n"
            + "import net\n"
            + "class Own:\n"
            + "    def __mul__(self, other): return self\n"
            + "def work():\n"
            + "    net.f(Own())\n"
            + "    for number in range(50): net.f(numpy.zeros(100))\n"
            + "if __name__ == '__main__':\n"
            + "    one = multiprocessing.get_context('fork').Process(target=work)\n"
            + "    one.start(); one.join(); print(one.exitcode)\n",
        }
    )
    done = run_python("main.py")
    assert done.stdout == "0\n"
    assert "'y' is not stored" in done.stderr and "Traceback" not in done.stderr
    assert len(astcapture.load(make_package({}) / "run").select(label="y")) == 50


@pytest.mark.parametrize("flags", [(), ("-W", "error")], ids=["plain", "errors"])
def test_an_object_that_dies_with_the_interpreter_may_still_call_what_was_captured(
    make_package: Make, run_python: Run, flags: list[str]
):
    make_package(
        {
            **NET,
            "main.py": """
            import astcapture
            astcapture.install(["net:f=y", "nowhere:g=z"])
            import net
            from astcapture.warn import warn, warn_at
            class Late:
                def __del__(self, f=net.f, print=print, warn=warn, warn_at=warn_at):
                    warn("late")
                    warn_at("late", 1)
                    print(f(4))
            late = Late()
            """,
        }
    )
    done = run_python(*flags, "main.py")
    assert done.stdout == "8\n"
    assert "Exception ignored" not in done.stderr and "Traceback" not in done.stderr


def test_a_mistake_of_the_users_is_still_an_error(make_package: Make, run_python: Run):
    make_package(NET)
    program = (
        "import astcapture\n"
        "astcapture.install('net:f=z')\n"
        "try: import net\n"
        "except astcapture.CaptureError as error: print(error)\n"
    )
    for done in (run_python(program), run_python("-W", "error", "-c", program)):
        assert "'z' is never bound in f" in done.stdout


def test_an_expression_that_failed_every_time_is_told_at_exit_with_its_first_error(make_package: Make, run_python: Run):
    make_package(NET)
    program = (
        "import astcapture\n"
        "astcapture.install('net:f=bad:=x.nothing,once:=1 / x,never:=x[y],y')\n"
        "import net\n"
        "for number in range(3): net.f(number)\n"
    )
    told = run_python(program).stderr
    assert "net:f: 'bad' is empty because it failed each of the 3 times that it was to be recorded, first with" in told
    assert "AttributeError: 'int' object has no attribute 'nothing'" in told
    assert "net:f: 'never' is empty because it failed each of the 3 times" in told
    assert "'once'" not in told and "'y'" not in told
