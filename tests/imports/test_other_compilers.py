"""Functions that another compiler reads are left as they are, said once and with what to do, and the program runs."""

from __future__ import annotations

import ast
import importlib
import warnings
from pathlib import Path

import pytest

import astcapture
from astcapture.errors import CaptureError, CaptureWarning
from astcapture.imports import beside
from astcapture.imports.hook import install
from astcapture.record import events
from astcapture.rewrite.plan import plan_module
from astcapture.rewrite.transform import rewrite
from astcapture.targets.target import parse_targets

BODY = "def f(x):\n    y = x + 1\n    return y\n"

LEFT = {
    "numba": "import numba\n@numba.jit\n" + BODY,
    "numba, called": "import numba\n@numba.jit(nopython=True, cache=True)\n" + BODY,
    "numba, of another name": "from numba import njit as fast\n@fast\n" + BODY,
    "numba, an alias of the package": "import numba as nb\n@nb.njit(['f8(f8)'])\n" + BODY,
    "numba, a name of the module": "import numba\njit = numba.njit(cache=True)\n@jit\n" + BODY,
    "numba, partially": "import functools, numba\n@functools.partial(numba.jit, nopython=True)\n" + BODY,
    "numba, if it is there": (
        "try:\n    from numba import njit\nexcept ImportError:\n    def njit(f): return f\n@njit\n" + BODY
    ),
    "numba, by a condition": "import numba\n@(numba.njit if numba else (lambda f: f))\n" + BODY,
    "numba, by a module of one's own": "from .compat import njit\n@njit\n" + BODY,
    "numba.cuda": "from numba import cuda\n@cuda.jit\n" + BODY,
    "numba.vectorize": "from numba import vectorize, float64\n@vectorize([float64(float64)])\n" + BODY,
    "numba.guvectorize": "import numba\n@numba.guvectorize([], '(n)->(n)')\n" + BODY,
    "numba.stencil": "import numba\n@numba.stencil\n" + BODY,
    "numba.cfunc": "import numba\n@numba.cfunc('f8(f8)')\n" + BODY,
    "numba.extending": "import numba.extending\n@numba.extending.register_jitable\n" + BODY,
    "numba.pycc": "from numba.pycc import CC\ncc = CC('mod')\n@cc.export('f', 'f8(f8)')\n" + BODY,
    "numba, handed over": BODY + "import numba\nfast = numba.njit(f)\n",
    "numba, handed over to a call": BODY + "import numba\nfast = numba.njit(cache=True)(f)\n",
    "numba, handed over by name": BODY + "import numba\nfast = numba.jit(pyfunc=f)\n",
    "numba, handed over in a function": BODY + "import numba\ndef make():\n    return numba.njit(f)\n",
    "numba, by a wrapper": "import numba\ndef maybe(g):\n    return numba.njit(g) if numba else g\n@maybe\n" + BODY,
    "numba, by a wrapper that is called": (
        "import numba\ndef maybe(**options):\n    def wrap(g):\n        return numba.njit(**options)(g)\n"
        "    return wrap\n@maybe(cache=True)\n" + BODY
    ),
    "numba, all of a module": BODY + "import numba\nnumba.jit_module(nopython=True)\n",
    "triton": "import triton\nimport triton.language as tl\n@triton.autotune([], key=[])\n@triton.jit\n" + BODY,
    "cython": "import cython\n@cython.compile\n" + BODY,
    "cython.cfunc": "import cython\n@cython.cfunc\n@cython.returns(cython.double)\n" + BODY,
    "taichi": "import taichi as ti\n@ti.kernel\n" + BODY,
    "torch.jit.script": "import torch\n@torch.jit.script\n" + BODY,
    "torch.jit.script, handed over": BODY + "import torch\nscripted = torch.jit.script(f)\n",
    "torch.jit.export": "from torch import jit\n@jit.export\n" + BODY,
    "tensorflow": "import tensorflow as tf\n@tf.function(jit_compile=True)\n" + BODY,
}
TRACED = {
    "jax": "import jax\n@jax.jit\n" + BODY,
    "jax, handed over": "import jax\n" + BODY + "fast = jax.jit(f)\n",
    "torch.compile": "import torch\n@torch.compile\n" + BODY,
    "torch.fx": "import torch.fx\n@torch.fx.wrap\n" + BODY,
    "torch.no_grad": "import torch\n@torch.no_grad()\n" + BODY,
    "a decorator of one's own": "import numba\ndef jit(f): return f\n@jit\n" + BODY,
    "torch.jit.ignore": "import torch\n@torch.jit.ignore\n" + BODY,
    "another function": "import numba\n@numba.njit\ndef g(x): return x\n" + BODY,
    "a parameter of that name": "import numba\ndef g(f):\n    return f\nnumba.njit(g)\n" + BODY,
}


