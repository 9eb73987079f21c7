"""Rows 1 to 16 of the pitfalls of import hooks: which modules are found, by whom, and what is left alone."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import pickle
import py_compile
import re
import sys
import textwrap
import warnings
import zipfile
from collections.abc import Callable, Iterable
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pytest

import astcapture
from astcapture import CaptureError, CaptureWarning, install
from astcapture.imports.hook import finder
from astcapture.imports.loader import CaptureLoader

MARKED = """
from astcapture import capture

@capture("y")
def double(x):
    y = x * 2
    return y
"""


@pytest.fixture
def forget(fresh_imports: Callable[[], None]) -> Callable[[], None]:
    return fresh_imports


pytestmark = pytest.mark.usefixtures("fresh_imports")


def ours() -> int:
    return sum(one is finder for one in sys.meta_path)


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
    folder = make_package({"elsewhere/source.py": MARKED})
    other = EditableFinder("editable", folder / "elsewhere/source.py")
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
    import contextlib, threading
    import astcapture
    astcapture.install(["left", "right"])
    def load(name):
        with contextlib.suppress(RuntimeError):  # Python's own: it sees that the two wait for each other, and gives up
            __import__(name)
    threads = [threading.Thread(target=load, args=(name,)) for name in ("left", "right")]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    import left, right
    assert left.double(1) == right.double(1) == 2
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
    folder = make_package({"mod.py": MARKED, "bytecode.py": MARKED})
    compile_only(folder / "bytecode.py")
    run_python("""
        import sys, warnings
        import astcapture
        from astcapture.imports.hook import finder
        astcapture.install(["mod", "bytecode", "_random:f=x", "__hello__:main=x"])
        known = set(sys.modules)
        for name in ("mod", "bytecode", "_random", "__hello__", "absent"):
            spec = finder.find_spec(name)
            if name == "mod":
                spec.loader.get_code(name)
        assert set(sys.modules) == known, set(sys.modules) - known
    """)


# 6


def test_pitfall_06_a_namespace_package_keeps_its_spec_and_its_submodules_are_captured(make_package, forget):
    make_package({"spaces/deep/mod.py": MARKED})
    plain = importlib.import_module("spaces")
    expected = (type(plain.__spec__.loader), type(plain.__path__), list(plain.__path__), plain.__spec__.origin)
    forget()
    with install(["spaces"]), warnings.catch_warnings():
        warnings.simplefilter("error")
        from spaces.deep import mod

        assert mod.double(3) == 6
    spaces = importlib.import_module("spaces")
    found = (type(spaces.__spec__.loader), type(spaces.__path__), list(spaces.__path__), spaces.__spec__.origin)
    assert found == expected
    assert list(astcapture.cache["spaces.deep.mod:double"]) == [6]


# 7


def test_pitfall_07_a_module_in_a_zip_file_is_imported_with_a_warning(make_package):
    folder = make_package({"zipped.py": MARKED})
    with zipfile.ZipFile(folder / "library.zip", "w") as library:
        library.write(folder / "zipped.py", "zipped.py")
    (folder / "zipped.py").unlink()
    sys.path.insert(0, str(folder / "library.zip"))
    with install(["zipped"]), pytest.warns(CaptureWarning) as warned:
        import zipped
    assert zipped.double(1) == 2
    assert texts(warned)[0] == (
        f"zipped is imported without captures: zipimporter loads it from {folder / 'library.zip/zipped.py'}, "
        "but only modules that SourceFileLoader loads from source can be rewritten"
    )
    assert warned[0].filename == __file__  # the import itself is shown


def test_pitfall_07_a_module_without_source_is_imported_with_a_warning(make_package):
    folder = make_package({"bytecode/__init__.py": "", "bytecode/mod.py": MARKED})
    compile_only(folder / "bytecode/mod.py")
    with install(["bytecode"]), pytest.warns(CaptureWarning) as warned:
        from bytecode import mod
    assert mod.double(1) == 2
    assert texts(warned)[0].startswith("bytecode.mod is imported without captures: SourcelessFileLoader loads it from ")


def test_pitfall_07_an_extension_and_a_frozen_module_are_imported_with_a_warning(run_python):
    errors = run_python("""
        import sys
        import astcapture
        astcapture.install(["_elementtree:f=x", "__hello__:main=x"])
        import _elementtree, __hello__
        print(_elementtree.__spec__.loader, __hello__.__spec__.loader)
    """).stderr
    assert re.search("_elementtree is imported without captures: (ExtensionFileLoader|BuiltinImporter) loads", errors)
    assert "__hello__ is imported without captures: FrozenImporter loads it, but only" in errors


def test_modules_that_cannot_be_captured_and_were_not_meant_are_imported_in_silence(make_package):
    folder = make_package({"pkg/__init__.py": "", "pkg/plain.py": "x = 1", "pkg/data.py": ""})
    sys.meta_path.insert(0, OtherTools(folder / "pkg/plain.py", "pkg.plain", ForeignLoader))
    with install(["pkg"]), warnings.catch_warnings():
        warnings.simplefilter("error")
        importlib.import_module("pkg.plain")


# 8


class OtherTools:
    """Another tool's finder, which has one module loaded by a loader of its own."""

    def __init__(self, path: Path, name: str, loader: Callable[[str, str], object]) -> None:
        self.path, self.name, self.loader = path, name, loader

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        loader = self.loader(fullname, str(self.path))
        return importlib.util.spec_from_file_location(fullname, self.path, loader=loader)  # type: ignore[arg-type]


