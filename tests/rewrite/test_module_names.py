"""An expression that reads a name which is found nowhere is told at import, and no other expression is."""

from __future__ import annotations

import ast
import builtins
import symtable
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from astcapture.errors import CaptureError
from astcapture.rewrite.module_names import ModuleNames
from astcapture.rewrite.plan import plan_module
from astcapture.targets.target import parse_targets

FUNCTION = "def f(x, attn):\n    y = x\n    return y\n"


def message(source: str, capture: str, function: str = "f") -> str:
    """What is said of an expression in a module; nothing where it is taken."""
    tree = ast.parse(dedent(source))
    try:
        plan = plan_module(tree, "m", "m.py", parse_targets({f"m:{function}": [capture]}))
    except CaptureError as error:
        return str(error)
    assert [capture.label for capture in plan.functions[0].captures]
    return ""


def test_a_name_that_is_found_nowhere_is_an_error_with_the_close_ones():
    assert message(FUNCTION, "a:=atn.sum()") == (
        "m.py:1: 'atn.sum()': 'atn' is not a local of f (line 1), a name in its module, or a builtin: "
        "did you mean attn or any?"
    )
    assert "'maht' is not a local" in message("import math\n" + FUNCTION, "a:=maht.sin(x)")
    assert "did you mean math?" in message("import math\n" + FUNCTION, "a:=mathh.sin(x)")
    assert "did you mean len?" in message(FUNCTION, "a:=lenn(x)")
    assert "'zzz'" in message(FUNCTION, "[zzz for q in x]")
    assert "did you mean" not in message(FUNCTION, "a:=zzzz + 1")


def test_of_a_word_behind_an_at_it_is_told_which_points_there_are():
    points = "; if nowhere is meant as a capture point, the points are assign, sdpa, call, input, enter, yield, return"
    assert message(FUNCTION, "x@nowhere").endswith(f"or a builtin{points}")
    assert message(FUNCTION, "z:=attn @ outside").endswith(points.replace("nowhere", "outside"))
    assert not message("import nowhere\n" + FUNCTION, "x@nowhere")
    assert not message(FUNCTION, "x@attn")
    for other in ("nowhere@x", "x.T@nowhere", "x@nowhere.T", "x@x@nowhere", "x + nowhere"):
        assert "points are" not in message(FUNCTION, other)
        assert "'nowhere' is not a local" in message(FUNCTION, other)


def test_the_marker_is_told_the_same():
    source = 'from astcapture import capture\n@capture("x@nowhere")\n' + FUNCTION
    with pytest.raises(CaptureError, match=r"m\.py:2: 'x@nowhere': 'nowhere' is not a local of f \(line 3\)"):
        plan_module(ast.parse(source), "m", "m.py", parse_targets("m"))


#: Ways in which a module has a name.
BOUND = {
    "an assignment": "other = 1",
    "an annotation": "other: int",
    "an augmented assignment": "other += 1",
    "unpacking": "(one, *other) = 1, 2",
    "an import": "import other.part",
    "an import under another name": "import numpy as other",
    "an import of a name": "from numpy import zeros as other",
    "a function": "def other(): pass",
    "a class": "class other: pass",
    "a loop": "for other in []: pass",
    "a with statement": "with open('x') as other: pass",
    "an except": "try: pass\nexcept OSError as other: pass",
    "a walrus": "print(other := 1)",
    "a walrus in a comprehension": "print([other := 1 for _ in 'a'])",
    "a match": "match 1:\n    case [1, *other]: pass",
    "a match of a mapping": "match 1:\n    case {'a': 1, **other}: pass",
    "what is deleted again": "other = 1\ndel other",
    "a branch": "if False:\n    try:\n        other = 1\n    finally:\n        pass",
    "a function's global": "def g():\n    global other\n    other = 1",
    "a nested function's global": "def g():\n    class C:\n        def h(self):\n            global other\n",
    "a function that reads it": "def g(): return other",
    "a class that reads it": "class C:\n    def h(self): return lambda: other",
}


@pytest.mark.parametrize("binding", BOUND.values(), ids=BOUND)
def test_what_the_module_binds_or_reads_anywhere_may_be_read(binding: str):
    assert not message(f"{binding}\n{FUNCTION}", "a:=other + x")
    assert not message(f"{FUNCTION}{binding}\n", "a:=other + x")
    assert "'another'" in message(f"{FUNCTION}{binding}\n", "a:=another + x")


#: Where a name is bound that the function cannot see.
ELSEWHERE = {
    "another function": "def g():\n    other = 1",
    "a class": "class C:\n    other = 1",
    "a lambda": "g = lambda other: other",
    "a comprehension": "g = [other for other in 'a']",
    "an attribute": "import os\nos.other = 1",
    "a keyword": "print(1, other=2) if 0 else 0",
    "a string": "'other'",
}


