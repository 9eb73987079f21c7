"""Results of calls, and what calls get first: what is recorded, with which line, and that nothing else changes."""

from __future__ import annotations

import contextlib
import textwrap
from typing import Any

import pytest
from plain_and_rewritten import both, plain_code, recorded, rewritten_code, run, traced, write_down

from astcapture.errors import CaptureError

HEADER = """
import asyncio
import contextlib
import math
import types

class Scores(list):
    def softmax(self, axis=0): return Scores([axis, *self])
    def fail(self, axis=0): raise ValueError(axis)

def softmax(x=None, *more, **options): return ("soft", x)
def fail(x): raise ValueError(x)
def seen(order, value):
    order.append(value)
    return value
F = types.SimpleNamespace(softmax=softmax)
@contextlib.contextmanager
def manager(x): yield x
"""


def taken(body: str, capture: str, call: str = "f()", parameters: str = "*a") -> list[tuple[int, Any]]:
    """The line, counted from the ``def``, and the value of each record; all else is as in a plain run."""
    source = HEADER + f"def f({parameters}):\n" + textwrap.indent(textwrap.dedent(body).strip("\n"), "    ") + "\n"
    both(source, call, f"m:f={capture}")
    text, path = write_down(source)
    start = text[: text.index("def f(")].count("\n") + 1
    plain, rewritten = plain_code(text, path), rewritten_code(text, path, f"m:f={capture}")
    assert traced(plain, call).events == traced(rewritten, call).events
    names: dict[str, Any] = {"__name__": "m"}
    with recorded() as cache:
        exec(rewritten, names)
        with contextlib.suppress(Exception):  # compared with the plain run above
            eval(call, names)
        return [(record.lineno - start, record.value) for record in cache.select().records]


RESULTS = {
    "a function": ("return softmax(3)", [(1, ("soft", 3))]),
    "of a module": ("return F.softmax(3)", [(1, ("soft", 3))]),
    "a method": ("x = Scores([1])\nreturn x.softmax(-1)", [(2, [-1, 1])]),
    "two in one expression": ("return softmax(1), F.softmax(2)", [(1, ("soft", 1)), (1, ("soft", 2))]),
    "nested": ("return softmax(softmax(1))", [(1, ("soft", 1)), (1, ("soft", ("soft", 1)))]),
    "chained": ("return Scores().softmax(1).softmax(2)", [(1, [1]), (1, [2, 1])]),
    "chained over lines": (
        "return (\n    Scores()\n    .softmax(1)\n    .softmax(\n        2\n    )\n)",
        [(2, [1]), (2, [2, 1])],
    ),
    "called twice": ("make = lambda: softmax\nreturn make()(1)", []),
    "in a comprehension": ("return [softmax(i) for i in range(2)]", [(1, ("soft", 0)), (1, ("soft", 1))]),
    "in a generator expression": ("return list(softmax(i) for i in range(2))", [(1, ("soft", 0)), (1, ("soft", 1))]),
    "in the iterable of a comprehension": ("return [i for i in softmax(1)]", [(1, ("soft", 1))]),
    "a walrus": ("if (x := softmax(1)): return x", [(1, ("soft", 1))]),
    "an f-string": ("return f'{softmax(1)!r:>20}'", [(1, ("soft", 1))]),
    "starred": ("return [*softmax(1)], max(*softmax('a'))", [(1, ("soft", 1)), (1, ("soft", "a"))]),
    "an argument and keywords": (
        "return dict(a=softmax(1), **{'b': softmax(2)})",
        [(1, ("soft", 1)), (1, ("soft", 2))],
    ),
    "with": ("with manager(softmax(1)) as x:\n    return x", [(1, ("soft", 1))]),
    "what with enters": ("with manager(1) as x, manager(softmax(2)):\n    return x", [(1, ("soft", 2))]),
    "match": ("match softmax(1):\n    case ('soft', x) if softmax(x): return x", [(1, ("soft", 1)), (2, ("soft", 1))]),
    "assert": ("assert softmax(1), softmax(2)\nreturn 3", [(1, ("soft", 1))]),
    "del": ("x = {('soft', 1): 2}\ndel x[softmax(1)]\nreturn x", [(2, ("soft", 1))]),
    "a subscript that is changed": ("x = {('soft', 1): 2}\nx[softmax(1)] += 1\nreturn x", [(2, ("soft", 1))]),
    "a conditional expression": ("return softmax(1) if a else softmax(2)", [(1, ("soft", 2))]),
    "a short cut": ("return a and softmax(1) or softmax(2)", [(1, ("soft", 2))]),
    "a chain of comparisons": ("return 1 < len(softmax(1)) < 2 < len(softmax(3))", [(1, ("soft", 1))]),
    "a loop": ("for x in softmax(1):\n    pass\nelse:\n    return softmax(x)", [(1, ("soft", 1)), (4, ("soft", 1))]),
    "while": ("x = []\nwhile len(softmax(x)[1]) < 2: x += [0]\nreturn x", [(2, ("soft", [0] * i)) for i in range(3)]),
    "a lambda's are its own": ("return (lambda: softmax(1))()", []),
    "a default of a lambda": ("return (lambda x=softmax(1): x)()", [(1, ("soft", 1))]),
    "a nested function's are its own": ("def g(): return softmax(1)\nreturn g()", []),
    "a nested function's defaults and decorators": (
        "@softmax\ndef g(x=softmax(1)): pass\nreturn F.softmax(2)",
        [(2, ("soft", 1)), (3, ("soft", 2))],
    ),
    "a class body's are its own": ("class C(softmax(object)[1]):\n    x = softmax(2)\nreturn C.x", None),
    "an exception": ("try:\n    x = fail(softmax(1))\nexcept ValueError:\n    return softmax(2)", None),
    "finally": ("try:\n    return softmax(1)\nfinally:\n    softmax(2)", [(2, ("soft", 1)), (4, ("soft", 2))]),
    "a statement": ("softmax(1)", [(1, ("soft", 1))]),
    "raise": ("raise ValueError(softmax(1))", [(1, ("soft", 1))]),
}


