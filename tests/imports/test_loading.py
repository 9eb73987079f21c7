"""Rows 17 to 29 of the pitfalls of import hooks: how modules are loaded, and what is cached of them."""

from __future__ import annotations

import dis
import importlib
import importlib.util
import os
import pickle
import re
import shutil
import sys
import textwrap
import threading
import traceback
import warnings
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType

import pytest

import astcapture
from astcapture import CaptureError, CaptureWarning, install
from astcapture.imports import compile as compiling
from astcapture.imports import sealed
from astcapture.imports.loader import CaptureLoader

MARKED = """
from astcapture import capture

@capture("y")
def double(x):
    y = x * 2
    return y
"""
TAGGED = re.compile(r"\.astcapture-[0-9a-f]{16}\.pyc$")


@pytest.fixture
def forget(fresh_imports: Callable[[], None]) -> Callable[[], None]:
    return fresh_imports


pytestmark = pytest.mark.usefixtures("fresh_imports")


def cached(folder: Path) -> list[str]:
    """The names of the bytecode files under a folder, ours as NAME+ and Python's as NAME."""
    return sorted(
        path.name.partition(".")[0] + ("+" if TAGGED.search(path.name) else "") for path in folder.rglob("*.pyc")
    )


# 17


@pytest.mark.slow
def test_pitfall_17_a_package_and_a_module_run_with_dash_m_are_captured_under_their_own_names(make_package, run_python):
    tail = "\nassert __name__ == '__main__'\nimport astcapture\ndouble(4)\n"
    tail += "print({key: list(records) for key, records in astcapture.cache.items()})\n"
    make_package(
        {
            "pkg/__init__.py": "",
            "pkg/mod.py": MARKED + tail,
            "pkg/__main__.py": MARKED + tail,
            "start.py": """
                import runpy, sys
                import astcapture
                astcapture.install([sys.argv[2]])
                runpy.run_module(sys.argv[1], run_name="__main__", alter_sys=True)
            """,
        }
    )
    for name, key, target in [
        ("pkg.mod", "pkg.mod", "pkg"),
        ("pkg", "pkg.__main__", "pkg"),
        ("pkg.mod", "pkg.mod", "pkg.mod:double"),
    ]:
        for _ in range(2):  # compiled, and from the cache
            done = run_python("start.py", name, target)
            assert (done.stdout, done.stderr) == (f"{{'{key}:double': [8]}}\n", "")


# 18, 19, 20


def test_pitfall_18_resources_of_a_captured_package_are_found(make_package):
    import importlib.resources
    import pkgutil

    folder = make_package({"pkg/__init__.py": MARKED, "pkg/data/words.txt": "hello"})
    (folder / "pkg/data/code.pyc").write_bytes(b"not ours")
    with install(["pkg"]):
        import pkg

        files = importlib.resources.files(pkg)
        assert (files / "data" / "words.txt").read_text() == "hello"
        assert pkgutil.get_data("pkg", "data/words.txt") == b"hello"
        assert pkgutil.get_data("pkg", "data/code.pyc") == b"not ours"
        assert sorted(path.name for path in files.iterdir() if path.name != "__pycache__") == ["__init__.py", "data"]


def test_pitfall_19_the_loader_is_a_source_file_loader_with_all_that_others_ask_of_one(make_package):
    import inspect
    import linecache

    folder = make_package({"mod.py": MARKED})
    with install(["mod"]):
        import mod
    loader = mod.__loader__
    assert isinstance(loader, SourceFileLoader)
    assert isinstance(loader, importlib.abc.SourceLoader)
    assert loader.get_filename("mod") == mod.__file__ == str(folder / "mod.py")
    assert loader.get_source("mod") == MARKED.lstrip("\n")
    assert not loader.is_package("mod")
    assert mod.__spec__.cached == importlib.util.cache_from_source(mod.__file__)
    assert hasattr(mod, "__cached__") == hasattr(pytest, "__cached__")
    assert "y = x * 2" in inspect.getsource(mod.double)
    assert linecache.getline(mod.__file__, 3) == '@capture("y")\n'
    assert loader == CaptureLoader("mod", mod.__file__, loader.capture_targets)


