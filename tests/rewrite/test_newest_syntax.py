"""What Python 3.14 and 3.15 brought, in captured functions: nothing changes, and the values are recorded."""

from __future__ import annotations

import sys

import pytest
from plain_and_rewritten import both

from astcapture.errors import CaptureError

needs_314 = pytest.mark.skipif(sys.version_info < (3, 14), reason="syntax of Python 3.14")
needs_315 = pytest.mark.skipif(sys.version_info < (3, 15), reason="syntax of Python 3.15")


@needs_314
def test_template_strings_are_evaluated_once_and_in_order():
    source = """
    def f(x):
        seen = []
        def note(one):
            seen.append(one)
            return one
        made = t"{note(x)!r:>{note(3)}} and {(y := note(x + 1))}"
        return [(one.value, one.expression, one.conversion, one.format_spec) for one in made.interpolations], seen
    """
    parts = [(1, "note(x)", "r", ">3"), (2, "(y := note(x + 1))", None, "")]
    for target in ("m:f=seen,y", "m:f=seen@assign,y@assign", "m:f=y,seen,last:=t'{y}'.values[-1]"):
        seen = both(source, "f(1)", target)
        assert seen.result == (parts, [1, 3, 2])
        assert [value for label, value in seen.captured if label in ("y", "last")] == [2] * (
            2 if "last" in target else 1
        )


@needs_314
def test_annotations_are_evaluated_when_they_are_asked_for():
    source = """
    def f(x):
        y: never_defined[x] = x + 1
        def g(a: later, *b: [y for y in range(x)]) -> later | None:
            z = a
            return z
        later = int
        return g(y), sorted(g.__annotations__)
    class C:
        before: Later = 1
        def method(self, x: Later) -> C:
            w = x
            return w
    class Later: pass
    def of_class():
        return C.__annotations__["before"] is Later, C.method.__annotations__["return"] is C, C().method(3)
    """
    for target in ("m:*=*", "m:*=*@assign"):
        assert both(source, "f(1)", target).result == (2, ["a", "b", "return"])
        assert both(source, "of_class()", target).result == (True, True, 3)
    assert ("z", 2) in both(source, "f(1)", "m:f.<locals>.g=z").captured


@needs_314
def test_a_name_that_only_annotates_a_variable_is_out_of_reach():
    source = """
    def outer(a, b):
        def f(x):
            y: a = x
            def g(p: b): return p
            return g(y)
        return f(a)
    """
    assert both(source, "outer(1, 2)", "m:outer.<locals>.f=y,b").captured == [("y", 1), ("b", 2)]
    with pytest.raises(
        CaptureError, match=r"'a', a local of an enclosing function that outer.<locals>.f .* does not use"
    ):
        both(source, "outer(1, 2)", "m:outer.<locals>.f=a")


@needs_314
def test_exceptions_are_listed_without_parentheses():
    source = """
    def f(x):
        try: y = 1 / x
        except TypeError, ZeroDivisionError: y = "none"
        return y
    """
    assert [both(source, f"f({x})", "m:f=y").captured for x in (0, 1, "''")] == [
        [("y", "none")],
        [("y", 1.0)],
        [("y", "none")],
    ]


@needs_315
@pytest.mark.parametrize("target", ["m:f=*", "m:f=*@assign", "m:f=late:=[*one for one in x],*"])
def test_comprehensions_unpack(target: str):
    source = """
    def f(x):
        r = [*(w := one) for one in x], {**{one[0]: one} for one in x}, {*one for one in x}
        return r, list(*one for one in x)
    """
    seen = both(source, "f(['ab', 'cd'])", target)
    assert seen.result[1] == list("abcd")
    assert ("w", "cd") in seen.captured
    assert ("r", (list("abcd"), {"a": "ab", "c": "cd"}, set("abcd"))) in seen.captured
    assert ("late" in target) == (("late", list("abcd")) in seen.captured)
