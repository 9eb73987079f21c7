"""What is inserted, and where: the site's line, the owner, the start of a function, the head of a module."""

from __future__ import annotations

import ast
import sys
from textwrap import dedent

import pytest
from plain_and_rewritten import both, rewritten_tree, write_down

from astcapture.rewrite.exits import mangled
from astcapture.rewrite.plan import plan_module
from astcapture.rewrite.planned import FunctionPlan
from astcapture.rewrite.transform import CALLED
from astcapture.targets.target import parse_targets

needs_312 = pytest.mark.skipif(sys.version_info < (3, 12), reason="syntax of Python 3.12")
one_dict = pytest.mark.skipif(sys.version_info >= (3, 13), reason="locals() is a copy from Python 3.13 on")


def written(source: str, targets: str) -> str:
    """The rewritten module, whose head of two statements is left out."""
    source, path = write_down(source)
    tree = rewritten_tree(source, path, targets)
    tree.body = [one for one in tree.body if not ast.unparse(one).startswith(("from astcapture", "_@declare"))]
    return ast.unparse(tree)


def planned(source: str, targets: str) -> FunctionPlan:
    (one,) = plan_module(ast.parse(dedent(source)), "m", "m.py", parse_targets(targets)).functions
    return one


def calls_in(source: str, targets: str) -> set[str]:
    """The functions of the recorder that are called."""
    tree = ast.parse(written(source, targets).replace("_@", "recorder_"))
    return {
        node.func.id.removeprefix("recorder_")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.startswith("recorder_")
    }


# The line of a site


def test_each_return_is_recorded_with_its_own_line():
    text = written("def f(x):\n    if x:\n        return g(x)\n    return g(1)\n", "m:f=x")
    assert "_@record(g(x), ('m', 'f', 'x', 3), x)" in text
    assert "_@record(g(1), ('m', 'f', 'x', 4), x)" in text


def test_the_end_is_recorded_with_the_last_line():
    assert "_@record(None, ('m', 'f', 'x', 4), x)" in written("def f(x):\n    if x:\n        g(\n        )\n", "m:f=x")


# The owner


@pytest.mark.parametrize(
    ("body", "call"),
    [
        ("y = 1", "_@record(None, ('m', 'C.f', 'y', 3), y, self)"),
        ("g(y := 1)", "g(_@record((y := 1), ('m', 'C.f', 'y', 3), y, self))"),
        ("for y in x: pass", "_@record(None, ('m', 'C.f', 'y', 3), y, self)"),
        ("[(y := z) for z in x]", "[_@record((y := z), ('m', 'C.f', 'y', 3), y) for z in x]"),
    ],
)
def test_a_binding_is_recorded_with_the_owner_where_it_can_be_read(body: str, call: str):
    assert call in written(f"class C:\n  def f(self, x):\n    {body}\n", "m:C.f=y@assign")


@pytest.mark.parametrize(
    ("body", "start"),
    [
        ("a = sdpa(x)", "'C.f', 'query', 3), 'query'),), (self, sdpa), sdpa, x)()"),
        ("a = [sdpa(y) for y in x]", "'C.f', 'query', 3), 'query'),), (), sdpa, y)()"),
    ],
)
def test_a_call_of_attention_is_told_the_owner_where_it_can_be_read(body: str, start: str):
    head = "class C:\n  def f(self, x, sdpa=scaled_dot_product_attention):\n    "
    assert start in written(head + body, "m:C.f=query@sdpa")


def test_a_function_without_an_owner_tells_none_at_a_call_of_attention():
    text = written("def f(x):\n    return scaled_dot_product_attention(x)\n", "m:f=query@sdpa")
    assert "_@attend(((('m', 'f', 'query', 2), 'query'),), (), scaled_dot_product_attention, x)()" in text


@needs_312
def test_a_type_alias_is_left_as_it_is():
    call = "scaled_dot_product_attention(x)"
    text = written(f"def f(x):\n    type X = {call}\n    return {call}\n", "m:f=query@sdpa")
    assert f"type X = {call}\n" in text


