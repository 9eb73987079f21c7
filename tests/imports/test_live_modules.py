"""Modules that are imported already: their live functions are exchanged, and given back."""

from __future__ import annotations

import functools
import importlib
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import astcapture

SOURCE = """\
import functools

from astcapture import capture


class Model:
    scale = 2

    @capture("attn")
    def forward(self, x):
        attn = x * self.scale
        return attn + 1

    @property
    @capture("inner")
    def size(self):
        inner = self.scale
        return inner

    def unmarked(self, x):
        local = x
        return local


def decorated(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)

    return wrapper


@decorated
@capture("y")
def wrapped(x):
    y = x - 1
    return y


def outer(x):
    @capture("z")
    def inner():
        z = x * 10
        return z

    return inner
"""


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / "live_module.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("live_module")
    yield module
    sys.modules.pop("live_module", None)
    astcapture.cache.clear()


def test_a_model_built_before_install_is_captured_and_its_results_are_the_same(live: ModuleType) -> None:
    model = live.Model()
    plain = (model.forward(3), model.size, live.wrapped(5))
    with astcapture.install(["live_module"]), astcapture.recording() as rec:
        assert (model.forward(3), model.size, live.wrapped(5)) == plain
    assert list(rec["live_module:Model.forward"]) == [6]
    assert list(rec["live_module:Model.size"]) == [2]
    assert list(rec["live_module:wrapped"]) == [4]


def test_a_closure_made_before_install_is_captured_and_so_is_one_made_after(live: ModuleType) -> None:
    before = live.outer(1)
    with astcapture.install(["live_module"]), astcapture.recording() as rec:
        assert before() == 10
        assert live.outer(2)() == 20
    assert list(rec["live_module:outer.<locals>.inner"]) == [10, 20]


def test_uninstall_gives_back_the_very_code_objects(live: ModuleType) -> None:
    codes = (live.Model.forward.__code__, live.Model.size.fget.__code__, live.wrapped.__wrapped__.__code__)
    hook = astcapture.install(["live_module"])
    assert live.Model.forward.__code__ is not codes[0]
    hook.uninstall()
    after = (live.Model.forward.__code__, live.Model.size.fget.__code__, live.wrapped.__wrapped__.__code__)
    assert all(one is other for one, other in zip(codes, after, strict=True))