def test_pitfall_20_a_captured_modules_spec_and_functions_are_pickled_as_without(make_package):
    import dill

    make_package({"mod.py": MARKED})
    with install(["mod"]):
        import mod
    for pickler in (pickle, dill):
        again = pickler.loads(pickler.dumps(mod.__spec__))
        assert again.name == "mod"
        assert again.loader == mod.__loader__
        assert type(again.loader) is CaptureLoader
        assert pickler.loads(pickler.dumps(mod.double)) is mod.double
    assert dill.loads(dill.dumps(mod)) is mod


# 21


def test_pitfall_21_source_to_code_takes_a_fullname_as_python_3_15_passes_it(make_package):
    folder = make_package({"mod.py": MARKED, "unmarked.py": "# astcapture\nx = 1\n"})
    for name in ("mod", "unmarked"):
        path = str(folder / f"{name}.py")
        with install([name]) as hook:
            loader = CaptureLoader(name, path, hook.targets)
            source = loader.get_data(path)
            for code in (
                loader.source_to_code(source, path, name),
                loader.source_to_code(source, path, fullname=name),
                loader.source_to_code(source, path, _optimize=2),
                loader.source_to_code(data=source, path=path),
            ):
                assert isinstance(code, CodeType)
                assert ("_@declare" in code.co_names) == (name == "mod")


@pytest.mark.cases(4)
@pytest.mark.parametrize("kept", ["pkg.mod", "mod", "__main__|other|<run_path>"])
@pytest.mark.parametrize(
    "program",
    [
        "import pkg.mod",
        "import runpy; runpy.run_path('pkg/mod.py')",
        "import runpy; runpy.run_path('pkg/mod.py', run_name='other')",
        "from astcapture.imports.launcher import run_script; run_script(['pkg/mod.py'])",
    ],
)
def test_warnings_of_the_compiler_are_filtered_by_the_modules_name_as_without(make_package, run_python, program, kept):
    folder = make_package({"pkg/__init__.py": "", "pkg/mod.py": 'def f(x):\n    y = "\\d"\n    return x is 1\n'})
    warned = []
    for targets in ("'absent'", "'pkg.mod:f=y', 'mod:f=y', 'other:f=y', '__main__:f=y'"):
        done = run_python(
            "import sys, warnings, astcapture\nsys.dont_write_bytecode = True\n"
            f"hook = astcapture.install([{targets}])\n"
            f"warnings.simplefilter('ignore')\nwarnings.filterwarnings('always', module={kept!r}, category=Warning)\n"
            "def show(message, *rest, **more): print(message, *rest[1:2], file=sys.__stdout__)\n"
            f"warnings.showwarning = show\n{program}",
            cwd=folder,
        )
        warned.append(done.stdout)
    assert warned[0] == warned[1]
    if (program, kept) == ("import pkg.mod", "pkg.mod") and sys.version_info >= (3, 15):
        assert len(warned[0].splitlines()) == 2


def test_source_to_code_compiles_what_it_is_given_and_not_the_file(make_package):
    folder = make_package({"mod.py": MARKED})
    path = str(folder / "mod.py")
    with install(["mod"]) as hook:
        loader = CaptureLoader("mod", path, hook.targets)
        assert loader.source_to_code(b"other = 1", path).co_names == ("other",)
        assert loader.source_to_code("other = 1", "elsewhere.py").co_filename == "elsewhere.py"
        with pytest.raises(SyntaxError):
            loader.source_to_code(b"other = ", path)


# 22, 23


