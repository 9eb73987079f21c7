"""Modules that a program loads with a loader of its own making, past every finder, are captured."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from importlib.abc import SourceLoader
from importlib.machinery import SourceFileLoader
from types import ModuleType

import pytest

import astcapture
from astcapture.errors import CaptureError
from astcapture.imports.hook import install

MODEL = """
    from astcapture import capture

    @capture("y")
    def double(x):
        y = x * 2
        return y

    def named(x):
        z = x + 1
        return z
"""


def by_spec(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def by_spec_in_sys_modules(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def by_load_module(name, path):
    return SourceFileLoader(name, str(path)).load_module(name)


def by_its_code(name, path):
    module = ModuleType(name)
    exec(SourceFileLoader(name, str(path)).get_code(name), vars(module))
    return module


class Subclass(SourceFileLoader):
    """A tool's loader that does something of its own and calls on."""

    def get_code(self, fullname):
        self.asked = fullname
        return super().get_code(fullname)


def by_a_subclass(name, path):
    spec = importlib.util.spec_from_file_location(name, path, loader=Subclass(name, str(path)))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert spec.loader.asked == name
    assert isinstance(spec.loader, Subclass)
    return module


LOADS = [by_spec, by_spec_in_sys_modules, by_its_code, by_a_subclass]
if sys.version_info < (3, 15):  # which has it no more
    LOADS.append(by_load_module)


@pytest.fixture
def path(make_package, fresh_imports):
    yield make_package({"folder/remote.py": MODEL}) / "folder" / "remote.py"
    for name in ("remote", "made.up", "other_name"):
        sys.modules.pop(name, None)


@pytest.mark.cases(8)
@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize(
    ("name", "targets", "key"),
    [
        ("remote", ["remote", "remote:named=z"], "remote"),
        ("made.up", ["made.*:named=z", "made"], "made.up"),
        ("other_name", ["remote", "remote:named=z"], "remote"),
        ("other_name", ["folder.remote", "folder.remote:named=z"], "folder.remote"),
    ],
)
def test_the_targets_functions_are_captured_and_after_uninstall_they_are_plain(path, load, name, targets, key):
    for _ in range(2):  # compiled, and from the bytecode cache
        astcapture.cache.clear()
        with install(targets):
            module = load(name, path)
            assert (module.double(2), module.named(2)) == (4, 3)
        assert list(astcapture.cache[f"{key}:double"]) == [4]
        assert list(astcapture.cache[f"{key}:named"]) == [3]
    plain = load(name, path)
    assert plain.double.__code__.co_names == plain.named.__code__.co_names == ()


def test_a_module_that_no_target_means_is_loaded_as_ever(path):
    with install(["remot", "remote.x", "olde:f=x"]):
        module = by_spec("remote", path)
        assert type(module.__loader__) is SourceFileLoader
        assert module.double.__code__.co_names == ()


def test_the_class_gives_its_own_method_and_has_it_back_after_the_last_uninstall():
    original = SourceLoader.get_code
    with install(["remote"]):
        with install(["other"]):
            assert SourceFileLoader.get_code is original
        assert SourceFileLoader("a", "a.py").get_code.__func__ is original
        assert "get_code" in vars(SourceFileLoader)
    assert "get_code" not in vars(SourceFileLoader)


def test_what_another_tool_put_there_is_called_and_left_in_place(path, monkeypatch):
    asked = []

    def get_code(self, fullname):
        asked.append(fullname)
        return SourceLoader.get_code(self, fullname)

    monkeypatch.setattr(SourceFileLoader, "get_code", get_code, raising=False)
    with install(["remote"]):
        by_spec("remote", path).double(1)
    assert asked == ["remote"]
    assert list(astcapture.cache["remote:double"]) == [2]
    assert vars(SourceFileLoader)["get_code"] is get_code


def test_an_error_in_such_a_module_shows_no_frame_of_ours(make_package, fresh_imports):
    path = make_package({"remote.py": MODEL + "\n    1 / 0\n"}) / "remote.py"
    shown = []
    for targets in (["elsewhere"], ["remote"]):
        with install(targets), pytest.raises(ZeroDivisionError) as error:
            by_spec("remote", path)
        shown.append(traceback.format_exception(error.value)[2:])
    assert shown[0] == shown[1]


def test_a_name_that_is_never_bound_is_the_error_that_it_is_in_an_import(path):
    with install(["remote:named=zz"]), pytest.raises(CaptureError, match="'zz' is never bound in named") as error:
        by_spec("remote", path)
    assert traceback.extract_tb(error.value.__traceback__)[-1].filename == str(path)


def test_the_plain_bytecode_and_ours_are_kept_apart(path):
    with install(["remote"]):
        by_spec("remote", path)
    by_spec("remote", path)
    names = sorted(one.name for one in (path.parent / "__pycache__").iterdir())
    assert len(names) == 2
    assert [".astcapture-" in name for name in names] == [True, False]


def test_a_program_that_is_not_changed_is_captured_by_the_environment_alone(make_package, run_python):
    make_package(
        {
            "folder/remote.py": MODEL,
            "sitecustomize.py": "from astcapture.imports.startup import activate\nactivate()\n",
            "main.py": """
                import importlib.util
                spec = importlib.util.spec_from_file_location("remote", "folder/remote.py")
                module = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(module)
                print(module.double(2), module.named(2))
            """,
        }
    )
    path = f".:{astcapture.__path__[0]}/.."
    done = run_python("main.py", env={"ASTCAPTURE": "remote;remote:named=z", "PYTHONPATH": path})
    assert done.stdout == "4 3\n"
    assert "remote:double" in done.stderr
    assert "remote:named" in done.stderr
    assert "Warning" not in done.stderr


def test_installed_later_a_module_of_sys_modules_is_captured(path):
    module = by_spec_in_sys_modules("other_name", path)
    with install(["remote", "other_name:named=z"]):
        module.double(2), module.named(2)
    assert sorted(key for key, values in astcapture.cache.items() if len(values)) == ["remote:double", "remote:named"]
    module.double(2)
    assert module.double.__code__.co_names == ()
