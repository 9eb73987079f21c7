"""A script is captured by the environment and runs as it does plainly: each test runs it both ways and compares."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
#: What the start-up file does, for an interpreter in which it is not installed.
START = "from astcapture.imports.startup import activate\nactivate()\n"
MODEL = """
from astcapture import capture

@capture("y")
def double(x):
    y = x * 2
    return y

def named(x):
    z = x + 1
    return z

double(3), named(4)
"""
SHOW_START = """
import sys
print(sys.argv, sys.path)
print([(name, repr(value).partition(" at 0x")[0]) for name, value in globals().items() if name[:2] != "_@"])
print(sys.modules["__main__"].__dict__ is globals())
"""
#: Where the summary on standard error begins: with the header of its table, or what stands in for it.
HEADER = "function "


@pytest.fixture
def start(tmp_path):
    """Run a command line with what the start-up file does, and with `targets` in the environment."""
    folder = tmp_path / "startup"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(START)

    def run(*arguments: str, targets: str | None = None, stdin: str = "", cwd: Path = tmp_path, **more: str):
        kept = {name: text for name, text in os.environ.items() if not name.startswith(("ASTCAPTURE", "PYTHON"))}
        env = {**kept, "PYTHONPATH": os.pathsep.join([str(folder), str(PROJECT)]), **more}
        if targets is not None:
            env["ASTCAPTURE"] = targets
        return subprocess.run(
            [sys.executable, *arguments], cwd=cwd, env=env, input=stdin, capture_output=True, text=True, timeout=60
        )

    return run


@pytest.fixture
def compare(start, script):
    """Run a script plainly and captured, check that all that can be seen of it is equal, and give back the summary."""

    def run(*arguments: str, targets: str = "__main__", stdin: str = "", cwd: Path | None = None) -> str:
        more = {} if cwd is None else {"cwd": cwd}
        plain = start(*arguments, stdin=stdin, **more)
        captured = start(*arguments, stdin=stdin, targets=targets, **more)
        errors, _, summary = captured.stderr.partition(HEADER)
        assert (captured.stdout, errors) == (plain.stdout, plain.stderr)
        assert captured.returncode == plain.returncode
        return summary

    return run


@pytest.fixture
def script(tmp_path):
    def write(text: str, name: str = "train.py") -> str:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return name

    return write


@pytest.mark.slow
@pytest.mark.parametrize(
    ("targets", "keys"),
    [
        ("__main__", ["__main__:double"]),
        ("train", ["train:double"]),
        ("__main__:named=z", ["__main__:named"]),
        ("train:named=z;train", ["train:double", "train:named"]),
        ("*:named=z", ["__main__:named"]),
    ],
)
def test_the_keys_of_a_script_have_the_name_that_the_target_gives_it(compare, script, targets, keys):
    summary = compare(script(MODEL + SHOW_START), "--its", "own", targets=targets)
    assert sorted(line.split()[0] for line in summary.splitlines() if ":" in line.split("  ")[0]) == keys


@pytest.mark.parametrize("start_text", ["", '"""Its docstring."""\nfrom __future__ import annotations\n'])
def test_a_script_sees_the_arguments_path_and_main_of_a_plain_one(compare, script, start_text):
    assert "__main__:double" in compare(script(start_text + MODEL + SHOW_START), "--its", "--own=arguments", "-c", "x")


@pytest.mark.slow
def test_a_script_in_another_folder_and_a_link_to_one_find_its_neighbours(compare, script, tmp_path):
    script("print(__name__)", "folder/neighbour.py")
    name = script(MODEL + "import neighbour" + SHOW_START, "folder/train.py")
    assert "__main__:double" in compare(name)
    assert "__main__:double" in compare("folder/../folder/train.py")
    (tmp_path / "link").symlink_to("folder/train.py")
    assert "__main__:double" in compare("link")
    assert "__main__:double" in compare("../folder/train.py", cwd=tmp_path / "startup")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="-P came with Python 3.11")
def test_the_option_that_keeps_the_scripts_folder_off_the_path_is_honoured(compare, script):
    assert "__main__:double" in compare("-P", script(MODEL + SHOW_START))


@pytest.mark.parametrize(
    "end",
    [
        "def f():\n    raise ValueError('of its own')\nf()",
        "raise SystemExit(3)",
        "raise SystemExit('a text')",
        "import sys; sys.exit()",
        "import os; os._exit(4)",
        "raise KeyboardInterrupt",
        "import traceback\ntry:\n    1 / 0\nexcept Exception:\n    traceback.print_exc()",
        "try:\n    1 / 0\nexcept Exception as error:\n    raise RuntimeError from error",
        "import sys\nsys.excepthook = lambda kind, *rest: print('theirs', kind)\n1 / 0",
        "import atexit\natexit.register(lambda: print([name in globals() for name in ('__file__', '__cached__')]))",
        "import warnings\nwarnings.warn('on this line')",
        "import threading\nthreading.Thread(target=lambda: 1 / 0, name='its').start()",
    ],
)
def test_a_script_ends_as_a_plain_one_does(compare, script, end):
    compare(script(MODEL + end))


def test_the_prompt_after_a_script_finds_its_globals(compare, script):
    stdin = "print(double(5), __name__, '__file__' in globals(), [n for n in globals() if n[:2] == '__'])\n"
    compare("-i", script(MODEL), stdin=stdin)
    compare("-i", script(MODEL + "1 / 0"), stdin=stdin)
    compare("-i", script(MODEL + "raise SystemExit(3)"), stdin=stdin)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("targets", ["__main__", "train:named=z"])
def test_the_processes_that_a_script_starts_run_it_captured_and_as_plain_ones_do(start, script, method, targets):
    text = f"""
        import multiprocessing, sys
        from astcapture import capture

        @capture("y")
        def double(x):
            y = x * 2
            return y

        def named(x):
            z = x + 1
            return z

        def work(x):
            names = {{name: repr(globals().get(name)) for name in ("__name__", "__file__", "__spec__", "__loader__")}}
            recorded = 0
            if "astcapture.values.cache" in sys.modules:
                import astcapture
                double(x), named(x)
                recorded = [value for records in astcapture.cache.values() for value in records]
            return [type(double).__module__, sys.path, sys.argv, names], recorded

        if __name__ == "__main__":
            with multiprocessing.get_context({method!r}).Pool(1) as pool:
                (seen, recorded), = pool.map(work, [5])
                print(seen)
                print("recorded", recorded)
    """
    name = script(text)
    plain, captured = start(name), start(name, targets=targets)
    assert plain.returncode == captured.returncode == 0, captured.stderr
    assert captured.stdout.splitlines()[0] == plain.stdout.splitlines()[0]
    assert captured.stdout.splitlines()[1] == ("recorded [10]" if targets == "__main__" else "recorded [6]")


def test_a_script_that_marks_nothing_and_one_that_does_not_parse_are_left_to_the_interpreter(start, script):
    for text in ("import traceback\ntraceback.print_stack()\n", "def f(:\n"):
        name = script(text)
        plain, captured = start(name), start(name, targets="__main__")
        assert captured.stdout == plain.stdout
        assert captured.returncode == plain.returncode
        assert captured.stderr.startswith(plain.stderr)


def test_a_name_that_a_script_never_binds_is_told_and_the_script_runs_uncaptured(start, script):
    done = start(script(MODEL + "print('ran')"), targets="train:named=zz")
    assert (done.stdout, done.returncode) == ("ran\n", 0)
    assert "'zz' is never bound in named (line 9): did you mean z?" in done.stderr
    assert "the program runs without capturing" in done.stderr
    strict = start(script(MODEL + "print('ran')"), targets="train:named=zz", ASTCAPTURE_STRICT="1")
    assert (strict.stdout, strict.returncode) == ("", 1)


def test_a_script_that_a_captured_one_starts_need_not_hold_what_was_named_in_the_first(start, script):
    script("print('helper')", "helper.py")
    text = "import subprocess, sys\nsubprocess.run([sys.executable, 'helper.py'], check=True)\n"
    done = start(script(MODEL + text), targets="__main__:named=z")
    assert (done.stdout, done.returncode) == ("helper\n", 0)
    assert "__main__:named" in done.stderr
    assert "helper" not in done.stderr


@pytest.mark.parametrize("targets", ["pkg.train", "__main__", "pkg"])
@pytest.mark.parametrize("module", ["pkg.train", "pkg"])
def test_what_runs_after_m_is_captured_by_its_name_and_as_main(start, script, targets, module):
    script("", "pkg/__init__.py")
    script(MODEL + SHOW_START, "pkg/train.py")
    script(MODEL + SHOW_START, "pkg/__main__.py")
    plain, captured = start("-m", module, "its"), start("-m", module, "its", targets=targets)
    assert captured.stdout.replace("astcapture.imports.loader.CaptureLoader", "LOADER").count("LOADER") <= 2
    assert captured.stdout.splitlines()[0] == plain.stdout.splitlines()[0]
    if (module, targets) == ("pkg", "pkg.train"):
        assert "double" not in captured.stderr
    else:
        own = "pkg.__main__" if module == "pkg" else "pkg.train"
        assert f"{'__main__' if targets == '__main__' else own}:double" in captured.stderr


@pytest.mark.parametrize("install", ['"__main__"', '"train"', '"__main__:double=y"'])
def test_a_marked_function_of_the_script_is_captured_from_its_first_line_on(start, script, install):
    text = (
        f"import astcapture\nhook = astcapture.install({install})\n"
        + MODEL
        + textwrap.dedent("""
        print(list(astcapture.cache["double"]), sorted(astcapture.cache))
        hook.uninstall()
        double(7)
        print(list(astcapture.cache["double"]), double.__code__.co_names)
    """)
    )
    done = start(script(text))
    name = install.strip('"').partition(":")[0]
    assert done.stdout == f"[6] ['{name}:double']\n[6] ()\n"
    assert done.stderr == ""


def test_an_unmarked_function_defined_after_install_is_told_of_at_exit_with_what_to_do(start, script):
    name = script('import astcapture\nastcapture.install("__main__:named=z")\n' + MODEL)
    errors = start(name).stderr
    assert "named (" in errors
    assert "was defined after install() was called in its module: call install() below the definition" in errors
    assert "train.py:11)" in errors


def test_install_after_the_definitions_captures_every_function_by_either_name(start, script):
    install = 'astcapture.install(["train:named=z", "__main__"], reduce=lambda value: -value)'
    text = MODEL + f"import astcapture\n{install}\ndouble(1), named(1)\n"
    done = start(script(text + "print({key: list(values) for key, values in astcapture.cache.items()})"))
    assert (done.stdout, done.stderr) == ("{'train:double': [-2], 'train:named': [-2]}\n", "")


RUN_PATH = """
import runpy, sys, traceback
path = sys.path[:]
names = runpy.run_path("helper.py", {"given": 1}, run_name=sys.argv[1])
print({name: repr(value).partition(" at 0x")[0] for name, value in names.items()
       if name[:2] != "_@" and name != "__builtins__"})
