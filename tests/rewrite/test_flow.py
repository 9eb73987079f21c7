"""Which names are surely bound at each return of a function and at its end: a capture there reads them as they are."""

from __future__ import annotations

import ast
import sys
from textwrap import indent

import pytest

from astcapture.rewrite.find import find_functions
from astcapture.rewrite.flow import bound_at_exits
from astcapture.rewrite.scope import function_scope

needs_311 = pytest.mark.skipif(sys.version_info < (3, 11), reason="syntax of Python 3.11")
needs_312 = pytest.mark.skipif(sys.version_info < (3, 12), reason="syntax of Python 3.12")

#: A body, and what is surely bound: at each ``return`` in the order of the source, then at the end, None where
#: it is not reached. ``yes()`` decides as it likes and may raise, as anything may.
BODIES: dict[str, tuple[str, list[str | None]]] = {
    "nothing": ("pass", [""]),
    "an assignment": ("a = b = 1\n(c, *d) = 1, 2", ["abcd"]),
    "an annotation alone": ("a: int\nb: int = 1", ["b"]),
    "an augmented assignment": ("a = 1\na += 1", ["a"]),
    "an attribute and an item": ("a = yes\na.b = 1\na[0:1] = 1\nc = 1", ["ac"]),
    "imports": ("import os.path\nimport sys as a\nfrom os import sep, curdir as b", ["a b os sep"]),
    "a def and a class": ("def a(): b = 1\nclass c: d = 1", ["ac"]),
    "del": ("a = b = 1\ndel a", ["b"]),
    "del of several": ("a = b = c = 1\ndel (a, b)", ["c"]),
    "a walrus, which may not be reached": ("yes() and (a := 1)", [""]),
    "a return on the way": ("a = 1\nif yes(): return\nb = 1", ["a", "ab"]),
    "a return in both branches": ("if yes(): return\nelse:\n    a = 1\n    return\n", ["", "a", None]),
    "if and else": ("if yes(): a = b = 1\nelse: a = c = 1", ["a"]),
    "if without else": ("if yes(): a = 1", [""]),
    "raise in a branch": ("if yes(): raise OSError\nelse: a = 1", ["a"]),
    "a return behind a raise": ("a = 1\nraise OSError\nreturn", ["", None]),
    "for": ("for a in 'x': b = 1", [""]),
    "a return in a for": ("for a in 'x':\n    b = 1\n    return", ["ab", ""]),
    "for and else": ("for a in 'x': b = 1\nelse: c = 1", ["c"]),
    "for, break and else": ("for a in 'x':\n    if yes(): break\nelse: b = 1", [""]),
    "break where the same is bound as in else": (
        "for a in 'x':\n    b = 1\n    if yes(): break\nelse: b = 1",
        ["b"],
    ),
    "a loop that unbinds": ("a = b = 1\nfor c in 'xy':\n    if yes(): return\n    del a", ["bc", "b"]),
    "while": ("while yes(): a = 1", [""]),
    "while and else": ("while yes(): a = 1\nelse: b = 1", ["b"]),
    "while True is left by break alone": ("while True:\n    a = 1\n    if yes(): break\n    b = 1", ["a"]),
    "while True with two breaks": (
        "while True:\n    a = 1\n    if yes(): break\n    b = 1\n    if yes(): break",
        ["a"],
    ),
    "while True is never left": ("while True: a = 1", [None]),
    "while True is left by return alone": ("while True:\n    a = 1\n    if yes(): return", ["a", None]),
    "while False": ("while 0: a = 1", [""]),
    "a break that is never reached": (
        "while True:\n    a = 1\n    if yes(): break\n    continue\n    break",
        ["a"],
    ),
    "break in a loop in a loop": (
        "while True:\n    a = 1\n    for b in 'x':\n        if yes(): break\n    c = 1\n    if yes(): break",
        ["ac"],
    ),
    "a break through a handler that unbinds": (
        "a = b = 1\nwhile True:\n    try: yes()\n    except OSError as b: break",
        ["a"],
    ),
    "with": ("with yes() as a:\n    b = 1", [""]),
    "a return in a with": ("with yes() as a, yes() as (b, c):\n    d = 1\n    return", ["abcd", ""]),
    "a with that unbinds": ("a = b = 1\nwith yes():\n    del a\n    a = 1", ["b"]),
    "match": ("match yes():\n    case 1: a = 1\n    case _: a = 1", [""]),
    "a return in a case": ("match yes():\n    case 1:\n        b = 1\n        return", ["b", ""]),
    "try": ("try: a = 1\nexcept OSError: b = 1", [""]),
    "try, both binding": ("try: a = 1\nexcept OSError: a = 2", ["a"]),
    "try with a handler that leaves": ("try: a = 1\nexcept OSError: return\nb = 1", ["", "ab"]),
    "try and else": ("try: a = 1\nexcept OSError: a = b = c = 2\nelse: b = 1", ["ab"]),
    "a return in an else": ("try: a = 1\nexcept OSError: pass\nelse: return", ["a", ""]),
    "a handler's name": ("try: yes()\nexcept OSError as a:\n    b = 1\n    return", ["ab", ""]),
    "a handler's name is gone behind it": (
        "a = b = 1\ntry: yes()\nexcept OSError as a: pass\nexcept ValueError as c: pass",
        ["b"],
    ),
    "a body that unbinds before its handler": (
        "a = b = 1\ntry:\n    del a\n    a = 1\nexcept OSError: return",
        ["b", "ab"],
    ),
    "finally": ("a = 1\ntry: b = 1\nfinally: c = 1", ["abc"]),
    "a return in a finally": ("a = 1\ntry: b = 1\nfinally: return", ["a", None]),
    "a return in a finally behind handlers that unbind": (
        "a = b = c = d = 1\ntry: del a\nexcept OSError as b: pass\nelse: del c\nfinally: return",
        ["d", None],
    ),
    "finally behind a return": ("try: return\nfinally: a = 1", ["", None]),
    "finally and handlers": ("try: a = 1\nexcept OSError: a = 2\nfinally: b = 1", ["ab"]),
    "finally that unbinds": ("a = b = 1\ntry: yes()\nfinally: del a", ["b"]),
    "dead code": ("return\na = 1\nif yes(): return\nfor b in 'x': return", ["", "", "", None]),
    "a nested function's nonlocal": ("a = b = 1\ndef c():\n    nonlocal a\n    del a", ["bc"]),
}