@pytest.mark.parametrize("name", RESULTS)
def test_the_result_of_a_call_is_recorded_where_it_is_computed(name):
    body, expected = RESULTS[name]
    found = taken("softmax('first')\n" + body, "softmax@call")
    assert found[0] == (1, ("soft", "first"))
    if expected is not None:
        assert found[1:] == [(line + 1, value) for line, value in expected]


def test_the_program_gets_the_very_object():
    source = "kept = []\ndef make(): kept.append(object()); return kept[-1]\ndef f(): return make()"
    text, path = write_down(source)
    seen = run(rewritten_code(text, path, "m:f=make@call"), lambda names: names["f"]() is names["kept"][0])
    assert seen.result is True
    assert [label for label, _ in seen.captured] == ["make"]


def test_a_call_that_raises_leaves_nothing_and_misses_nothing():
    seen = both(HEADER + "def f(x): return fail(x)", "f(1)", "m:f=fail@call")
    assert isinstance(seen.error, ValueError)
    assert (seen.captured, seen.missed, seen.failed) == ([], {}, {})


def test_inputs_are_recorded_if_the_call_raises_and_not_if_an_argument_does():
    assert taken("return fail(1)", "fail@input") == [(1, 1)]
    assert taken("return softmax(1, fail(2))", "softmax@input") == []


INPUTS = {
    "a function": ("return softmax(3, 4)", [(1, 3)]),
    "of a namespace": ("return F.softmax(3, 4)", [(1, 3)]),
    "of a module": ("return math.sqrt(4)", [(1, 4)]),
    "a method": ("return Scores([1]).softmax(-1)", [(1, [1])]),
    "a method without arguments": ("return Scores([1]).softmax()", [(1, [1])]),
    "a method of a class": ("return Scores.softmax([1], 2)", None),
    "a class method": ("return dict.fromkeys('ab')", [(1, "ab")]),
    "starred": ("return softmax(*[3, 4], 5)", [(1, 3)]),
    "a keyword alone": ("return softmax(x=3)", [(1, 3)]),
    "two stars alone": ("return softmax(**{'key': 3})", [(1, 3)]),
    "nested": ("return softmax(softmax(1))", [(1, 1), (1, ("soft", 1))]),
    "chained over lines": (
        "return (\n    Scores([0])\n    .softmax(\n        1\n    )\n    .softmax(2)\n)",
        [(2, [0]), (2, [1, 0])],
    ),
    "in a comprehension": ("return [softmax(i) for i in range(2)]", [(1, 0), (1, 1)]),
    "a built-in": ("return len([1, 2])", [(1, [1, 2])]),
    "an attribute of a result": ("return f'{Scores([5]).softmax(1)}'", [(1, [5])]),
}


@pytest.mark.parametrize("name", INPUTS)
def test_the_input_of_a_call_is_what_it_got_first(name):
    body, expected = INPUTS[name]
    captures = "softmax@input,sqrt@input,fromkeys@input,len@input"
    wanted = [one for one in captures.split(",") if one.partition("@")[0] + "(" in body]
    found = taken(body, ",".join(wanted))
    if expected is not None:
        assert found == expected


