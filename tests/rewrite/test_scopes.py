"""The names of a function by the rules of Python's symbol table: its own, those it shares, and those out of reach."""

from __future__ import annotations

import ast
import sys
from textwrap import indent

import pytest
from plain_and_rewritten import function_code, plain_code

from astcapture.rewrite.find import find_functions, mentioned
from astcapture.rewrite.scope import Scope, function_scope, names_read

#: The body of a function `f(p)` in one that binds `x`, `y` and `z`; its locals, and what it reads of that one.
BODIES = {
    "each kind of statement": (
        "a = b.c = 1\nd += 1\nfor g, *h in p: pass\nwith p as i: pass\ndef q(): x\nclass r: pass",
        "p a d g h i q r",
        "x",
    ),
    "more kinds": (
        "import j.k, l as m\nfrom n import o\ntry: y\nexcept p as s: pass\ndel t",
        "p j m o s t",
        "y",
    ),
    "patterns": (
        "match p:\n    case [a, *b]: pass\n    case {1: c, **d}: pass\n    case int(real=e) as g: y",
        "p a b c d e g",
        "y",
    ),
    "a walrus": ("p(a := x)\n(b := (c := y))", "p a b c", "x y"),
    "a walrus in a lambda": ("lambda: (a := x)", "p", "x"),
    "a walrus in a lambda's default": ("lambda b=(a := x): b", "p a", "x"),
    "defaults, decorators and annotations of a nested function": (
        "@(a := p)\ndef q(b: x, *d: 1, g: y = (i := 2), **j: (k for k in x)) -> z: pass",
        "p a q i",
        "x y z",
    ),
    "bases and keywords of a class": ("@(d := p)\nclass a((b := x), metaclass=(c := y)): pass", "p d a b c", "x y"),
    "two nested functions": ("def a(): x\ndef b(): y", "p a b", "x y"),
    "two nested classes": ("class a:\n    def c(): x\nclass b: y", "p a b", "x y"),
    "a function in a function": ("def a():\n    def b(): x\n    y = 1", "p a", "x"),
    "a function in a class": ("class a:\n    x = 1\n    def b(): x\n    y = y", "p a", "x"),
    "a method that declares it nonlocal": ("class a:\n    def b():\n        nonlocal x\n        x = 1", "p a", "x"),
    "a class that declares it nonlocal": ("class a:\n    nonlocal x\n    x = 1", "p a", "x"),
    "global": ("global x, a\nx = 1\na = 1\ndef b():\n    global y\n    y = 1", "p b", ""),
    "global in a class": ("class a:\n    global x\n    x = 1\n    y", "p a", "y"),
    # From Python 3.14 on nothing evaluates what annotates a variable of a function.
    "annotations of variables": ("a: x = 1\np.b: y", "p a", "" if sys.version_info >= (3, 14) else "x y"),
    "annotations of variables in a class": ("class a:\n    b: x = 1", "p a", "x"),
    "annotations of variables in a nested function": (
        "def a():\n    b: x = y",
        "p a",
        "y" if sys.version_info >= (3, 14) else "x y",
    ),
}
if sys.version_info < (3, 14):
    BODIES["walruses in annotations of a nested function"] = (
        "def q(b: (c := x), *d: (e := 1), g: (h := y), **j: (k := 3)) -> (l := z): pass",
        "p q c e h k l",
        "x y z",
    )
if sys.version_info >= (3, 12):
    BODIES["bounds of type parameters"] = (
        "def a[T: x](): pass\nclass b[T: (int, y)]: pass\ntype c[T: z] = list[T]",
        "p a b c",
        "x y z",
    )
if sys.version_info >= (3, 15):
    BODIES["unpacking in comprehensions"] = (
        "[*y for p in x]\n{**(p, y) for p in x}\n(*(a := y) for _ in x)",
        "p a",
        "x y",
    )
if sys.version_info >= (3, 14):
    BODIES["a template string"] = ("t'{x} {(a := y)!r:>{z}}'", "p a", "x y z")


def scope_of(body: str) -> tuple[Scope, str]:
    source = f"def outer(x, y):\n    z = 1\n    def f(p):\n{indent(body, ' ' * 8)}\n"
    (function,) = (one for one in find_functions(ast.parse(source)) if one.qualname == "outer.<locals>.f")
    return function_scope(function), source