@pytest.mark.parametrize("first", ["marked", "plain"])
def test_pitfall_22_modules_that_import_each_other_keep_their_own_kind_of_bytecode(make_package, forget, first):
    folder = make_package(
        {
            "marked.py": "import plain\n" + MARKED,
            "plain.py": "import marked\nimport below\n",
            "below.py": "x = 1\n",
        }
    )
    for turn in (1, 2):
        with install(["marked"]):
            importlib.import_module(first)
            assert sys.modules["marked"].double(turn) == 2 * turn
            assert type(sys.modules["plain"].__loader__) is SourceFileLoader
        forget()
        assert cached(folder) == ["below", "marked+", "plain"]
    assert list(astcapture.cache["double"]) == [2, 4]
    importlib.import_module(first)
    assert cached(folder) == ["below", "marked", "marked+", "plain"]
    assert "_@record" not in sys.modules["marked"].double.__code__.co_names


def test_pitfall_23_so_they_do_when_many_threads_import_at_once(make_package, run_python):
    names = [f"mod{number}" for number in range(24)]
    folder = make_package({f"{name}.py": MARKED if number % 2 else "x = 1\n" for number, name in enumerate(names)})
    run_python("""
        import sys, threading
        import astcapture
        sys.setswitchinterval(1e-5)
        names = [f"mod{number}" for number in range(24)]
        astcapture.install(names[1::2])
        start = threading.Barrier(8)
        def load(shift):
            start.wait()
            for name in names[shift:] + names[:shift]:
                __import__(name)
        threads = [threading.Thread(target=load, args=(3 * shift,)) for shift in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert sorted(astcapture.cache) == sorted(f"{name}:double" for name in names[1::2])
    """)
    assert cached(folder) == sorted(name + "+" * (number % 2) for number, name in enumerate(names))


def test_a_listed_package_has_its_unmarked_modules_loaded_and_cached_plainly(make_package):
    folder = make_package({"pkg/__init__.py": "", "pkg/plain.py": "x = 1\n", "pkg/marked.py": MARKED})
    with install(["pkg"]):
        import pkg.marked
        import pkg.plain
    assert type(pkg.__loader__) is type(pkg.plain.__spec__.loader) is SourceFileLoader
    assert type(pkg.marked.__loader__) is CaptureLoader
    assert cached(folder) == ["__init__", "marked+", "plain"]
    plain = compile((folder / "pkg/plain.py").read_bytes(), str(folder / "pkg/plain.py"), "exec")
    assert same(pkg.plain.__loader__.get_code("pkg.plain"), plain)


def same(one: CodeType, other: CodeType) -> bool:
    return list(dis.get_instructions(one)) == list(dis.get_instructions(other))


# 24, 25


@pytest.mark.slow
def test_pitfall_24_targets_that_change_between_runs_never_run_stale_code(make_package, forget):
    folder = make_package({"mod.py": "def f(x):\n    y = x + 1\n    z = y + 1\n    return z\n\ndef g():\n    y = 7\n"})

    def captured(*targets: str) -> dict[str, list[int]]:
        forget()
        astcapture.cache.clear()
        with install(targets):
            mod = importlib.import_module("mod")
            mod.f(0)
            mod.g()
        return {f"{record.function}.{record.label}": record.value for record in astcapture.cache.select().records}

    for _ in range(2):
        assert captured("mod:f=y") == {"f.y": 1}
        assert captured("mod:f=z") == {"f.z": 2}
        assert captured("mod:f=y,z", "mod:g=y") == {"f.y": 1, "f.z": 2, "g.y": 7}
        assert captured("mod:f=other:=z*10") == {"f.other": 20}
        assert captured("mod:*=y") == {"f.y": 1, "g.y": 7}
    assert cached(folder) == ["mod+"] * 5


def test_pitfall_25_a_source_edited_within_the_same_second_to_the_same_size_is_compiled_anew(make_package, run_python):
    folder = make_package({"mod.py": MARKED})
    path = folder / "mod.py"
    program = """
        import astcapture
        astcapture.install(["mod"])
        import mod
        mod.double(3)
        print(list(astcapture.cache["double"]))
    """
    assert run_python(program).stdout == "[6]\n"
    before = path.stat()
    for factor in (5, 2):
        path.write_text(re.sub(r"x \* \d", f"x * {factor}", path.read_text()))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
        assert run_python(program).stdout == f"[{3 * factor}]\n"


