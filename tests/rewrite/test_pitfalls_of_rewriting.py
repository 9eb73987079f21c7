"""Mistakes that other rewriters have made; the numbers are those of the list of pitfalls."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from plain_and_rewritten import both, captured, function_code, plain_code, recorded, rewritten_code, run, write_down

import astcapture
from astcapture.imports.compile import compile_tree
from astcapture.rewrite.plan import plan_module
from astcapture.rewrite.transform import rewrite
from astcapture.targets.target import parse_targets

ROOT = str(Path(astcapture.__file__).parents[1])


Done = subprocess.CompletedProcess[str]


def python(folder: Path, script: str, *arguments: str, options: tuple[str, ...] = ()) -> Done:
    """Run a script in a process of its own that finds this package."""
    path = folder / "script.py"
    path.write_text(script)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([ROOT, str(folder)])}
    environment = {name: value for name, value in environment.items() if not name.startswith("ASTCAPTURE")}
    return subprocess.run(
        [sys.executable, *options, str(path), *arguments], capture_output=True, text=True, cwd=folder, env=environment
    )


DEEP = """
import sys, astcapture
limit = sys.getrecursionlimit()
with astcapture.install([sys.argv[1]], strict=len(sys.argv) > 3):
    import big
    print(big.f(int(sys.argv[2])), sys.getrecursionlimit() == limit)
    print(*astcapture.cache.select())
"""


def deep(folder: Path, source: str, target: str, argument: int) -> list[str]:
    """Capture a function of a deep tree in a process of its own; the lines that it prints."""
    (folder / "big.py").write_text(source)
    done = python(folder, DEEP, target, str(argument), "strict")
    if sys.version_info[:2] == (3, 12) and done.returncode:
        # Reading a tree back has a limit there that nothing raises: the module runs as it was written.
        assert "maximum recursion depth exceeded while traversing 'expr' node" in done.stderr
        done = python(folder, DEEP, target, str(argument))
        assert "CaptureWarning" in done.stderr
        assert done.returncode == 0
        return done.stdout.splitlines()[:1]
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("target", ["big:f=y", "big:f=y,late", "big:f=z:=y + 0"])
def test_pitfall_30_a_sum_of_1500_terms_is_captured(target, tmp_path):
    terms = " + ".join(f"a{number % 7}" for number in range(1500))
    assigned = "; ".join(f"a{number} = {number}" for number in range(7))
    source = f"def f(x):\n    {assigned}\n    if x: late = 1\n    y = {terms}\n    return {terms}\n"
    expected = sum(number % 7 for number in range(1500))
    result, *rest = deep(tmp_path, source, target, 1)
    assert result == f"{expected} True"
    assert rest in ([], [f"{expected} 1" if "late" in target else str(expected)])
    assert rest or sys.version_info[:2] == (3, 12)


@pytest.mark.slow
def test_pitfall_30_a_chain_of_1500_elifs_is_captured(tmp_path):
    chain = "".join(f"    elif x == {number}:\n        y = {number}\n" for number in range(1, 1500))
    source = f"def f(x):\n    if x == 0:\n        y = 0\n{chain}    return x + 1\n"
    result, *rest = deep(tmp_path, source, "big:f=y", 1499)
    assert result == "1500 True"
    assert rest in ([], ["1499"])
    assert rest or sys.version_info[:2] == (3, 12)


def test_pitfall_31_the_docstring_and_the_future_stay_and_ours_is_not_inherited():
    source = """
    '''Doc.'''
    from __future__ import annotations
    def f(x: undefined) -> nowhere:
        return str(x)
    """
    assert both(source, "(__doc__, f(1), f.__annotations__)", "m:f=x").captured == [("x", 1)]
    # This file has the import; a module without it keeps evaluating its annotations.
    with_types = "def f(x: int): return str(x)\nassert f.__annotations__ == {'x': int}"
    assert captured(with_types, "f(1)", "m:f=x") == [1]


WARNING = r"""
def f(x):
    y = "\d" if x is 1 else 2
    assert (x, "always true")
    return "called"() if x is 3 else [1, 2][1.5:2] if 0 else x.real
"""


# Warned of from Python 3.14 on.
FINALLY = """
def f(x):
    for i in range(2):
        try:
            y = 1
        finally:
            if i: return x.real
            if x: return
            if x is i: break
            continue
    try: y = 2
    finally:
        return [
            x,
            y.real]