FUNCTIONS: dict[str, tuple[str, ...]] = {
    # A free function: what it uses as one uses a module, and what is called so as nothing else is.
    "def f(self, y): pass": ("self",),
    "def f(self, /, y): pass": ("self",),
    "def f(module, y): pass": ("module",),
    "def f(x, module, y): pass": ("module",),
    "def f(x, y): pass": (),
    "def f(*self): y = 1": (),
    "def f(): y = 1": (),
    "def f(block, y): return block(y)": ("block",),
    "def f(q, k, block, y): return block.scale": ("block",),
    "def f(y, *, block): return block.scale": ("block",),
    "def f(y, first, second): return second(first(y))": ("first", "second"),
    "def f(y, x): return x.size(0) * 2": ("x",),
    "def f(y, x): return x.mean() + x": (),
    "def f(y, x): return x.shape[0], -x": (),
    "def f(y, x): return x.shape[0], x[0]": (),
    "def f(y, x): return not x.training": ("x",),
    "def f(attn, y): return attn @ y": (),
    "def f(attn, y): return attn.scale": ("attn",),
    # Names that are bound anew or deleted are not there to be read.
    "def f(self, y): self = y": (),
    "def f(self, y):\n    del self": (),
    "def f(self, y):\n    del self.x, y": ("self",),
    "def f(self, y):\n    def g():\n        nonlocal self\n        self = 1": (),
    "def f(block, y):\n    block = block(y)": (),
    "def f(block, y):\n    for block in block.parts: pass": (),
}
METHODS: dict[tuple[str, str], tuple[str, ...]] = {
    # Of a module it is the first parameter alone, whatever it is called.
    ("nn.Module", "def f(self, y): pass"): ("self",),
    ("nn.Module", "def f(s, y): pass"): ("s",),
    ("nn.Module", "def f(this, block, y): return block(y)"): ("this",),
    ("MyModule", "def f(self, module, y): return module(y)"): ("self",),
    ("nn.Module", "def __init__(self, y): pass"): (),
    ("nn.Module", "def __new__(cls, y): pass"): (),
    ("nn.Module", "@staticmethod\n    def f(y, block): return block(y)"): ("block",),
    # Of another class, as a processor of attention, it may be what it is handed.
    ("", "def __call__(self, attn, y): return attn.to_q(y)"): ("self", "attn"),
    ("", "def __call__(self, y, attn): return attn.to_q(y)"): ("self", "attn"),
    ("", "def f(self, attn, y): return attn"): ("self",),
    ("Base", "def __call__(s, attn, y): return attn.heads"): ("s", "attn"),
}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_owners_are_the_parameters_that_may_hold_the_module(function: str):
    assert planned(function, "m:*=y").owners == FUNCTIONS[function]


@pytest.mark.parametrize(("base", "function"), METHODS)
def test_the_owner_of_a_method_is_what_it_is_called_on_and_of_no_module_what_it_is_handed(base: str, function: str):
    assert planned(f"class C({base}):\n    {function}", "m:*=y").owners == METHODS[base, function]


# The start of a function


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ("y = 1", 0),
        ("'Text.'\ny = 1", 1),
        ("global a\ny = 1", 1),
        ("'Text.'\nglobal a\nb: int\nglobal c\ny = 1", 4),
        ("global a\na = 1\ny = 1", 1),
        ("b: int = 1\ny = 1", 0),
        ("b.c: int\ny = 1", 0),
        ("1\ny = 1", 0),
    ],
)
def test_an_execution_is_told_before_the_first_statement_that_runs(body: str, place: int):
    tree = ast.parse("def f(b):\n" + "".join(f"    {line}\n" for line in body.splitlines()))
    written_body = ast.parse(written(ast.unparse(tree), "m:f=y@assign").replace("_@", "at_")).body[0].body
    assert ast.unparse(written_body[place]).startswith("at_enter(")
    assert [ast.unparse(one).startswith("at_enter(") for one in written_body].count(True) == 1


def test_a_function_keeps_its_docstring():
    source = "def f():\n    'Text.'\n    y = 1\n"
    seen = both(source, "f() or f.__doc__", "m:f=y@assign")
    assert (seen.result, seen.captured) == ("Text.", [("y", 1)])


# What a function may see of the dict of its locals, up to Python 3.12


@one_dict
@pytest.mark.parametrize(
    "exposing",
    [
        *(f"{name}()" for name in ("locals", "vars", "eval", "exec")),
        *(f"a.{name}" for name in ("f_locals", "_getframe", "currentframe", "f_back")),
        "inspect.stack()",
        "builtins.locals()",
    ],
)
def test_where_a_function_shows_its_locals_a_name_is_read_in_a_try(exposing: str):
    maybe = "def f(a):\n    if a: y = 1\n    {}\n    return a()\n"
    assert calls_in(maybe.format(exposing), "m:f=y") == {"hold", "record", "missed", "release"}
    assert calls_in(maybe.format("a.other()"), "m:f=y") == {"look", "locals"}


@one_dict
def test_where_a_function_shows_its_locals_an_expression_is_computed_in_a_try():
    maybe = "def f(a):\n    if a: y = 1\n    {}\n    return a()\n"
    assert "locals" not in calls_in(maybe.format("a.f_locals"), "m:f=z:=[y for _ in a]")
    assert "locals" in calls_in(maybe.format("a.other"), "m:f=z:=[y for _ in a]")