class TreeLoader(SourceFileLoader):
    """As typeguard's: transforms a tree, which it accepts in place of source, and marks what it cached."""

    @staticmethod
    def source_to_code(data: Any, path: str, fullname: str | None = None) -> CodeType:  # type: ignore[override]
        tree = data if isinstance(data, ast.Module) else ast.parse(data, path)
        tree.body.append(ast.parse("transformed = True").body[0])
        return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)


class TextLoader(SourceFileLoader):
    """As jaxtyping's and beartype's: takes source alone."""

    def source_to_code(  # type: ignore[override]
        self, data: Any, path: str, fullname: str | None = None, *, _optimize: int = -1
    ) -> CodeType:
        source = importlib.util.decode_source(data)
        return compile(source + "\ntransformed = True", path, "exec", dont_inherit=True, optimize=_optimize)


class ForeignLoader:
    """As pytest's: loads source, and is no `SourceFileLoader`."""

    def __init__(self, name: str, path: str) -> None:
        self.path = path

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(Path(self.path).read_text() + "\ntransformed = True", module.__dict__)


class ChainedLoader:
    """As wrapt's and ddtrace's: has another loader do the work, and does something after it."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        module.transformed = True  # type: ignore[attr-defined]


def test_pitfall_08_a_loader_that_transforms_trees_does_its_work_on_ours(make_package, forget):
    folder = make_package({"mod.py": MARKED})
    sys.meta_path.insert(0, OtherTools(folder / "mod.py", "mod", TreeLoader))
    for turn in (1, 2):  # compiled, and from the bytecode cache
        with install(["mod"]):
            mod = importlib.import_module("mod")
            mod.double(turn)
        assert mod.transformed
        assert isinstance(mod.__loader__, TreeLoader)
        assert type(pickle.loads(pickle.dumps(mod.__spec__)).loader) is type(mod.__loader__)
        forget()
    assert list(astcapture.cache["mod:double"]) == [2, 4]


def test_pitfall_08_a_loader_that_takes_source_alone_goes_first_and_this_is_warned_of_each_time(make_package, forget):
    folder = make_package({"mod.py": MARKED})
    sys.meta_path.insert(0, OtherTools(folder / "mod.py", "mod", TextLoader))
    for _ in range(2):
        with install(["mod"]), pytest.warns(CaptureWarning) as warned:
            mod = importlib.import_module("mod")
        assert (mod.transformed, mod.double(2)) == (True, 4)
        assert texts(warned)[0] == (
            f"mod is imported without captures: {__name__}.TextLoader also transforms it, and accepts "
            "only source text; exclude the module from one of the two import hooks"
        )
        assert warned[0].filename == str(folder / "mod.py")
        forget()


def test_pitfall_08_a_loader_that_is_no_source_file_loader_goes_first_and_this_is_warned_of(make_package):
    folder = make_package({"mod.py": MARKED})
    sys.meta_path.insert(0, OtherTools(folder / "mod.py", "mod", ForeignLoader))
    with install(["mod"]), pytest.warns(CaptureWarning) as warned:
        mod = importlib.import_module("mod")
    assert mod.transformed
    assert texts(warned)[0].startswith("mod is imported without captures: ForeignLoader loads it")


def test_pitfall_08_a_loader_that_accompanies_another_has_the_other_replaced(make_package):
    folder = make_package({"mod.py": MARKED})
    chained = OtherTools(folder / "mod.py", "mod", lambda name, path: ChainedLoader(SourceFileLoader(name, path)))
    sys.meta_path.insert(0, chained)
    with install(["mod"]):
        mod = importlib.import_module("mod")
        mod.double(5)
    assert mod.transformed
    assert isinstance(mod.__loader__, ChainedLoader)
    assert list(astcapture.cache["mod:double"]) == [10]


def test_pitfall_08_a_loader_whose_bytecode_was_cached_alone_does_not_give_it_to_us(make_package, forget):
    folder = make_package({"mod.py": MARKED})
    with install(["mod"]):
        importlib.import_module("mod")
        forget()
        sys.meta_path.insert(1, OtherTools(folder / "mod.py", "mod", TreeLoader))
        assert importlib.import_module("mod").transformed
        forget()
        del sys.meta_path[1]
        assert not hasattr(importlib.import_module("mod"), "transformed")


def test_two_finders_that_ask_all_others_do_not_ask_each_other_without_end(make_package):
    make_package({"mod.py": MARKED})

    class Inquisitive:
        def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
            for one in sys.meta_path:
                if one is not self and fullname == "mod":
                    spec = one.find_spec(fullname, path, target)  # type: ignore[arg-type]
                    if spec is not None:
                        return spec
            return None

    sys.meta_path.insert(0, Inquisitive())  # type: ignore[arg-type]
    with install(["mod"]):
        mod = importlib.import_module("mod")
    assert type(mod.__loader__) is CaptureLoader


# 9


def test_pitfall_09_what_a_hook_inserted_later_finds_before_ours_is_captured_all_the_same(make_package, run_python):
    make_package({"mod.py": MARKED, "named.py": "def f():\n    x = 1\n    return x\n"})
    done = run_python("""
        import sys
        from importlib.machinery import PathFinder
        import astcapture
        astcapture.install(["mod", "named:f=x"])
        class Shadow:
            find_spec = PathFinder.find_spec
        sys.meta_path.insert(0, Shadow())
        import mod, named
        assert mod.double(2) == 4 and named.f() == 1
        print(list(astcapture.cache["double"]), list(astcapture.cache["named:f"]))
    """)
    assert (done.stdout, done.stderr) == ("[4] [1]\n", "")


def test_a_hook_inserted_later_that_loads_without_a_source_loader_is_told_of_at_exit(make_package, run_python):
    make_package({"named.py": "def f():\n    x = 1\n    return x\n"})
    errors = run_python("""
        import sys
        from importlib.machinery import ModuleSpec
        import astcapture
        astcapture.install(["named:f=x"])
        class Shadow:
            def find_spec(self, name, path, target=None):
                return ModuleSpec(name, self) if name == "named" else None
            def create_module(self, spec):
                return None
            def exec_module(self, module):
                exec(open("named.py").read(), vars(module))
        sys.meta_path.insert(0, Shadow())
        import named
        assert named.f() == 1
    """).stderr
    assert "target 'named:f=x': __main__.Shadow loaded named, but only modules that SourceFileLoader loads" in errors


# 10


def test_pitfall_10_two_installs_put_one_finder_and_the_first_uninstall_leaves_it_to_the_second(make_package):
    make_package({"one.py": MARKED, "two.py": MARKED})
    first, second = install(["one"]), install(["two"])
    assert ours() == 1
    assert sys.meta_path[0] is finder
    first.uninstall()
    first.uninstall()
    assert ours() == 1
    import one
    import two

    assert type(one.__loader__) is SourceFileLoader
    assert type(two.__loader__) is CaptureLoader
    second.uninstall()
    assert ours() == 0


def test_pitfall_10_uninstalling_removes_nothing_but_ours_and_works_after_the_path_was_replaced():
    before = list(sys.meta_path)
    other = EditableFinder("nothing", Path())
    hook = install(["mod"])
    sys.meta_path.insert(0, other)
    hook.uninstall()
    assert sys.meta_path == [other, *before]
    hook = install(["mod"])
    sys.meta_path = before[:]
    install(["another"]).uninstall()
    hook.uninstall()
    assert sys.meta_path == before


@pytest.mark.slow
def test_hooks_that_the_program_does_not_keep_all_stay_installed():
    for number in range(50):
        install([f"mod{number}"])
    assert len(finder.targets) == 50


# 11


LAZY_FACTORY = """
    import importlib.machinery, importlib.util, sys
    loaders = importlib.machinery.SourceFileLoader, importlib.machinery.SOURCE_SUFFIXES
    lazy = importlib.util.LazyLoader.factory(loaders[0])
    finder = importlib.machinery.FileFinder(".", (lazy, loaders[1]))
    class Lazy:
        def find_spec(self, name, path=None, target=None):
            return finder.find_spec(name)
    def lazy_import(name):
        return __import__(name)
    sys.meta_path.insert(0, Lazy())