def test_bytecode_is_cached_and_read_again(make_package, forget, monkeypatch):
    make_package({"mod.py": MARKED})
    with install(["mod"]):
        importlib.import_module("mod")
        forget()
        monkeypatch.setattr(compiling, "ast", None)  # nothing can be parsed any more
        monkeypatch.setattr("astcapture.imports.loader.rewritten_code", None)
        importlib.import_module("mod").double(1)
    assert list(astcapture.cache["double"]) == [2]


AS_IF_OLD = """
import astcapture.imports.sealed as sealed
sealed._COARSE = 0  # as if every file had been there for longer than times are coarse
"""


def test_a_source_that_nobody_has_touched_is_read_once_and_not_again_for_its_digest(make_package, run_python):
    folder = make_package({"mod.py": MARKED})
    program = (
        AS_IF_OLD
        + """
import sys
opened = []
sys.addaudithook(lambda event, given: opened.append(given[0]) if event == "open" else None)
import astcapture
astcapture.install(["mod"])
import mod
mod.double(3)
print(list(astcapture.cache["double"]), sum(str(path).endswith("mod.py") for path in opened))
"""
    )
    first, *later = [run_python(program).stdout for _ in range(3)]
    assert first.startswith("[6] ") and first > later[0]
    assert later == ["[6] 1\n"] * 2  # that it holds a marker is read; see `finder`
    (folder / "mod.py").write_text(MARKED.replace("* 2", "* 5"))
    assert run_python(program).stdout == first.replace("6", "15")


def test_pitfall_25_an_edit_that_keeps_size_and_time_is_seen_though_untouched_sources_are_not_read(
    make_package, run_python
):
    path = make_package({"mod.py": MARKED}) / "mod.py"
    program = AS_IF_OLD + "import astcapture; astcapture.install(['mod']); import mod; print(mod.double(3))"
    assert [run_python(program).stdout for _ in range(2)] == ["6\n"] * 2
    before = path.stat()
    for factor in (5, 2):
        path.write_text(re.sub(r"x \* \d", f"x * {factor}", path.read_text()))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
        assert [run_python(program).stdout for _ in range(2)] == [f"{3 * factor}\n"] * 2


def test_a_source_that_was_just_written_or_is_dated_in_the_future_has_no_state_to_be_known_by(tmp_path):
    path = tmp_path / "mod.py"
    path.write_text("x = 1\n")
    assert sealed.state_of(str(path)) == sealed.UNKNOWN
    os.utime(path, (0, 0))
    assert sealed.state_of(str(path)) == sealed.UNKNOWN  # its status was changed just now
    os.utime(path, (2**33, 2**33))
    assert sealed.state_of(str(path)) == sealed.UNKNOWN
    assert sealed.state_of(str(tmp_path / "none.py")) == sealed.UNKNOWN


def test_another_state_of_a_source_is_another_one(tmp_path, monkeypatch):
    monkeypatch.setattr(sealed, "_COARSE", 0)
    path, other = tmp_path / "mod.py", tmp_path / "other.py"
    states = set()
    for text, when in (("x = 1\n", 1), ("x = 11\n", 1), ("x = 11\n", 2)):
        path.write_text(text)
        os.utime(path, (when, when))
        assert sealed.state_of(str(path)) == sealed.state_of(str(path))
        states.add(sealed.state_of(str(path)))
    shutil.copy2(path, other)
    states.add(sealed.state_of(str(other)))
    assert len(states) == 4 and sealed.UNKNOWN not in states


def test_a_named_module_in_which_a_wildcard_finds_nothing_is_cached_and_tells_what_it_left_alone(make_package, forget):
    folder = make_package({"pkg/__init__.py": "", "pkg/one.py": "def f():\n    x = 1\n    return x\n",
                           "pkg/two.py": "def f():\n    return 2\n", "pkg/three.py": "y = 3\n"})  # fmt: skip
    for _ in range(2):
        astcapture.values.shared.shared.skipped.clear()
        with install(["pkg.*:f=x"]):
            for name in ("one", "two", "three"):
                importlib.import_module(f"pkg.{name}")
            assert "pkg.two:f: skipped, it does not bind 'x'" in astcapture.cache.summary()
        forget()
    assert cached(folder) == ["__init__", "one+", "three+", "two+"]