def names(text: str | None) -> frozenset[str] | None:
    return None if text is None else frozenset(text.split() if " " in text else text)


def exits_of(source: str) -> list[frozenset[str] | None]:
    function = find_functions(ast.parse(source))[0]
    exits = bound_at_exits(function.node, function_scope(function))
    returns = sorted((node for node in exits.at_return), key=lambda node: node.lineno)
    return [*(exits.at_return[node] for node in returns), exits.at_end]


@pytest.mark.parametrize(("body", "expected"), BODIES.values(), ids=BODIES)
def test_what_is_surely_bound_at_each_exit(body: str, expected: list[str | None]):
    found = exits_of("def f(yes):\n" + indent(body, "    "))
    assert [None if one is None else one - {"yes"} for one in found] == [names(one) for one in expected]


@needs_311
def test_a_handler_of_groups_is_a_handler():
    body = "a = b = 1\n    try:\n        del a\n        c = 1\n    except* OSError as b: c = 2"
    assert exits_of(f"def f():\n    {body}") == [frozenset("c")]


@needs_312
def test_a_type_alias_is_surely_bound():
    assert exits_of("def f():\n    type a = int") == [frozenset("a")]


def test_parameters_are_surely_bound():
    assert exits_of("def f(a, /, b, *c, d=1, **e): pass") == [frozenset("abcde")]
    assert exits_of("def f(a, b):\n    del a") == [frozenset("b")]
