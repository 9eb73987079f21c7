"""Rows 1 to 16 of the pitfalls of import hooks: which modules are found, by whom, and what is left alone."""

from __future__ import annotations

import importlib
import importlib.util
import pickle
import sys
import types
import warnings
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path

import pytest

import astcapture
from astcapture import CaptureError, CaptureWarning, install
from astcapture.imports.hook import _finder
from astcapture.imports.loader import CaptureLoader

MARKED = """
from astcapture import capture

@capture("y")
def double(x):
    y = x * 2
    return y
"""

pytestmark = pytest.mark.usefixtures("fresh_imports")


def ours() -> int:
    return sum(finder is _finder for finder in sys.meta_path)


# 1


def test_pitfall_01_a_target_does_not_touch_modules_whose_names_merely_begin_like_it(make_package):
    make_package({"pkg.py": MARKED, "pkgutilities.py": MARKED, "pkg_more/__init__.py": MARKED})
    with install(["pkg"]):
        import pkg
        import pkg_more
        import pkgutilities
    assert type(pkg.__loader__) is CaptureLoader
    assert type(pkgutilities.__loader__) is SourceFileLoader
    assert type(pkg_more.__loader__) is SourceFileLoader


def test_a_target_means_the_submodules_too_and_captures_in_them(make_package):
    make_package({"pkg/__init__.py": "", "pkg/deep/__init__.py": "", "pkg/deep/mod.py": MARKED})
    with install(["pkg"]):
        from pkg.deep import mod

        assert mod.double(4) == 8
    assert list(astcapture.cache["pkg.deep.mod:double"]) == [8]


# 2


class EditableFinder:
    """As meson-python's editable installs: a finder of its own, for a module that is on no path."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return importlib.util.spec_from_file_location(fullname, self.path) if fullname == self.name else None


@pytest.mark.parametrize("installed_first", [True, False])
def test_pitfall_02_modules_of_another_finder_are_captured(make_package, installed_first):
    make_package({"elsewhere/source.py": MARKED})
    other = EditableFinder("editable", Path("elsewhere/source.py").absolute())
    other.path = next(Path(folder) / "elsewhere/source.py" for folder in sys.path if (Path(folder) / "elsewhere").exists())
    if not installed_first:
        sys.meta_path.insert(0, other)
    with install(["editable"]):
        if installed_first:
            sys.meta_path.append(other)
        module = importlib.import_module("editable")
        module.double(1)
    del sys.modules["editable"]
    assert list(astcapture.cache["editable:double"]) == [2]


def test_a_finder_of_the_old_kind_without_find_spec_is_passed_over(make_package):
    make_package({"mod.py": MARKED})
    sys.meta_path.insert(0, object())  # type: ignore[arg-type]
    with install(["mod"]), warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)
        import mod
    assert type(mod.__loader__) is CaptureLoader


# 3, 5

MUTUAL = """
    import threading, sys
    import astcapture
    astcapture.install(["left", "right"])
    threads = [threading.Thread(target=__import__, args=(name,)) for name in ("left", "right")]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    assert sys.modules["left"].double(1) == sys.modules["right"].double(1) == 2
    print(sorted(astcapture.cache), [list(records) for records in astcapture.cache.values()])
"""


def test_pitfall_03_and_05_two_threads_importing_modules_that_import_each_other_do_not_wait_forever(
    make_package, run_python
):
    for turn in range(3):
        folder = make_package({"left.py": "import right\n" + MARKED, "right.py": "import left\n" + MARKED})
        output = run_python(MUTUAL, cwd=folder, timeout=30).stdout
        assert output == "['left:double', 'right:double'] [[2], [2]]\n", turn


def test_pitfall_04_nothing_is_imported_while_a_module_is_looked_for_or_rewritten(make_package, run_python):
    make_package({"mod.py": MARKED, "bytecode.py": MARKED})
    compile_only("bytecode")
    run_python("""
        import sys, warnings
        import astcapture
        from astcapture.imports.hook import _finder
        astcapture.install(["mod", "bytecode", "_random:f=x", "__hello__:main=x"])
        known = set(sys.modules)
        for name in ("mod", "bytecode", "_random", "__hello__", "absent"):
            spec = _finder.find_spec(name)
            if name == "mod":
                spec.loader.get_code(name)
        assert set(sys.modules) == known, set(sys.modules) - known
    """)


def compile_only(name: str) -> None:
    """Leave a module's bytecode alone in place of its source."""
    import py_compile

    source = next(Path(folder) / f"{name}.py" for folder in sys.path if (Path(folder) / f"{name}.py").exists())
    py_compile.compile(str(source), str(source) + "c")
    source.unlink()