"""
LAZY_RECIPE = """
    import importlib.util, sys
    def lazy_import(name):  # as the documentation of importlib has it
        spec = importlib.util.find_spec(name)
        loader = importlib.util.LazyLoader(spec.loader)
        spec.loader = loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        loader.exec_module(module)
        return module
"""


@pytest.mark.parametrize("recipe", [LAZY_FACTORY, LAZY_RECIPE])
def test_pitfall_11_a_lazy_module_stays_lazy_and_is_captured_when_it_is_used(make_package, run_python, recipe):
    make_package({"mod.py": "print('loaded')\n" + MARKED, "asleep.py": "print('never')\n" + MARKED})
    start = textwrap.dedent(recipe)
    output = run_python(
        start
        + textwrap.dedent("""
        import astcapture
        astcapture.install(["mod", "asleep"])
        mod, asleep = lazy_import("mod"), lazy_import("asleep")
        astcapture.install(["asleep:double", "elsewhere"]).uninstall()  # looks at every module that is imported
        print("not yet")
        print(mod.double(3), list(astcapture.cache["double"]))
    """)
    )
    assert output.stdout == "not yet\nloaded\n6 [6]\n"
    assert "never" not in output.stderr


# 12


def test_pitfall_12_a_module_loaded_from_a_hand_made_spec_is_captured_with_hook_spec_and_without(make_package):
    path = make_package({"remote.py": MARKED}) / "remote.py"
    with install(["remote"]) as hook:
        spec = importlib.util.spec_from_file_location("remote", path)
        by_itself = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(by_itself)
        by_itself.double(3)

        spec = importlib.util.spec_from_file_location("remote", path)
        assert hook.spec(spec) is spec
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.double(4)
        assert list(astcapture.cache["remote:double"]) == [6, 8]


def test_hook_spec_refuses_a_module_that_no_target_means(make_package):
    path = make_package({"remote.py": MARKED}) / "remote.py"
    with install(["mod"]) as hook, pytest.raises(CaptureError) as error:
        hook.spec(importlib.util.spec_from_file_location("remote", path))
    assert str(error.value) == "no target of <Hook: mod> means remote: write install(['remote'])"


def test_a_marker_that_is_not_imported_from_astcapture_is_warned_of(make_package):
    marked = MARKED.replace("from astcapture import capture", "from marks import mark as capture  # of astcapture")
    make_package({"marks.py": "from astcapture import capture as mark", "mod.py": marked})
    with install(["mod"]), pytest.warns(CaptureWarning) as warned:
        import mod
    assert mod.double(1) == 2
    assert "".join(texts(warned)) == (
        "double is marked but not captured: the marker is read from the source, "
        "and there it is not imported from astcapture"
    )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "decorators",
    ["@staticmethod\n    @capture('y')", "@capture('y')\n    @staticmethod", "@capture('y')\n    @property",
     "@capture('y')\n    @functools.lru_cache"],
)  # fmt: skip
def test_a_rewritten_function_under_other_decorators_is_not_warned_of(make_package, decorators):
    make_package({"mod.py": f"import functools\nfrom astcapture import capture\n\nclass C:\n    {decorators}\n"
                            "    def f(x):\n        y = x\n        return y\n"})  # fmt: skip
    with install(["mod"]):
        import mod  # noqa: F401


OWN_WRAPPER = """
from astcapture import capture