"""


@pytest.mark.parametrize("source", [WARNING, FINALLY], ids=["several", "leaving a finally"])
@pytest.mark.parametrize("target", ["m:f=y", "m:f=y,z:=x.imag,w:=[x for _ in 'a']", "m:f=*@assign,*"])
def test_pitfall_32_the_syntax_warnings_are_those_of_a_plain_compile_once(target, source):
    source, path = write_down(source)
    seen = []
    for compiled in (lambda: plain_code(source, path), lambda: rewritten_code(source, path, target)):
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            compiled()
        seen.append(sorted((str(one.message), one.category, one.filename, one.lineno) for one in warned))
    assert len(seen[0]) >= (4 if "always true" in source or sys.version_info >= (3, 14) else 0)
    assert seen[0] == seen[1]


@pytest.mark.parametrize("options", [(), ("-O",), ("-OO",)])
def test_pitfall_33_optimised_code_loses_asserts_and_docstrings_and_keeps_captures(options, tmp_path):
    (tmp_path / "m.py").write_text(
        '"""Module."""\ndef f(x):\n    """Doc."""\n    y = x\n    assert y, "asserted"\n    return str(y)\n'
        'def g():\n    """Only a docstring."""\n'
    )
    lines = "try: print(m.f(0))\nexcept AssertionError as e: print(e)\nprint(m.f(1), m.f.__doc__, m.__doc__, m.g())\n"
    plain = python(tmp_path, "import m\n" + lines, options=options)
    script = "import astcapture\nhook = astcapture.install(['m:f=y'])\nimport m\n" + lines
    done = python(tmp_path, script + "print(list(astcapture.cache['m:f']))\n", options=options)
    values = [0, 1] if options else [1]
    assert (done.stdout, done.stderr) == (plain.stdout + f"{values}\n", "")


def test_pitfall_34_what_rewritten_code_calls_is_not_mangled_in_a_class():
    source = """
    class __Private:
        def __f(self, __x):
            if __x: __late = 1
            return str(__x)
        def g(self): return self.__f(0)
    """
    seen = both(source, "globals()['__Private']().g()", "m:__Private.__f=__x,__late,i:=__x.real,j:=[__x for _ in 'a']")
    assert seen.captured == [("__x", 0), ("i", 0), ("j", [0])]


PICKLED = """
import pickle, sys
function = pickle.load(open(sys.argv[1], "rb"))
print(function(0), function(1), "torch" in sys.modules, "numpy" in sys.modules)
"""


def test_pitfall_35_a_function_pickled_by_value_is_small_and_runs_in_a_fresh_process(tmp_path):
    cloudpickle = pytest.importorskip("cloudpickle")
    source, path = write_down("""
    def f(x):
        if x: y = x
        return str(x)
    """)
    names = {"__name__": "__main__"}
    exec(rewritten_code(source, path, "m:f=x,y,z:=x.real,w:=[x for _ in 'a']"), names)
    with recorded():
        names["f"](b"x" * 100_000)
        pickled = cloudpickle.dumps(names["f"])
    assert len(pickled) < 3000
    assert pickle.loads(pickled)(1) == "1"
    (tmp_path / "f.pickle").write_bytes(pickled)
    done = python(tmp_path, PICKLED, "f.pickle")
    assert (done.stdout, done.stderr) == ("0 1 False False\n", "")


SHUTDOWN = """
import sys
class Held:
    def __init__(self, name):
        self.name = name
    def close(self):
        result = self.name
        if result: late = 1
        return result.upper()
    def end(self):
        if self.name: late = 1
    def __del__(self):
        self.end()
        self.close()
        assert self.close() == self.name.upper()
one = Held("one")
late = Held("late")
# Kept alive past the module, so that the interpreter fills its names with None.
sys.kept = [Held, Held.close]
import builtins
builtins.kept_too = Held("two")
def cycle():
    held = Held("cycle")
    held.itself = held