@pytest.mark.slow
@pytest.mark.parametrize("action", ["always", "error"])
@pytest.mark.parametrize("store", ["", ", store='run'"])
def test_a_python_that_warns_of_all_there_is_to_warn_of_has_nothing_to_say(make_package, run_python, store, action):
    make_package({"mod.py": MARKED})
    program = f"""
import astcapture
astcapture.install(["mod", "string:Template.substitute=mapping", "re:escape=pattern"]{store})
import mod, numpy, re, string
mod.double(numpy.ones(int(string.Template("$a").substitute(a=re.escape("2")))))
print(len(astcapture.cache), astcapture.cache.summary().count("Error"))
"""
    options = ["-X", "dev", "-X", "warn_default_encoding", "-W", action]
    for _ in range(2):
        done = run_python(*options, "-c", program)
        assert (done.stdout, done.stderr) == ("3 0\n", "")


# 26


IMPORT_AND_PRINT = """
    import astcapture
    astcapture.install(["mod"])
    import mod
    print(mod.double(3), list(astcapture.cache["double"]))
"""


@pytest.mark.slow
def test_pitfall_26_processes_that_write_one_file_at_once_all_import_and_leave_it_whole(make_package, run_python):
    folder = make_package({"mod.py": MARKED + "\n".join(f"def f{number}(): pass" for number in range(2000))})
    results: list[str] = []
    threads = [threading.Thread(target=lambda: results.append(run_python(IMPORT_AND_PRINT).stdout)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["6 [6]\n"] * 6
    assert cached(folder) == ["mod+"]
    assert run_python(IMPORT_AND_PRINT).stdout == "6 [6]\n"


def test_pitfall_26_a_folder_that_cannot_be_written_to_is_imported_from(make_package, run_python):
    folder = make_package({"mod.py": MARKED})
    (folder / "__pycache__").write_text("in the way")
    assert run_python(IMPORT_AND_PRINT).stdout == "6 [6]\n"
    assert cached(folder) == []


def test_pitfall_26_a_full_disk_leaves_no_file_and_the_import_succeeds(make_package, monkeypatch):
    folder = make_package({"mod.py": MARKED})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("importlib._bootstrap_external._write_atomic", full)
    with install(["mod"]):
        import mod
    assert mod.double(2) == 4
    assert cached(folder) == []


@pytest.mark.parametrize("kept", [0, 1, 15, 16, 17, 40, -1])
def test_pitfall_26_a_file_that_a_full_disk_cut_short_is_not_used_and_is_written_again(make_package, forget, kept):
    folder = make_package({"mod.py": MARKED})
    with install(["mod"]):
        importlib.import_module("mod")
        forget()
        (file,) = folder.rglob("*.pyc")
        whole = file.read_bytes()
        file.write_bytes(whole[:kept])
        assert importlib.import_module("mod").double(2) == 4
    assert file.read_bytes() == whole


# 27


def test_pitfall_27_no_bytecode_is_written_where_the_interpreter_was_told_so(make_package, run_python):
    folder = make_package({"mod.py": MARKED})
    run_python(IMPORT_AND_PRINT, env={"PYTHONDONTWRITEBYTECODE": "1"})
    assert cached(folder) == []


def test_pitfall_27_a_folder_for_all_bytecode_is_used(make_package, run_python):
    folder = make_package({"src/mod.py": MARKED})
    for _ in range(2):
        done = run_python(IMPORT_AND_PRINT, cwd=folder / "src", env={"PYTHONPYCACHEPREFIX": str(folder / "cache")})
        assert done.stdout == "6 [6]\n"
    assert cached(folder / "src") == []
    assert "mod+" in cached(folder / "cache")


@pytest.mark.parametrize("option", ["-O", "-OO"])
def test_optimised_bytecode_is_kept_apart(make_package, run_python, option):
    folder = make_package({"mod.py": MARKED})
    for options in ((), (option,), ()):
        assert run_python(*options, "-c", textwrap.dedent(IMPORT_AND_PRINT)).stdout == "6 [6]\n"
    assert len(list(folder.rglob("mod.*.pyc"))) == 2


# 28, and what else the user's own module raises


BROKEN = {
    "syntax": "def f(:\n    pass\n",
    "symbols": "def f():\n    x = 1\n    nonlocal x\n",
    "outside": "return 1\n",
    "indentation": "def f():\n        x = 1\n    return x\n",
    "null": "x = 1\0\n",
    "encoding": "# coding: no-such\n",
    "raising": "def inner():\n    raise ValueError('mine')\ninner()\n",
    "importing": "import no_such_module_anywhere\n",
    "asserting": "assert (lambda: 0)(), 'no'\n",
    "exiting": "import sys\nsys.exit('bye')\n",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_pitfall_28_what_a_module_raises_on_import_has_pythons_own_traceback(make_package, run_python, kind):
    make_package({"pkg/__init__.py": "", "main.py": "import os, sys\nif 'CAPTURED' in os.environ:\n"
                  "    import astcapture\n    astcapture.install(['pkg'])\nimport pkg.mod\n"})  # fmt: skip
    text = ("" if kind == "encoding" else "import astcapture\nfrom astcapture import capture\n") + BROKEN[kind]
    make_package({"pkg/mod.py": text + "# astcapture\n@capture('y')\ndef marked():\n    y = 1\n    return y\n"})
    run = [run_python("main.py", env=env, status=1).stderr for env in ({}, {"CAPTURED": "1"})]
    plain, captured = (re.sub(r"astcapture:0: CaptureWarning:.*", "", text, flags=re.DOTALL) for text in run)
    assert captured == plain
    assert "astcapture/" not in plain


def test_warnings_of_the_compiler_are_those_of_a_plain_import(make_package, run_python):
    for text in (MARKED, "# astcapture\n"):
        make_package({"mod.py": text + "x = '\\d'\ny = 1 is 1\n"})
        plain, captured = (
            run_python("-W", "always", "-B", "-c", f"import astcapture{then}\nimport mod").stderr
            for then in ("", "; hook = astcapture.install(['mod:double', 'm*'])" if text == MARKED else "")
        )
        assert captured == plain
        assert plain.count("Warning") == 2


def test_no_future_statement_of_ours_reaches_the_module(make_package):
    make_package({"mod.py": MARKED.replace("double(x)", "double(x: int)")})
    with install(["mod"]):
        mod = importlib.import_module("mod")
    assert mod.double.__annotations__ == {"x": int}


# 29


def test_pitfall_29_a_bug_in_the_rewriter_imports_the_plain_module_with_a_warning(make_package, forget, monkeypatch):
    folder = make_package({"mod.py": MARKED})

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a slip of ours")

    monkeypatch.setattr(compiling, "rewrite", broken)
    for _ in range(2):  # nothing is cached, so it is told each time
        with install(["mod"]), warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            mod = importlib.import_module("mod")
        assert mod.double(3) == 6
        forget()
        assert str(warned[0].message) == (
            f"{folder / 'mod.py'}: imported without captures: rewriting failed "
            "(ZeroDivisionError: a slip of ours); this is a bug in astcapture, please report it"
        )
        assert warned[0].category is CaptureWarning
        assert warned[0].filename == str(folder / "mod.py")
    assert cached(folder) == []


def test_pitfall_29_a_tree_that_does_not_compile_is_a_bug_too(make_package, monkeypatch):
    import ast

    make_package({"mod.py": MARKED})
    stray = ast.Break(lineno=1, col_offset=0)
    monkeypatch.setattr(compiling, "rewrite", lambda tree, plan: tree.body.append(stray))
    with install(["mod"]), pytest.warns(CaptureWarning) as warned:
        mod = importlib.import_module("mod")
    assert mod.double(3) == 6
    assert "imported without captures: rewriting failed (SyntaxError: " in str(warned[0].message)
    assert len(warned) == 1


def test_pitfall_29_strict_raises_it_and_names_the_file(make_package, monkeypatch):
    folder = make_package({"mod.py": MARKED})

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a slip of ours")

    monkeypatch.setattr(compiling, "rewrite", broken)
    with install(["mod"], strict=True), pytest.raises(CaptureError) as error:
        importlib.import_module("mod")
    assert str(error.value).startswith(f"{folder / 'mod.py'}: rewriting failed (ZeroDivisionError: a slip of ours)")
    assert isinstance(error.value.__cause__, ZeroDivisionError)
    assert "mod" not in sys.modules


def test_what_the_user_asked_wrongly_is_an_error_at_the_import(make_package):
    folder = make_package({"mod.py": MARKED.replace('"y"', '"yy"')})
    with install(["mod"]), pytest.raises(CaptureError) as error:
        importlib.import_module("mod")
    assert str(error.value) == f"{folder / 'mod.py'}:3: 'yy' is never bound in double (line 4): did you mean y?"
    assert "mod" not in sys.modules


# Imports as they are written


LATE = """
def late():
    from .one import double
    return double(5)
"""


def test_circular_relative_and_late_imports_work_as_without(make_package):
    make_package(
        {
            "pkg/__init__.py": "from . import one\nfrom .two import double as again\n",
            "pkg/one.py": "from pkg import two\nfrom . import two as also\nassert two is also\n" + MARKED,
            "pkg/two.py": "import pkg.one\n" + MARKED + LATE,
        }
    )
    with install(["pkg"]):
        import pkg
        from pkg import two

        assert (pkg.again(1), two.late(), pkg.one.double(3)) == (2, 10, 6)
    assert list(astcapture.cache["pkg.one:double"]) == [10, 6]
    assert list(astcapture.cache["pkg.two:double"]) == [2]


def test_a_main_guard_does_not_run_on_import(make_package):
    make_package({"mod.py": MARKED + "\nif __name__ == '__main__':\n    raise SystemExit\n"})
    with install(["mod"]):
        mod = importlib.import_module("mod")
    assert mod.__name__ == mod.double.__module__ == "mod"


def test_a_source_that_vanishes_fails_as_without(make_package, monkeypatch):
    folder = make_package({"mod.py": MARKED})
    spec = importlib.util.spec_from_file_location("mod", folder / "mod.py")
    (folder / "mod.py").unlink()
    with install(["mod"]) as hook:
        hook.spec(spec)
        assert type(spec.loader) is SourceFileLoader
        with pytest.raises(FileNotFoundError):
            spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_a_traceback_through_a_captured_function_shows_the_users_lines(make_package):
    make_package({"mod.py": MARKED})
    with install(["mod"]):
        mod = importlib.import_module("mod")
        with pytest.raises(TypeError) as error:
            mod.double(object())
    assert traceback.extract_tb(error.tb)[-1].line == "y = x * 2"


def test_a_mistake_of_the_user_leaves_a_traceback_of_their_own_files_alone(make_package, run_python):
    folder = make_package(
        {
            "net.py": "def forward(x):\n    gate = x\n    return gate\n",
            "main.py": "import astcapture\nastcapture.install(['net:forward=gat'])\nimport net\n",
        }
    )
    done = run_python("main.py", status=1)
    assert done.stderr == (
        "Traceback (most recent call last):\n"
        f'  File "{folder}/main.py", line 3, in <module>\n'
        "    import net\n"
        f'  File "{folder}/net.py", line 1, in <module>\n'
        "    def forward(x):\n"
        f"astcapture.CaptureError: {folder}/net.py:1: 'gat' is never bound in forward (line 1): did you mean gate?\n"
    )
    assert not list(folder.glob("__pycache__/net*"))