@pytest.mark.parametrize("call", ["softmax(*3)", "softmax(**3)", "softmax(x=1, **{'x': 2})", "3(*[1])", "3(1)"])
def test_a_call_that_cannot_be_made_raises_what_it_would(call):
    seen = both(HEADER + f"def f():\n    return {call}", "f()", "m:f=*@input,*@call")
    assert isinstance(seen.error, TypeError)
    assert seen.captured == []


def test_the_input_is_as_it_was_before_the_call():
    assert taken("x = [1]\nx.append(2)\nreturn x", "append@input,x") == [(2, [1]), (3, [1, 2])]


def test_a_call_without_input_is_counted():
    seen = both(HEADER + "def f(): return softmax()", "f()", "m:f=softmax@input")
    assert (seen.captured, seen.missed) == ([], {"softmax": 1})


def test_arguments_are_evaluated_once_and_in_order():
    body = """
        order = []
        seen(order, softmax)(seen(order, 1), *seen(order, [2]), a=seen(order, 3), **seen(order, {'b': 4}))
        return order[1:]
    """
    taken(body, "*@call")
    taken(body, "*@input,*@call")


AWAITS = """
async def slow(x):
    await asyncio.sleep(0)
    return x * 2
async def each(n):
    for i in range(n):
        yield i
async def f():
    waiting = slow(1)
    first = await slow(2)
    rest = [await slow(i) async for i in each(2)]
    return first, await waiting, rest
"""


def test_of_an_awaited_call_the_awaited_value_is_recorded():
    seen = both(HEADER + AWAITS, "asyncio.run(f())", "m:f=slow@call")
    (_, coroutine), *awaited = seen.captured
    assert type(coroutine).__name__ == "coroutine"
    assert [value for _, value in awaited] == [4, 0, 2]
    assert [value for _, value in both(HEADER + AWAITS, "asyncio.run(f())", "m:f=slow@input").captured] == [1, 2, 0, 1]


def test_calls_in_a_generator_and_a_yield_among_arguments():
    source = HEADER + (
        "def f(n):\n    for i in range(n):\n        got = softmax((yield softmax(i)), i)\n    return softmax('end')\n"
        "def drive():\n    steps = f(2)\n    return [next(steps), steps.send('a'), next(steps, 'over')]\n"
    )
    seen = both(source, "drive()", "m:f=softmax@call")
    assert [value[1] for _, value in seen.captured] == [0, "a", 1, None, "end"]
    assert [value for _, value in both(source, "drive()", "m:f=softmax@input").captured] == [0, "a", 1, None, "end"]


def test_all_calls_are_named_as_they_are_written():
    body = "make = [softmax]\nx = make[0](1)\nreturn F.softmax(Scores(x))"
    source = HEADER + "def f():\n" + textwrap.indent(body, "    ")
    assert [label for label, _ in both(source, "f()", "m:f=*@call").captured] == [
        "make[0]", "Scores", "softmax",
    ]  # fmt: skip


def test_dots_choose_among_calls_of_one_name():
    body = "x = Scores()\nreturn F.softmax(1), softmax(2), x.softmax(3)"
    assert taken(body, "F.softmax@call") == [(2, ("soft", 1))]
    assert taken(body, "x.softmax@call") == [(2, [3])]
    assert len(taken(body, "softmax@call")) == 3


def test_a_default_and_a_decorator_are_not_of_the_function_itself():
    source = HEADER + "@(lambda g: g)\ndef f(x=softmax(1)): return softmax(x)"
    assert [value for _, value in both(source, "f()", "m:f=softmax@call").captured] == [("soft", ("soft", 1))]


def test_the_result_and_the_local_that_it_is_bound_to():
    body = "x = softmax(1)\nx = x + (2,)\nreturn x"
    assert [value for _, value in taken(body, "softmax@call,x@assign,x")] == [
        ("soft", 1),
        ("soft", 1),
        ("soft", 1, 2),
        ("soft", 1, 2),
    ]


ENTRIES = (
    HEADER
    + '''
def f(x, y=2, *rest, key=softmax(3), **more):
    """Doc."""
    x = [x, y]
    del y
    rest = more = key = None
    return x
def only_a_docstring(x):
    """Doc."""
'''
)


def test_parameters_are_recorded_as_they_came_in():
    seen = both(ENTRIES, "f(1), f(1, 5, 6, z=7)", "m:f=*@enter,x")
    assert seen.captured == [
        ("x", 1), ("y", 2), ("key", ("soft", 3)), ("rest", ()), ("more", {}), ("x", [1, 2]),
        ("x", 1), ("y", 5), ("key", ("soft", 3)), ("rest", (6,)), ("more", {"z": 7}), ("x", [1, 5]),
    ]  # fmt: skip
    assert both(ENTRIES, "only_a_docstring(1)", "m:only_a_docstring=x@enter").captured == [("x", 1)]