@one_dict
def test_a_name_that_is_not_bound_is_missed_with_the_owner():
    text = written("class C:\n  def f(self):\n    if self: y = 1\n    self.f_locals\n    return self()\n", "m:C.f=y")
    assert "_@missed(('m', 'C.f', 'y', 5), self)" in text


@one_dict
@pytest.mark.parametrize(
    ("block", "forgets"),
    [
        ("with a: return a()", True),
        ("try: return a()\n    finally: a", True),
        ("try: return a()\n    except OSError: a", False),
        ("for b in a: return a()", False),
        ("if a: return a()", False),
    ],
)
def test_the_dict_of_locals_is_emptied_where_code_of_the_function_still_runs(block: str, forgets: bool):
    assert ("forget" in calls_in(f"def f(a):\n    if a: y = 1\n    {block}\n", "m:f=y")) == forgets


# The end of a function


def test_what_stands_behind_a_return_stays():
    assert both("def f():\n    y = 1\n    return y\n    yield\n", "list(f())", "m:f=y").captured == [("y", 1)]


def test_an_else_runs_behind_a_block_that_ends_with_a_try():
    source = """
    def f(x, seen):
        try:
            try:
                y = int(x)
            except ValueError as error:
                y = error
        except OSError:
            y = 3
        else:
            seen.append(x)
    """
    call = "[(f(x, seen := []), seen) for x in ('1', 'a')]"
    assert [str(value) for _, value in both(source, call, "m:f=y").captured] == [
        "1",
        "invalid literal for int() with base 10: 'a'",
    ]


# Names as a class keeps them


@pytest.mark.parametrize(
    ("name", "private", "kept"),
    [
        ("__x", "C", "_C__x"),
        ("__x", "__C", "_C__x"),
        ("__x", "_", "__x"),
        ("__x", "X", "_X__x"),
        ("__x", "___", "__x"),
        ("__x", None, "__x"),
        ("__x__", "C", "__x__"),
        ("__x_", "C", "_C__x_"),
        ("_x", "C", "_x"),
        ("x", "C", "x"),
    ],
)
def test_private_names_are_those_that_python_makes(name: str, private: str | None, kept: str):
    assert mangled(name, private) == kept
    if private is not None:
        space: dict[str, object] = {}
        exec(f"class {private}:\n    def f(self): return self.{name}", space)
        assert space[private].f.__code__.co_names == (kept,)  # type: ignore[attr-defined]


def test_private_keywords_and_parameters_in_an_expression_are_those_that_python_makes():
    source = """
    class C:
        def f(self):
            self.__a = 1
            return None
    """
    captures = "[((lambda __b: (__b, self.__a))(2), dict(__c=3)) for _ in 'x']"
    assert both(source, "C().f()", f"m:C.f=z:={captures}").captured == [("z", [((2, 1), {"__c": 3})])]


# The head of a module


@pytest.mark.parametrize(
    "head", ["", "'Text.'\n", "from __future__ import annotations\n", "'Text.'\nfrom __future__ import annotations\n"]
)
def test_functions_are_known_before_the_first_of_them_can_run(head: str):
    source = head + "class C:\n    def f():\n        y = 1\n        return y\n    z = f()\n"
    seen = both(source, "C.z", "m:C.f=y")
    assert (seen.result, seen.captured) == (1, [("y", 1)])
    source, path = write_down(source)
    tree = rewritten_tree(source, path, "m:C.f=y")
    kinds = [type(one).__name__ for one in tree.body]
    assert kinds[head.count("\n") :] == ["ImportFrom", "Expr", "ClassDef"]


def test_a_module_imports_what_it_calls_and_nothing_else():
    source = "def f(a):\n    y = 1\n    return g(y)\n"
    source, path = write_down(source)
    tree = rewritten_tree(source, path, "m:f=y")
    imported = tree.body[0]
    assert isinstance(imported, ast.ImportFrom)
    assert imported.module == "astcapture.record.recorder"
    assert [(one.name, one.asname) for one in imported.names] == [("declare", "_@declare"), ("record", "_@record")]


def test_all_that_can_be_called_is_imported_from_the_recorder():
    from astcapture.record import recorder

    assert all(callable(getattr(recorder, name)) for name in CALLED)


@pytest.mark.parametrize("value", ["None", "g(c)"])
def test_a_local_that_a_finally_lets_go_of_is_gone_where_its_dict_was_asked_for(value: str):
    source = f"""
    import weakref
    class Thing:
        n = 1
    def g(c):
        return None
    def f(c):
        if c: y = Thing()
        kept = weakref.ref(y)
        try:
            return {value}
        finally:
            del y
            gone.append(kept() is None)
    gone = []
    """
    seen = both(source, "(f(True), gone)", "m:f=n:=y.n")
    assert seen.result == (None, [True])
    assert seen.captured == [("n", 1)]