def test_functions_that_were_imported_rewritten_are_plain_after_uninstall(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "late_module.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    hook = astcapture.install(["late_module"])
    module = importlib.import_module("late_module")
    model = module.Model()
    try:
        with astcapture.recording() as rec:
            model.forward(1)
            hook.uninstall()
            with astcapture.install(["some_other_module"], strict=True) as other:
                model.forward(2)
                other.uninstall()
        assert list(rec["late_module:Model.forward"]) == [2]
        assert not any(name.startswith("_@") for name in module.Model.forward.__code__.co_names)
    finally:
        sys.modules.pop("late_module")


@pytest.mark.slow
def test_a_second_hook_adds_to_a_live_module_and_takes_only_its_own_away(live: ModuleType) -> None:
    model = live.Model()
    first = astcapture.install(["live_module"])
    second = astcapture.install(["live_module:Model.unmarked=local"])
    with astcapture.recording() as both:
        model.forward(1), model.unmarked(1)
    second.uninstall()
    with astcapture.recording() as one:
        model.forward(1), model.unmarked(1)
    first.uninstall()
    assert [len(both["live_module:Model.forward"]), len(both["live_module:Model.unmarked"])] == [1, 1]
    assert [len(one["live_module:Model.forward"]), len(one["live_module:Model.unmarked"])] == [1, 0]


def test_a_name_that_a_live_function_never_binds_is_an_error_and_leaves_nothing_installed(live: ModuleType) -> None:
    with pytest.raises(
        astcapture.CaptureError, match=r"live_module.py:20: 'lokal' is never bound .* did you mean local"
    ):
        astcapture.install(["live_module:Model.unmarked=lokal"])
    assert not any(type(finder).__name__ == "CaptureFinder" for finder in sys.meta_path)


def test_of_a_mistake_in_a_live_module_one_frame_of_ours_is_shown_and_nothing_more_is_said_at_exit(
    make_package, run_python
) -> None:
    make_package({"mod.py": "def f(x):\n    y = x\n    return y\n"})
    done = run_python("import mod, astcapture\nastcapture.install(['mod:f=z'])\n", status=1)
    frames = [line.partition(", line")[0] for line in done.stderr.splitlines() if line.startswith("  File")]
    assert len([frame for frame in frames if "astcapture" in frame]) <= 2  # `install`, and what it calls
    assert done.stderr.rstrip().splitlines()[-1].startswith("astcapture.CaptureError: ")
    assert "mod.py:1: 'z' is never bound in f" in done.stderr


def test_what_is_hidden_from_the_collector_is_captured_too(make_package, run_python) -> None:
    # As servers do before they fork. The closure is known to a running frame alone.
    source = """
    def f(x):
        z = x + 1
        return z

    def made(n):
        def g(x):
            z = x + n + 1
            return z + n
        return g
    """
    make_package({"mod.py": source})
    done = run_python(
        "import gc, mod, astcapture\n"
        "def main(f):\n"
        "    g = mod.made(2)\n"
        "    gc.freeze()\n"
        "    frozen = gc.get_freeze_count()\n"
        "    hook = astcapture.install(['mod:*=z'])\n"
        "    assert (f(1), g(1)) == (2, 6)\n"
        "    assert [*astcapture.cache.select()] == [2, 4], astcapture.cache.summary()\n"
        "    hook.uninstall()\n"
        "    assert gc.get_freeze_count() > frozen // 2\n"
        "main(mod.f)\n"
    )
    assert done.stderr == ""


@pytest.mark.skipif(sys.version_info < (3, 11), reason="frozen from Python 3.11 on")
def test_of_a_module_that_is_frozen_into_the_interpreter_it_is_said_how_to_have_its_file(run_python) -> None:
    script = (
        "import genericpath, astcapture\n"
        "with astcapture.install(['genericpath:_splitext=sepIndex']):\n"
        "    genericpath._splitext('a.b', '/', None, '.')\n"
        "    print(len(astcapture.cache.select(label='sepIndex')))\n"
    )
    frozen = run_python(script)
    assert frozen.stdout == "0\n"
    assert "not captured: genericpath:_splitext: no live function runs" in frozen.stderr
    assert "start Python with -X frozen_modules=off" in frozen.stderr
    from_file = run_python("-X", "frozen_modules=off", "-c", script)
    assert (from_file.stdout, from_file.stderr) == ("1\n", "")


def test_a_source_that_has_changed_since_the_import_is_warned_of_by_function(live: ModuleType) -> None:
    path = Path(live.__file__ or "")
    path.write_text(SOURCE.replace("x * self.scale", "x * self.scale * 2"))
    with pytest.warns(
        astcapture.CaptureWarning, match=r"not captured: live_module:Model.forward: no live function runs"
    ):
        hook = astcapture.install(["live_module:Model.forward=attn"])
    assert live.Model().forward(3) == 7
    hook.uninstall()


def test_a_source_that_is_gone_is_warned_of_with_its_path(live: ModuleType) -> None:
    path = Path(live.__file__ or "")
    path.unlink()
    with pytest.warns(astcapture.CaptureWarning, match=r"live_module: cannot read its source .*live_module.py"):
        astcapture.install(["live_module:Model.forward=attn"]).uninstall()


def test_a_function_that_was_replaced_is_warned_of(live: ModuleType) -> None:
    live.Model.forward = functools.partial(print)
    with pytest.warns(astcapture.CaptureWarning, match=r"Model.forward: no live function runs .*it was replaced"):
        astcapture.install(["live_module:Model.forward=attn"]).uninstall()


def test_an_expression_that_would_change_the_closure_of_a_live_function_is_refused(live: ModuleType) -> None:
    made = live.outer(1)
    with pytest.raises(astcapture.CaptureError, match=r"would change the function's closure"):
        astcapture.install({"live_module:outer.<locals>.inner": ["both:=(z, inner)"]})
    assert made() == 10


def test_refusing_imported_modules_names_them_and_installs_nothing(live: ModuleType) -> None:
    with pytest.raises(astcapture.CaptureError, match=r"^live_module: imported before install"):
        astcapture.install(["live_module"], imported="error")
    assert not any(type(finder).__name__ == "CaptureFinder" for finder in sys.meta_path)


def test_an_unknown_way_with_imported_modules_is_an_error_that_says_what_to_write() -> None:
    with pytest.raises(astcapture.CaptureError, match='write imported="patch" or imported="error"'):
        astcapture.install(["x"], imported="warn")


def test_a_module_of_a_listed_package_without_markers_is_not_touched(live: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "unmarked_live.py").write_text("def f():\n    y = 1\n    return y\n")
    plain = importlib.import_module("unmarked_live")
    code = plain.f.__code__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with astcapture.install(["unmarked_live"]):
            assert plain.f.__code__ is code
    sys.modules.pop("unmarked_live")


def test_a_bug_of_the_rewriter_leaves_live_functions_as_they_are_and_is_warned_of(
    live: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> None:
        raise AssertionError("a bug")

    monkeypatch.setattr("astcapture.imports.patch.rewrite", broken)
    with pytest.warns(astcapture.CaptureWarning, match=r"live_module: rewriting failed \(AssertionError: a bug\)"):
        hook = astcapture.install(["live_module"])
    assert live.Model().forward(3) == 7
    hook.uninstall()
    with pytest.raises(astcapture.CaptureError, match=r"rewriting failed .* please report it"):
        astcapture.install(["live_module"], strict=True)


def test_a_source_that_no_longer_parses_is_warned_of(live: ModuleType) -> None:
    Path(live.__file__ or "").write_text("def f(:\n")
    with pytest.warns(
        astcapture.CaptureWarning, match=r"its source has changed since the import and has a syntax error"
    ):
        astcapture.install(["live_module:Model.forward=attn"]).uninstall()
    assert live.Model().forward(3) == 7


def test_what_a_live_module_records_while_the_interpreter_exits_is_nothing_and_silent(
    tmp_path: Path,
) -> None:
    (tmp_path / "live_module.py").write_text(SOURCE)
    script = (
        "import live_module, astcapture\n"
        "class Held:\n"
        "    model = live_module.Model()\n"
        "    def __del__(self): print(self.model.forward(3))\n"
        "astcapture.install(['live_module'])\n"
        "live_module.held = Held()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("7\n", "")


def test_a_live_module_that_defines_a_function_where_it_is_never_reached_is_captured(tmp_path: Path) -> None:
    (tmp_path / "unreached.py").write_text(
        "def f(x):\n    try:\n        y = x + 1\n    except ValueError:\n        return\n        def never(): pass\n"
        "    finally:\n        x\n    return y\n"
    )
    script = (
        "import sys; sys.path.insert(0, '.')\n"
        "import unreached, astcapture\n"
        "with astcapture.install(['unreached:f=y'], strict=True):\n"
        "    print(unreached.f(1), list(astcapture.cache['unreached:f']))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("2 [2]\n", "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("at", "options"), [("*,*@assign", {}), ("*", {"dtype": "float32"}), ("*", {"limit": 2_000})], ids=str
)
def test_what_the_recorder_itself_may_be_made_with_can_be_captured(run_python, at, options):
    program = f"""
    import collections, contextlib, fnmatch, threading, warnings, weakref
    import astcapture

    class Thing: pass

    def work():
        with contextlib.suppress(KeyError), contextlib.ExitStack() as stack:
            stack.callback(print, "left")
            raise KeyError(1)
        counted = collections.Counter("abca") + collections.Counter(d=2)
        one = Thing()
        known = weakref.WeakKeyDictionary({{one: 1}})
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            warnings.warn("once")
        return sorted(counted.items()), len(known), fnmatch.filter(["a", "b"], "[a]"), len(told)

    plain = work()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        modules = "contextlib", "collections", "weakref", "warnings", "fnmatch", "threading"
        with astcapture.install([f"{{name}}:*={at}" for name in modules], **{options!r}):
            assert repr(work()) == repr(plain)
        told = astcapture.cache.summary()
        print("RecursionError" in told, "contextlib:suppress.__exit__" in astcapture.cache)
    """
    done = run_python(program)
    assert done.stdout == "left\nleft\nFalse True\n"