YIELDS = (
    HEADER
    + """
def f(n, late=None):
    for token in range(n):
        got = yield token * 2
    if n > 1:
        late = "now"
        unsure = 1
    yield
    yield from other(n)
    return n
def other(n):
    yield n
async def g(n):
    for token in range(n):
        yield token
async def collect(n): return [one async for one in g(n)]
"""
)


def test_locals_are_recorded_at_each_yield_of_the_function_itself():
    seen = both(YIELDS, "list(f(2))", "m:f=token@yield,late@yield")
    assert seen.captured == [("token", 0), ("late", None), ("token", 1), ("late", None), ("token", 1), ("late", "now")]
    seen = both(YIELDS, "list(f(0)), list(f(2))", "m:f=unsure@yield,got@yield")
    assert seen.captured == [("got", None), ("unsure", 1), ("got", None)]
    assert seen.missed == {"unsure": 3, "got": 2}
    assert both(YIELDS, "asyncio.run(collect(2))", "m:g=token@yield").captured == [("token", 0), ("token", 1)]


def test_a_local_is_recorded_when_the_yielded_value_has_been_computed():
    source = "def f(x):\n    yield (x := x + 1)\n    yield (x := x + 1)"
    assert both(source, "list(f(0))", "m:f=x@yield").captured == [("x", 1), ("x", 2)]


NOT_THERE = [
    ("softmx@call", "softmx@call: f (line 1) does not call 'softmx': did you mean softmax?"),
    ("exp@input", "exp@input: f (line 1) does not call 'exp': it calls softmax, dropout"),
    ("y@call", "y@call: f (line 1) does not call 'y': it is a local, so capture y without @call"),
    ("y@enter", "y@enter: 'y' is not a parameter of f (line 1): it is bound in the body, so capture y or y@assign"),
    ("xs@enter", "xs@enter: 'xs' is not a parameter of f (line 1): did you mean x?"),
    ("y@yield", "y@yield: f (line 1) has no yield of its own, so capture y or y@assign"),
    ("*@yield", "*@yield: f (line 1) has no yield of its own, or no locals"),
    ("attn", "'attn' is never bound in f (line 1); 'dropout' is called on line 3: capture dropout@call"),
    ("softmax", "'softmax' is never bound in f (line 1); 'softmax' is called on line 3: capture softmax@call"),
]  # fmt: skip


@pytest.mark.parametrize(("capture", "said"), NOT_THERE)
def test_what_is_not_there_is_an_error_that_names_what_is(capture, said):
    source = "def f(x, dropout=None):\n    y = x\n    return softmax(dropout(y))\n"
    if capture == "attn":
        source = "def f(x, dropout=None):\n    y = x\n    return dropout(softmax(y))\n"
        said += "; 'softmax' is called on line 3: capture softmax@call"
    with pytest.raises(CaptureError) as error:
        rewritten_code(source, "m.py", f"m:f={capture}")
    assert str(error.value) == f"m.py:1: {said}"


@pytest.mark.parametrize(
    ("capture", "said"),
    [
        ("x.y@enter", "'x.y': @enter takes a plain name"),
        ("x + 1@yield", "'x + 1': @yield takes a plain name"),
        ("all:=*@call", "'*' means every call, under its own name: remove all:="),
        ("all:=*@enter", "'*' means every parameter, under its own name: remove all:="),
    ],
)
def test_a_point_with_something_else_than_a_name_says_what_it_takes(capture, said):
    with pytest.raises(CaptureError, match="target") as error:
        rewritten_code("def f(x): return x", "m.py", f"m:f={capture}")
    assert said in str(error.value)


def test_a_call_as_the_name_of_a_call_is_taken_for_a_product():
    with pytest.raises(CaptureError, match="as a capture point, @call takes a plain name"):
        rewritten_code("def f(x): return f(x)", "m.py", "m:f=f(x)@call")


def test_a_marker_that_names_a_point_as_a_target_does_is_told_how_a_marker_does_it():
    source = "from astcapture import capture\n@capture('x@call')\ndef f(x): return x(2)"
    with pytest.raises(CaptureError, match=r"m\.py:2: .*in a marker the point is .* @capture\(\"x\", at=\"call\"\)"):
        rewritten_code(source, "m.py", "m")


def test_a_matrix_product_with_a_local_called_input_is_still_one():
    source = "class M(int):\n    def __matmul__(self, other): return ('product', other)\n"
    source += "def f(weight, input):\n    return 0"
    assert both(source, "f(M(1), 2)", "m:f=y:=M(1) @ input").captured == [("y", ("product", 2))]