def logged(function):
    def inner(*args):
        return function(*args)
    return inner

@capture("y")
@logged
def f(x):
    y = x
    return y

if True:
    @capture("z")
    def g(x):
        return x
else:
    @capture("z")
    def g(x):
        z = x
        return z
"""


@pytest.mark.filterwarnings("error")
def test_neither_is_one_in_a_wrapper_of_the_modules_own_nor_the_other_of_two_that_share_a_name(make_package):
    make_package({"mod.py": OWN_WRAPPER})
    with install(["mod"]):
        import mod

        mod.f(3)
    assert list(astcapture.cache["mod:f"]) == [3]


def test_a_function_in_wrappers_that_is_not_captured_is_warned_of_at_its_own_line(make_package):
    wrapping = OWN_WRAPPER.replace("def inner", "@functools.wraps(function)\n    def inner")
    path = make_package({"mod.py": wrapping}) / "mod.py"
    code = compile("import functools\n" + path.read_text(), str(path), "exec")
    path.write_text("edited = True\n")
    with install(["mod"]), pytest.warns(CaptureWarning) as warned:
        exec(code, {"__name__": "mod"})
    assert [text.partition(" is marked")[0] for text in texts(warned)] == ["f", "g"]
    assert [(one.filename, one.lineno) for one in warned] == [(str(path), 10), (str(path), 17)]


def test_nothing_of_ours_is_ever_rewritten():
    with install(["astcapture"]):
        assert finder.find_spec("astcapture.version") is None
        assert finder.find_spec("astcapture") is None


# 14


@pytest.mark.slow
def test_pitfall_14_a_target_that_a_conftest_imports_is_captured_by_the_variable(make_package, run_python):
    make_package(
        {
            "mod.py": MARKED,
            "conftest.py": "import mod",
            "test_it.py": """
                import astcapture, mod
                def test_it():
                    assert mod.double(2) == 4
                    assert list(astcapture.cache["double"]) == [4]
            """,
            "early.py": """
                from astcapture.imports.startup import activate
                activate()
                import pytest
                pytest.main(["-q"])
            """,
        }
    )
    assert "1 passed" in run_python("early.py", "-q", env={"ASTCAPTURE": "mod"}).stdout


# 15


def test_pitfall_15_a_reload_is_rewritten_again_and_plain_after_uninstall(make_package):
    make_package({"mod.py": MARKED})
    hook = install(["mod"])
    import mod

    importlib.reload(mod)
    mod.double(1)
    assert type(mod.__loader__) is CaptureLoader
    hook.uninstall()
    importlib.reload(mod)
    assert type(mod.__loader__) is SourceFileLoader
    assert "_@record" not in mod.double.__code__.co_names
    install(["mod"])
    importlib.reload(mod)
    mod.double(2)
    assert list(astcapture.cache["mod:double"]) == [2, 4]


# 16


def test_pitfall_16_targets_that_came_to_nothing_are_told_at_exit_with_the_reason(make_package, run_python):
    make_package({"mod.py": MARKED, "plain.py": "def g(): pass", "pkg/__init__.py": "", "pkg/sub.py": "def g(): pass"})
    done = run_python("""
        import astcapture, sys
        with astcapture.install(["left.early"]):
            pass
        astcapture.install(["modd", "mod", "plain", "m*d:other=x", "pkg"])
        import mod, plain, pkg.sub
    """)
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "astcapture:0: CaptureWarning: nothing was captured for",
        "  target 'left.early': no module left.early was imported",
        "  target 'modd': no module modd was imported: did you mean mod?",
        "  target 'plain': plain has no function marked with @capture: mark one, or name it, plain:FUNCTION=NAME",
        "  target 'm*d:other=x': no function in mod matches it and binds that name",
        "  target 'pkg': pkg and 1 more has no function marked with @capture: mark one, or name it, pkg:FUNCTION=NAME",
    ]


def test_a_run_in_which_every_target_was_found_says_nothing_at_exit(make_package, run_python):
    make_package({"pkg/__init__.py": "", "pkg/mod.py": MARKED})
    done = run_python("""
        import astcapture
        astcapture.install(["pkg", "pkg.mod:double", "p*:double=y"])
        import pkg.mod
    """)
    assert done.stderr == ""


def texts(warned: Iterable[warnings.WarningMessage]) -> list[str]:
    return [str(one.message) for one in warned]


def compile_only(source: Path) -> None:
    """Leave a module's bytecode alone in place of its source."""
    py_compile.compile(str(source), str(source) + "c")
    source.unlink()