def plan(source: str, target: str = "m:f=y", **environ: str):
    return plan_module(ast.parse(source), "m", "m.py", parse_targets(target), environ)


@pytest.mark.parametrize("name", LEFT)
def test_what_a_compiler_is_given_in_the_module_is_left_alone(name):
    planned = plan(LEFT[name])
    assert planned.functions == []
    ((qualname, lineno, reason),) = planned.left
    assert (qualname, lineno) == ("f", next(i for i, line in enumerate(LEFT[name].split("\n"), 1) if "def f(" in line))
    assert "compiles it from its" in reason


@pytest.mark.parametrize("name", TRACED)
def test_what_only_traces_python_is_captured_as_ever(name):
    planned = plan(TRACED[name])
    assert [one.function.qualname for one in planned.functions] == ["f"]
    assert planned.left == []


def test_what_stands_inside_of_a_function_or_a_class_that_is_compiled_is_left_alone_too():
    source = """
import numba, torch
@numba.njit
def outer(x):
    def inner(x):
        y = x
        return y
    return inner(x)
@numba.experimental.jitclass([])
class Compiled:
    def method(self):
        y = 1
        return y
class Model:
    def forward(self, x):
        y = x
        return y
    def other(self, x):
        y = x
        return y
    def build(self):
        self.fast = torch.jit.script(self.other)
scripted = torch.jit.script(Model.forward)
"""
    planned = plan(source, "m:*=y")
    assert [one[0] for one in planned.left] == [
        "outer.<locals>.inner", "Compiled.method", "Model.forward", "Model.other"
    ]  # fmt: skip
    assert not planned.functions


def test_the_code_of_a_function_that_is_left_alone_is_the_one_of_a_plain_compile():
    tree = ast.parse(LEFT["numba"])
    rewrite(tree, plan_module(tree, "m", "m.py", parse_targets("m:f=y")))
    codes = [
        next(one for one in code.co_consts if getattr(one, "co_name", "") == "f")
        for code in (compile(tree, "m.py", "exec"), compile(LEFT["numba"], "m.py", "exec"))
    ]
    assert codes[0] == codes[1]


@pytest.mark.parametrize(
    ("name", "environ", "left"),
    [
        ("numba", {"NUMBA_DISABLE_JIT": "1"}, 0),
        ("numba", {"NUMBA_DISABLE_JIT": "0"}, 1),
        ("numba.vectorize", {"NUMBA_DISABLE_JIT": "1"}, 1),
        ("torch.jit.script", {"PYTORCH_JIT": "0"}, 0),
        ("torch.jit.script", {"PYTORCH_JIT": "1"}, 1),
    ],
)
def test_a_compiler_that_is_switched_off_leaves_its_functions_to_be_captured(name, environ, left):
    assert len(plan(LEFT[name], **environ).left) == left
    if name != "numba.vectorize":
        variable = next(iter(environ))
        assert f"set {variable}=" in plan(LEFT[name]).left[0][2]


def test_a_wrong_name_in_such_a_function_is_the_error_that_it_is_in_any():
    with pytest.raises(CaptureError, match="'yy' is never bound in f"):
        plan(LEFT["numba"], "m:f=yy")


@pytest.mark.parametrize("target", ["mod:f=y", "mod:*=y", "mod"])
def test_the_import_goes_on_and_one_warning_says_which_and_what_to_do(make_package, fresh_imports, target):
    make_package({"mod.py": "from astcapture import capture\nfrom compat import njit\n@capture('y')\n@njit\n" + BODY})
    make_package({"compat.py": "def njit(f): return f\n"})
    for _ in range(2):  # compiled, and from the bytecode cache
        fresh_imports()
        events.left_alone.clear()
        beside._told.clear()
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            hook = install([target])
            import mod

            assert mod.f(1) == 2
            install([target]).uninstall()
            hook.uninstall()
        (one,) = warned
        assert one.category is CaptureWarning
        assert str(one.message).startswith(
            "mod:f is not captured: numba compiles it from its bytecode, so it cannot be"
        )
        assert "set NUMBA_DISABLE_JIT=1 to run and capture it as Python" in str(one.message)
        assert (one.filename, one.lineno) == (mod.__file__, 5)
        assert "_@record" not in mod.f.__code__.co_names
        assert events.left_alone == {"mod:f": str(one.message).partition("captured: ")[2]}