@pytest.mark.parametrize(("body", "own", "free"), BODIES.values(), ids=BODIES)
def test_a_function_has_the_locals_and_closure_that_its_code_has(body: str, own: str, free: str):
    scope, source = scope_of(body)
    code = function_code(function_code(plain_code(source, "m.py"), "outer"), "f")
    assert set(scope.locals) == set(own.split()) == {*code.co_varnames, *code.co_cellvars}
    assert set(scope.free) == set(free.split()) == set(code.co_freevars)
    assert set(scope.out_of_reach) == set("xyzf") - set(free.split()) - scope.globals
    assert scope.parameters == ("p",)


def test_all_functions_around_are_looked_into():
    source = "def a(x):\n    def b(y):\n        def c():\n            x\n        c\n"
    (function,) = (one for one in find_functions(ast.parse(source)) if one.qualname == "a.<locals>.b.<locals>.c")
    scope = function_scope(function)
    assert (scope.free, scope.out_of_reach) == (frozenset("x"), frozenset("ybc"))


def test_what_is_declared_nonlocal_is_neither_local_nor_free():
    scope, _ = scope_of("nonlocal x\nx = 1\na = 1")
    assert (scope.locals, scope.nonlocals, scope.free) == (("p", "a"), frozenset("x"), frozenset())
    assert scope.readable == ("p", "a", "x")
    assert scope.out_of_reach == frozenset("yzf")


@pytest.mark.parametrize(
    "body",
    [
        "a = b = 1\ndef g():\n    nonlocal a\n    a = 2\ndef h():\n    nonlocal b\n    b = 2",
        "a = b = 1\ndef g():\n    def h():\n        nonlocal a, b\n        a = b = 2",
        "a = b = 1\nclass C:\n    nonlocal a\n    a = 2\n    def h():\n        nonlocal b\n        b = 2",
        "a = b = 1\nclass C:\n    nonlocal a\nclass D:\n    nonlocal b",
        "a = b = 1\ndef g():\n    nonlocal a, b\n    class C:\n        nonlocal a, b",
    ],
)
def test_what_a_nested_scope_can_rebind_is_shared(body: str):
    assert scope_of(body)[0].shared == frozenset("ab")


@pytest.mark.parametrize(
    "body",
    [
        "a = 1\ndef g(): a",
        "a = 1\ndef g(): a = 2",
        "a = 1\ndef g():\n    a = 2\n    def h():\n        nonlocal a\n        a = 3",
        "a = 1\nclass C: a = 2",
    ],
)
def test_what_a_nested_scope_only_reads_or_has_of_its_own_is_not_shared(body: str):
    assert scope_of(body)[0].shared == frozenset()


def test_names_of_comprehensions_are_known_unless_the_function_binds_them_too():
    scope, _ = scope_of(
        "[a for a in p]\n{b: c for b, c in p}\n{d for d in p for e in d}\n(g for g in [h for h in p])\n"
        "[[i for i in j] for j in p]\nk = [k for k in p]"
    )
    assert scope.in_comprehensions == frozenset("abcdeghij")
    assert scope.locals == ("p", "k")


def test_what_comprehensions_bind_by_a_walrus_is_bound_around_them():
    assert set(scope_of("[a := b for b in p if (c := b)]\n{(d := e): (g := e) for e in p}")[0].locals) == set("pacdg")
    assert set(scope_of("[[a := b for b in c] for c in p]")[0].locals) == set("pa")
    assert scope_of("[lambda: (a := b) for b in p]")[0].locals == ("p",)


def test_an_expression_reads_what_its_lambdas_and_comprehensions_take_from_around_them():
    def read(expression: str) -> set[str]:
        return names_read(ast.parse(expression, mode="eval").body)

    assert read("a.b[c](d, e=f)") == set("acdf")
    assert read("[a + b for a in c if d]") == set("bcd")
    assert read("lambda a, b=c: a + d") == set("cd")
    assert read("[[a for a in b] for b in c]") == set("c")
    assert read("{a: b for a, b in c for d in a} and (e for e in f)") == set("cf")


def test_a_tree_whose_nodes_know_their_parents_is_looked_through_once():
    tree = ast.parse("def f(x):\n    y = [x.stack, *vars(x)]\n    return {y: locals}")
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            child.parent = node  # as IPython and `executing` do
    assert mentioned(tree.body[0].body[0]) == {"y", "x", "stack", "vars"}
    assert mentioned(tree) == {"y", "x", "stack", "vars", "locals"}