print(path == sys.path, sys.argv, names["double"](2))
"""


@pytest.mark.parametrize(("run_name", "targets"), [("__main__", "__main__"), ("other", "helper"), ("a.b", "a.b")])
def test_a_file_that_run_path_runs_is_captured_and_sees_what_it_plainly_sees(start, script, run_name, targets):
    script(MODEL + "import sys\nprint(sys.argv, sys.path, sorted(globals(), key=str)[-1], __spec__)", "helper.py")
    name = script(RUN_PATH, "driver.py")
    plain, captured = start(name, run_name), start(name, run_name, targets=targets)
    assert captured.stdout == plain.stdout
    assert f"{targets}:double" in captured.stderr


def test_a_path_that_is_no_string_is_run_as_it_is_plainly_and_its_marks_are_captured(start, script):
    script(MODEL, "helper.py")
    name = script("import pathlib, runpy\nprint(sorted(runpy.run_path(pathlib.Path('helper.py'))))", "driver.py")
    plain, captured = start(name), start(name, targets="helper")
    assert captured.stdout == plain.stdout
    assert "helper:double" in captured.stderr


def test_a_file_that_exec_is_given_is_captured_where_it_is_marked(start, script):
    script(MODEL, "helper.py")
    text = "exec(compile(open('helper.py').read(), 'helper.py', 'exec'), {'__name__': 'anything'})"
    assert "helper:double" in start(script(text, "driver.py"), targets="helper").stderr
    text = 'import astcapture\nhook = astcapture.install("helper")\nnames = {}\n' + text.replace(
        "{'__name__': 'anything'}", "names"
    )
    end = "\nprint(list(astcapture.cache['helper:double']))\nhook.uninstall()\nprint(names['double'].__code__.co_names)"
    assert start(script(text + end, "driver.py")).stdout == "[6]\n()\n"


def test_text_that_is_in_no_file_is_told_of_with_what_to_do(start, script):
    text = f"import astcapture\nastcapture.install('__main__')\nexec({MODEL!r})"
    errors = start(script(text)).stderr
    assert "double is marked but not captured: it was compiled from text that is not in a file (<string>)" in errors


def test_a_module_that_runs_under_two_names_is_captured_under_both(start, script):
    script(MODEL, "model.py")
    text = """
        import importlib.util, sys
        import model
        spec = importlib.util.spec_from_file_location("copy_of_it", "model.py")
        copy = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(copy)
        import astcapture
        print({key: list(values) for key, values in astcapture.cache.items()})
    """
    assert start(script(text), targets="model;model:named=z").stdout == (
        "{'model:double': [6, 6], 'model:named': [5, 5]}\n"
    )


@pytest.mark.parametrize("module", ["cProfile", "pdb", "trace"])
def test_a_script_that_another_program_runs_is_captured_where_it_is_marked_and_told_of_where_it_is_not(
    start, script, module
):
    name = script(MODEL)
    options = {"pdb": ("-c", "continue", "-c", "quit"), "trace": ("--count", "--coverdir=out")}.get(module, ())
    done = start("-m", module, *options, name, targets="train;train:named=z", stdin="q\n")
    assert "train:double" in done.stderr
    assert "target 'train:named=z': " in done.stderr
    assert "named (" in done.stderr
    assert "when its file was run, not imported" in done.stderr or "after its file was run, not imported" in done.stderr


@pytest.mark.cases(2)
@pytest.mark.parametrize("text", [MODEL, ""])
@pytest.mark.parametrize("questionable", ["1 is 1\n", "'\\d'\n", "def late():\n    return 1 is 2, '\\d'\nlate()\n"])
def test_what_the_compiler_warns_of_in_a_script_is_told_once(start, script, text, questionable):
    inside = f"import astcapture\nastcapture.install('__main__')\n{text}{questionable}"
    for source, targets in ((text + questionable, "__main__"), (inside, "elsewhere:f")):
        name = script(source)
        plain, captured = start(name), start(name, targets=targets)
        assert captured.stderr.count("SyntaxWarning") == plain.stderr.count("SyntaxWarning")
        assert captured.stderr.count("DeprecationWarning") == plain.stderr.count("DeprecationWarning")