@pytest.mark.parametrize(
    ("start", "decorator"),
    [
        ("from pkg.fast import maybe", "@maybe"),
        ("from pkg.fast import maybe as quick", "@quick(cache=True)"),
        ("from .fast import compiled", "@compiled"),
        ("from . import fast", "@fast.maybe()"),
        ("from pkg import handed_on", "@handed_on"),
    ],
)
def test_a_decorator_of_another_module_is_followed_to_the_compiler_that_it_calls(
    make_package, fresh_imports, start, decorator
):
    make_package(
        {
            "pkg/__init__.py": "from .fast import maybe as handed_on\n",
            "pkg/fast.py": """
                try:
                    from numba import jit
                except ImportError:
                    jit = None
                def maybe(function=None, **options):
                    def wrap(function):
                        return jit(function) if options.get("really") else function
                    return wrap(function) if function else wrap
                def compiled(function):
                    return maybe(function)
                def plain(function):
                    return function
            """,
            "pkg/mod.py": f"{start}\n{decorator}\n{BODY}",
            "pkg/other.py": f"from .fast import plain\n@plain\n{BODY}",
        }
    )
    with install(["pkg.mod:f=y", "pkg.other:f=y"]):
        with pytest.warns(CaptureWarning, match="pkg.mod:f is not captured"):
            importlib.import_module("pkg.mod")
        import pkg.other

        assert pkg.mod.f(1) == pkg.other.f(1) == 2
    assert list(astcapture.cache["pkg.other:f"]) == [2]
    assert "pkg.mod:f" not in astcapture.cache


def test_filters_that_make_errors_of_warnings_do_not_stop_the_import(make_package, run_python):
    make_package({"mod.py": "from compat import njit\n@njit\n" + BODY, "compat.py": "def njit(f): return f\n"})
    done = run_python(
        "-W", "error", "-c", "import astcapture; astcapture.install('mod:f=y'); import mod; print(mod.f(1))"
    )
    assert done.stdout == "2\n"
    assert "mod:f is not captured: numba" in done.stderr
    assert "target 'mod:f=y': mod:f: numba compiles it from its bytecode" in done.stderr


def test_a_module_imported_before_is_told_of_as_one_imported_after(make_package, run_python):
    make_package({"mod.py": "from compat import njit\n@njit\n" + BODY, "compat.py": "def njit(f): return f\n"})
    done = run_python("import mod, astcapture; astcapture.install('mod:f=y'); print(mod.f(1))")
    assert done.stdout == "2\n"
    assert done.stderr.count("mod:f is not captured: numba") == 1


NUMBA_PROGRAM = """
import sys
sys.path[:0] = {path!r}
import mod
print([int(one(3)) for one in (mod.decorated, mod.handed, mod.wrapped)])
"""


@pytest.mark.slow
def test_functions_that_numba_compiles_run_as_without_us(make_package, run_python):
    numba = pytest.importorskip("numba")
    make_package(
        {
            "mod.py": """
                import numba
                @numba.njit
                def decorated(x):
                    y = x + 1
                    return y
                def plain(x):
                    y = x + 2
                    return y
                handed = numba.jit(nopython=True)(plain)
                def maybe(f):
                    return numba.njit(f)
                @maybe
                def wrapped(x):
                    y = x + 3
                    return y
            """
        }
    )
    folder = str(Path(numba.__file__).parents[1])
    program = NUMBA_PROGRAM.format(path=[] if "site-packages" in folder else [folder])
    start = "import astcapture; hook = astcapture.install('mod:*=y')\n"
    plain, captured = run_python(program), run_python(start + program)
    assert captured.stdout == plain.stdout == "[4, 5, 6]\n"
    for name in ("decorated", "plain", "wrapped"):
        assert f"mod:{name} is not captured: numba compiles it" in captured.stderr
    interpreted = run_python(
        start + program + "print(list(astcapture.cache['mod:decorated']))", env={"NUMBA_DISABLE_JIT": "1"}
    )
    assert interpreted.stdout == "[4, 5, 6]\n[4]\n"


@pytest.mark.slow
def test_a_function_that_another_module_hands_to_numba_as_it_runs_is_told_of_at_exit(make_package, run_python):
    numba = pytest.importorskip("numba")
    make_package({"mod.py": BODY})
    folder = str(Path(numba.__file__).parents[1])
    done = run_python(
        f"""
        import sys
        sys.path.append({folder!r})
        import astcapture, numba
        astcapture.install("mod:f=y")
        import mod
        fast = getattr(numba, "njit")(mod.f)
        try:
            fast(1)
        except Exception as error:
            print(type(error).__name__)
        """
    )
    assert done.stdout == "TypingError\n"
    assert "mod:f was passed to numba, which cannot compile captured code: remove it from the targets" in done.stderr