cycle()
"""


@pytest.mark.parametrize(
    "target", ["result", "late", "result,late", "n:=self.name", "n:=[self.name for _ in 'a']", "*"]
)
def test_pitfall_37_records_made_while_the_interpreter_shuts_down_are_silent(target, tmp_path):
    (tmp_path / "held.py").write_text(SHUTDOWN)
    plain = python(tmp_path, "import held\nprint(held.one.close())\n")
    assert (plain.stdout, plain.stderr, plain.returncode) == ("ONE\n", "", 0)
    only = "held:Held.close" if "result" in target else "held:Held.*"
    script = f"import astcapture\nastcapture.install(['''{only}={target}'''])\nimport held\nprint(held.one.close())\n"
    done = python(tmp_path, script)
    assert (done.stdout, done.stderr, done.returncode) == (plain.stdout, "", 0)


def test_a_module_that_calls_its_functions_while_it_is_imported_is_captured():
    assert captured("def f(x):\n    y = x\n    return str(y)\nresult = f(3)", "result", "m:f=y") == [3]


def test_a_module_that_shadows_builtins_and_clears_its_names_is_captured_all_the_same():
    source = """
    locals = globals = eval = len = None
    def f(x):
        if x: y = 1
        return str(x)
    """
    seen = both(source, "f(1)", "m:f=y,z:=x.real,w:=[x for _ in 'a']")
    assert seen.captured == [("y", 1), ("z", 1), ("w", [1])]


def test_while_recording_is_off_no_expression_with_a_scope_is_evaluated():
    source, path = write_down("calls = []\ndef f(x):\n    return str(x)")
    names: dict[str, object] = {"__name__": "m"}
    exec(rewritten_code(source, path, "m:f=w:=[calls.append(x) for _ in 'a']"), names)
    names["f"](1)
    assert names["calls"] == []
    assert run(rewritten_code(source, path, "m:f=x"), "f(1)").captured == [("x", 1)]


def test_compile_tree_does_not_inherit_the_flags_of_its_caller():
    import ast

    tree = ast.parse("def f(x: int): return str(x)")
    plan = plan_module(tree, "m", "m.py", parse_targets("m:f=x"))
    names: dict[str, object] = {}
    exec(compile_tree(rewrite(tree, plan), "m.py"), names)
    assert names["f"].__annotations__ == {"x": int}


# Code objects


SUPER = """
class C:
    def f(self, given):
        if given:
            class super:
                said = given
        def ask():
            return super().said if given else None
        return (
            ask(),
            given,
        )
    def g(self, given):
        if given:
            super = given
        shown = sorted(locals())
        return shown
    def h(self, given):
        for super in given:
            pass
"""


@pytest.mark.parametrize("targets", ["m:*=*", "m:*=*@assign", "m:*=*,*@assign"])
@pytest.mark.parametrize(
    ("call", "last"),
    [
        ("C().f(2)", 2),
        ("C().f(0)", None),
        ("C().g(3)", 3),
        ("C().g(0)", None),
        ("C().h((4, 5))", 5),
        ("C().h(())", None),
    ],
)
def test_a_local_called_super_gives_a_method_no_cell_of_its_class(call: str, last: int | None, targets: str):
    """Where that name is read in a class, Python gives the function `__class__`."""
    source, path = write_down(SUPER)
    plain, rewritten = plain_code(source, path), rewritten_code(source, path, targets)
    for name in "fgh":
        for cells in ("co_freevars", "co_cellvars", "co_varnames", "co_flags"):
            assert getattr(function_code(rewritten, name), cells) == getattr(function_code(plain, name), cells)
    values = [getattr(value, "said", value) for label, value in both(SUPER, call, targets).captured if label == "super"]
    assert values[-1:] == ([] if last is None else [last])


@pytest.mark.parametrize("end", ["raise", "return 3", "if one: raise\n        else: return 4", "g(one)"])
@pytest.mark.parametrize("tried", ["g(one)", "g(one)\n        raise E", "raise E"])
def test_names_keep_their_order_where_nothing_comes_to_the_end_of_a_block(tried: str, end: str):
    source, path = write_down(
        f"""
class E(Exception): pass
def g(one):
    if one: raise E(one)
def f(one):
    try:
        {tried}
    except E as error:
        (two, *rest), three = [error.args, 1], 2
    else:
        {end}
"""
    )
    plain, rewritten = plain_code(source, path), rewritten_code(source, path, "m:f=*")
    names = ("one", "error", "two", "rest", "three")
    assert function_code(rewritten, "f").co_varnames == function_code(plain, "f").co_varnames == names


@pytest.mark.parametrize("last", ["if one: done.append(2)", "for _ in 'a': done.append(2)", "done.append(2)"])
@pytest.mark.parametrize("leaves", ["return done", "pass", "raise KeyError"])
def test_a_finally_at_the_end_runs_once_however_the_block_is_left(leaves: str, last: str):
    source = f"""
def f(one):
    done = []
    try:
        if one:
            {leaves}
        done.append(0)
    except KeyError:
        done.append(1)
        if one:
            {leaves}
    finally:
        g(done)
        {last}
seen = []
def g(done):
    seen.append(done)
"""
    for call in ("f(0)", "f(1)"):
        for targets in ("m:f=done", "m:f=*@assign"):
            seen = both(source, lambda names, call=call: (run_or_say(call, names), names["seen"]), targets)
            assert len(seen.result[1]) == 1


def run_or_say(call: str, names: dict[str, object]) -> object:
    try:
        return eval(call, names)
    except KeyError as error:
        return type(error)