@pytest.mark.parametrize("binding", ELSEWHERE.values(), ids=ELSEWHERE)
def test_what_is_bound_in_another_scope_is_found_nowhere(binding: str):
    assert "'other' is not a local" in message(f"{binding}\n{FUNCTION}", "a:=other + x")


def test_what_a_comprehension_binds_is_not_there_outside_of_it():
    source = "def f(x):\n    y = [token for token in x]\n    return y\n"
    assert "'token' is bound only inside a comprehension in f (line 1)" in message(source, "a:=token + 1")
    assert not message("token = 1\n" + source, "a:=token + 1")


def test_names_of_the_function_itself_may_be_read():
    source = """
    def outer(u, w):
        def f(x, *rest, k=1, **more):
            global unseen
            if x:
                y = w
            nested = [lambda: y]
            return y
        return f
    """
    for name in ("x", "rest", "k", "more", "unseen", "y", "nested", "w", "len", "__file__", "__class__"):
        assert not message(source, f"a:=({name}, 1)", "outer.<locals>.f"), name
    assert "an enclosing function" in message(source, "a:=(u, 1)", "outer.<locals>.f")
    assert not message(source, "a:=[q for q in x if (lambda r: r)(q)]", "outer.<locals>.f")


#: Ways in which a module may have names that its source does not show.
HIDDEN = {
    "a star import": "from os.path import *",
    "globals": "globals().update(other=1)",
    "globals in a function": "def g(): globals()['other'] = 1",
    "vars": "vars()['other'] = 1",
    "locals at the top": "locals()['other'] = 1",
    "locals in a class": "class C:\n    locals()['other'] = 1",
    "exec": "exec('other = 1')",
    "the module as an object": "import sys\nsetattr(sys.modules[__name__], 'other', 1)",
    "a function for missing names": "def __getattr__(name): return 1",
    "a builtin of its own": "import builtins\nbuiltins.other = 1",
}


@pytest.mark.parametrize("line", HIDDEN.values(), ids=HIDDEN)
def test_where_the_source_may_not_show_every_name_nothing_is_said(line: str):
    assert not message(f"{line}\n{FUNCTION}", "a:=other + x")


def test_locals_in_a_function_hide_nothing():
    assert "'other'" in message(f"def g(): return locals()\n{FUNCTION}", "a:=other + x")


def test_a_cell_is_not_all_there_is_of_its_module():
    tree = ast.parse(FUNCTION)
    plan = plan_module(tree, "m", "In[1]", parse_targets("m:f=a:=other + x"), whole=False)
    assert plan.functions


def test_a_wildcard_leaves_functions_alone_in_which_a_name_is_found_nowhere():
    source = FUNCTION + "def g(other): return other"
    plan = plan_module(ast.parse(source), "m", "m.py", parse_targets("m:*=a:=other + 1"))
    assert [one.function.qualname for one in plan.functions] == ["g"] and plan.skipped == [("f", "other + 1")]
    with pytest.raises(CaptureError, match="none of the 1 functions it matches has every name in 'other"):
        plan_module(ast.parse(FUNCTION), "m", "m.py", parse_targets("m:*=a:=other + 1"))


def global_names(table: symtable.SymbolTable) -> Iterator[str]:
    """What Python's own symbol table says that is looked up in the module's names."""
    for symbol in table.get_symbols():
        # A function named "top" is taken for the module by `symtable` of Python 3.11, and its parameters for globals.
        if table.get_type() == "module" or (symbol.is_global() and not symbol.is_parameter()):
            yield symbol.get_name()
    for inner in table.get_children():
        yield from global_names(inner)


def bound_in_comprehensions(tree: ast.Module) -> set[str]:
    """What `symtable` counts among the names around a comprehension from Python 3.12 on, where it is inlined."""
    if sys.version_info < (3, 12):
        return set()
    targets = [node.target for node in ast.walk(tree) if isinstance(node, ast.comprehension)]
    return {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}


LIBRARY = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))


@pytest.mark.cases(56)
@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.stem)
def test_the_names_of_a_module_are_those_of_pythons_own_symbol_table(path: Path):
    source = path.read_bytes()
    tree = ast.parse(source)
    known = ModuleNames(tree).known
    wanted = set(global_names(symtable.symtable(source.decode("utf-8"), path.name, "exec")))
    # What both know of the interpreter is no matter, nor a star, which is no name.
    # A type parameter passes for known, which is the careful side.
    parameters = {one.name for node in ast.walk(tree) for one in getattr(node, "type_params", ())}
    unlike = wanted.symmetric_difference(known).difference(dir(builtins), bound_in_comprehensions(tree), parameters)
    assert {name for name in unlike if name.isidentifier() and not name.startswith("__")} == set()
