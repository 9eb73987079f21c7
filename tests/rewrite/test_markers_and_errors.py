"""Which functions a marker or target means, and what is said where it means none."""

from __future__ import annotations

import ast
import sys
from textwrap import dedent, indent

import pytest
from plain_and_rewritten import both, captured, function_code, plain_code

from astcapture.errors import CaptureError
from astcapture.rewrite.find import find_functions
from astcapture.rewrite.plan import plan_module
from astcapture.rewrite.planned import Plan
from astcapture.targets.target import parse_targets


def plan(source: str, targets: object) -> Plan:
    return plan_module(ast.parse(dedent(source)), "m", "m.py", parse_targets(targets))


def planned(source: str, targets: object = "m") -> list[str]:
    return [
        f"{one.function.qualname}: {', '.join(capture.label for capture in one.captures)}"
        for one in plan(source, targets).functions
    ]


def marked(source: str) -> list[str]:
    return [function.qualname for function in find_functions(ast.parse(dedent(source))) if function.markers]


@pytest.mark.parametrize(
    ("imported", "spelled"),
    [
        ("from astcapture import capture", "capture"),
        ("from astcapture import capture as cap", "cap"),
        ("import astcapture", "astcapture.capture"),
        ("import astcapture as ac", "ac.capture"),
        ("import astcapture.targets.marker", "astcapture.targets.marker.capture"),
        ("import astcapture.targets.marker as marker", "marker.capture"),
        ("from astcapture.targets import marker", "marker.capture"),
        ("from astcapture.targets.marker import capture", "capture"),
        ("from astcapture import *", "capture"),
        ("import os, astcapture as ac", "ac.capture"),
        ("from astcapture import capture\nmark = capture", "mark"),
        ("import astcapture as ac\nmark = ac.capture", "mark"),
        ("from astcapture import capture\nmark: object = capture", "mark"),
        ("from astcapture import capture\ncapture: object", "capture"),
        (
            "try:\n    from astcapture import capture\nexcept ImportError:\n    def capture(*a): return lambda f: f",
            "capture",
        ),
        ("try:\n    from astcapture import capture\nexcept ImportError:\n    capture = None", "capture"),
        ("if True:\n    import astcapture as ac\nelse:\n    ac = None", "ac.capture"),
        ("with open('x'):\n    from astcapture import capture", "capture"),
    ],
)
def test_the_marker_is_recognised_by_what_its_name_was_imported_from(imported, spelled):
    assert marked(f'{imported}\n@{spelled}("y")\ndef f():\n    y = 1') == ["f"]


@pytest.mark.parametrize(
    ("imported", "spelled"),
    [
        ("from other import capture", "capture"),
        ("import other as astcapture", "astcapture.capture"),
        ("from .astcapture import capture", "capture"),
        ("from astcapture import capture\nfrom other import capture", "capture"),
        ("from astcapture import capture\ncapture = print", "capture"),
        ("from astcapture import capture\ncapture: object = print", "capture"),
        ("from astcapture import capture\n(a, [capture]) = 1, [2]", "capture"),
        ("from astcapture import capture\ndef capture(x): return print", "capture"),
        ("from astcapture import capture\nclass capture: pass", "capture"),
        ("import astcapture as ac\nimport other as ac", "ac.capture"),
        ("import astcapture", "capture"),
        ("import astcapture", "astcapture.cache"),
        ("from astcapture import cache as capture", "capture"),
        ("", "capture"),
        ("", "self.capture"),
        ("from astcapture import capture", "capture.capture"),
        ("from astcapture import capture", "registry['capture']"),
    ],
)
def test_what_only_looks_like_the_marker_is_left_alone(imported, spelled):
    assert marked(f'{imported}\n@{spelled}("y")\ndef f():\n    y = 1') == []


def test_a_marker_imported_in_a_function_or_class_is_known_there_and_not_outside():
    assert marked(
        """
        def outer():
            from astcapture import capture
            @capture("y")
            def inner(): y = 1
            class C:
                @capture("y")
                def method(self): y = 1
        class D:
            from astcapture import capture
            @capture("y")
            def method(self):
                @capture("y")
                def not_seen_from_here(): y = 1
        @capture("y")
        def outside(): y = 1
        """
    ) == ["outer.<locals>.inner", "outer.<locals>.C.method", "D.method"]


def test_a_name_of_an_inner_scope_hides_the_marker():
    assert marked(
        """
        from astcapture import capture
        def parameter(capture):
            @capture("y")
            def inner(): y = 1
        def assigned():
            capture = print
            @capture("y")
            def inner(): y = 1
        class C:
            def capture(x): return print
            @capture("y")
            def method(self): y = 1
        @capture("y")
        def f(): y = 1
        """
    ) == ["f"]


def test_a_function_marked_twice_captures_both():
    source = "from astcapture import capture\n@capture('y')\n@capture('x', 'y', z='x')\ndef f(x):\n    y = x"
    assert sorted(planned(source)[0].partition(": ")[2].split(", ")) == ["x", "y", "z"]


def test_targets_name_functions_by_their_qualname_and_by_wildcard():
    source = """
    class A:
        def forward(self): attn = 1
        def backward(self): attn = 1
    class B(A):
        def forward(self): other = 1
    def outer():
        def inner(): attn = 1
    """
    assert planned(source, "m:A.forward=attn") == ["A.forward: attn"]
    assert planned(source, "m:*.forward=attn") == ["A.forward: attn"]
    assert plan(source, "m:*.forward=attn").skipped == [("B.forward", "attn")]
    assert planned(source, "m:outer.<locals>.inner=attn") == ["outer.<locals>.inner: attn"]
    assert planned(source, "other:A.forward=attn") == []
    assert planned(source, "*:A.forward=attn;m:A.forward=self,attn") == ["A.forward: attn, self"]


def test_overloads_are_skipped():
    source = """
    import typing as t
    @t.overload
    def f(x: int): ...
    @t.overload
    def f(x: str): ...
    def f(x): y = x
    """
    assert [one.function.node.lineno for one in plan(source, "m:f=x").functions] == [7]


def test_of_definitions_with_one_qualname_those_that_bind_the_name_are_rewritten():
    source = """
    class C:
        @property
        def f(self): return 1
        @f.setter
        def f(self, value): y = value
    """
    assert [one.function.node.lineno for one in plan(source, "m:C.f=y").functions] == [6]


MARKED = "from astcapture import capture\n"
WRONG = {
    "a name that is never bound": (
        "def forward(self, x):\n    attention = x\n    return attention.mean()",
        "m:forward=attentoin",
        "m.py:1: 'attentoin' is never bound in forward (line 1): did you mean attention?",
    ),
    "a name like no other": (
        "def f(x): return x",
        "m:f=quite_other",
        "m.py:1: 'quite_other' is never bound in f (line 1)",
    ),
    "a marker's name that is never bound": (
        MARKED + "@capture('attn')\ndef f(q):\n    atn = q",
        "m",
        "m.py:2: 'attn' is never bound in f (line 3): did you mean atn?",
    ),
    "a comprehension's name": (
        "def f(heads):\n    return [head * 2 for head in heads]",
        "m:f=head",
        "m.py:1: 'head' is bound only inside a comprehension in f (line 1): capture the result of the comprehension",
    ),
    "a global name": (
        "count = 0\ndef f():\n    global count\n    count += 1",
        "m:f=count",
        "m.py:2: 'count' is a global in f (line 2), not a local: read it from the module instead",
    ),
    "a global that is only read": (
        "scale = 2\ndef f(x):\n    return x * scale",
        "m:f=scale",
        "m.py:2: 'scale' is never bound in f (line 2)",
    ),
    "a local of an enclosing function": (
        "def outer():\n    scale = 2\n    def f(x):\n        return x",
        "m:outer.<locals>.f=scale",
        (
            "m.py:3: 'scale', a local of an enclosing function that outer.<locals>.f (line 3) does not use: "
            "capturing it would change the function's closure, so capture it in the enclosing function"
        ),
    ),
    "an expression over a local of an enclosing function": (
        "def outer():\n    scale = 2\n    def f(x):\n        return x",
        "m:outer.<locals>.f=x * scale",
        (
            "m.py:3: 'x * scale' reads 'scale', a local of an enclosing function that outer.<locals>.f (line 3) does "
            "not use: capturing it would change the function's closure, so capture it in the enclosing function"
        ),
    ),
    "a variable as the marker's argument": (
        MARKED + "NAME = 'y'\n@capture(NAME)\ndef f():\n    y = 1",
        "m",
        (
            "m.py:3: NAME in capture(NAME) is not a literal: the marker is read from the source without running it, "
            'so write the name itself, @capture("attn")'
        ),
    ),
    "an f-string as the marker's argument": (
        MARKED + "@capture(f'y')\ndef f():\n    y = 1",
        "m",
        (
            "m.py:2: f'y' in capture(f'y') is not a literal: the marker is read from the source without running it, "
            'so write the name itself, @capture("attn")'
        ),
    ),
    "a number as the marker's argument": (
        MARKED + "@capture(1)\ndef f():\n    y = 1",
        "m",
        (
            "m.py:2: 1 in capture(1) is not a literal: the marker is read from the source without running it, "
            'so write the name itself, @capture("attn")'
        ),
    ),
    "keywords that are unpacked": (
        MARKED + "@capture(**labels)\ndef f():\n    y = 1",
        "m",
        "m.py:2: capture(**labels): write each label as a keyword instead of **",
    ),
    "a point that there is none of": (
        MARKED + "@capture('y', at='exit')\ndef f():\n    y = 1",
        "m",
        "m.py:2: capture('y', at='exit'): at='exit' is not one of return, assign, sdpa, call, input, enter, yield",
    ),
    "an expression that is none": (
        MARKED + "@capture('y +')\ndef f():\n    y = 1",
        "m",
        "m.py:2: 'y +' is not a Python expression (invalid syntax)",
    ),
    "an expression that would bind": (
        MARKED + "@capture('(y := 2)')\ndef f():\n    y = 1",
        "m",
        "m.py:2: '(y := 2)' uses :=, which would change the function: name a value instead",
    ),
    "an expression that would yield": (
        MARKED + "@capture('(yield y)')\ndef f():\n    y = 1",
        "m",
        "m.py:2: '(yield y)' uses yield, which would change the function: name a value instead",
    ),
    "no such function": (
        "class Attention:\n    def forward(self): attn = 1",
        "m:Atention.forward=attn",
        "m.py: target 'm:Atention.forward=attn' matches no function in m: did you mean Attention.forward?",
    ),
    "a function named without its class": (
        "class Attention:\n    def forward(self): attn = 1",
        "m:forward=attn",
        "m.py: target 'm:forward=attn' matches no function in m: did you mean Attention.forward?",
    ),
    "a lambda": ("f = lambda x: x", "m:f=x", "m.py: target 'm:f=x' matches no function in m: it defines no functions"),
    "a method that dataclass makes": (
        "import dataclasses\n@dataclasses.dataclass\nclass C:\n    x: int\n    def f(self): pass",
        "m:C.__init__=x",
        "m.py: target 'm:C.__init__=x' matches no function in m",
    ),
    "a name that one def of a qualname binds and a name that none does": (
        "if x:\n    def f(): z = 1\nelse:\n    def f(): y = 1",
        "m:f=y,nope",
        "m.py:2: 'nope' is never bound in f (line 2)",
    ),
    "a target behind a wildcard that finds it": (
        "def f(): x = 1\ndef g(): x = 1",
        ["m:f=x", "m:*=x", "m:*=y"],
        "m.py: target 'm:*=y': none of the 2 functions it matches binds 'y'",
    ),
    "of two names in a wildcard one that none binds": (
        "def f(): x = 1\ndef g(): x = 1",
        "m:*=x,y",
        "m.py: target 'm:*=x,y': none of the 2 functions it matches binds 'y'",
    ),
    "no call of attention": (
        "def f(q): return q @ q",
        "m:f=query@sdpa",
        (
            "m.py:1: query@sdpa: f (line 1) does not call scaled_dot_product_attention or another fused attention, "
            "under its name or an alias"
        ),
    ),
    "no call of attention in any": (
        "def f(q): return q @ q\ndef g(q): return q",
        "m:*=query@sdpa",
        (
            "m.py: target 'm:*=query@sdpa': none of the 2 functions it matches calls scaled_dot_product_attention or "
            "another fused attention"
        ),
    ),
    "several names are near": (
        "def f(): attn1 = attn2 = attn3 = attn4 = other = 1",
        "m:f=attn",
        "m.py:1: 'attn' is never bound in f (line 1): did you mean attn4 or attn3 or attn2?",
    ),
    "methods of that name": (
        "class Unlike:\n    class AsCanBe:\n        def forward(self): x = 1\nclass Other:\n    def run(self): x = 1",
        "m:Model.forward=x",
        "m.py: target 'm:Model.forward=x' matches no function in m: did you mean Unlike.AsCanBe.forward?",
    ),
    "a function of that name": (
        "def run(): x = 1\nclass Unlike:\n    def forward(self): x = 1",
        "m:Model.run=x",
        "m.py: target 'm:Model.run=x' matches no function in m: did you mean run?",
    ),
    "a variable as a keyword of the marker": (
        MARKED + "@capture(y=NAME)\ndef f():\n    y = 1",
        "m",
        (
            "m.py:2: NAME in capture(y=NAME) is not a literal: the marker is read from the source without running it, "
            'so write the name itself, @capture("attn")'
        ),
    ),
    "a parameter that is never bound again": (
        "x = 1\ndef f(y): pass",
        "m:f=y@assign",
        (
            "m.py:2: 'y' is a parameter of f (line 2) and is never bound in its body: @assign records bindings, so "
            "capture y@enter, or y at the return"
        ),
    ),
    "two markers of one name on defs of one qualname, one of which binds it": (
        MARKED + "import astcapture\nif x:\n    @capture('y')\n    def f(): y = 1\n"
        "else:\n    @astcapture.capture('y')\n    def f(): z = 1",
        "m",
        "m.py:7: 'y' is never bound in f (line 8)",
    ),
    "a wildcard that finds the name nowhere": (
        "def f(): x = 1\ndef g(): x = 1",
        "m:*=y",
        "m.py: target 'm:*=y': none of the 2 functions it matches binds 'y'",
    ),
}


@pytest.mark.parametrize(("source", "targets", "message"), WRONG.values(), ids=WRONG)
def test_a_mistake_is_an_error_that_says_where_and_what_to_write(source, targets, message):
    with pytest.raises(CaptureError) as error:
        plan(source, targets)
    assert str(error.value) == message


def captures(source: str, targets: object) -> list[tuple[str, str, str]]:
    return [(one.label, one.expression, one.at) for one in plan(source, targets).functions[0].captures]


def test_markers_come_before_targets_the_nearest_to_the_def_first():
    source = MARKED + "@capture('a')\n@capture(b=' b ', c='d + 1', at='return')\ndef f(): a = b = d = e = 1"
    assert captures(source, ["m", "m:f=e"]) == [
        ("b", "b", "return"),
        ("c", "d + 1", "return"),
        ("a", "a", "return"),
        ("e", "e", "return"),
    ]


def test_a_marker_says_where_its_names_are_taken():
    assert captures(MARKED + "@capture('a', at='assign')\ndef f(): a = 1", "m") == [("a", "a", "assign")]


def test_every_local_is_every_name_that_is_bound_there():
    source = "def f(a, b):\n    c = 1\n    b = 2"
    assert captures(source, "m:f=*") == [(name, name, "return") for name in "abc"]
    assert captures(source, "m:f=*@assign") == [(name, name, "assign") for name in "bc"]


def test_a_stub_for_the_type_checker_is_no_function():
    source = (
        "@overload\ndef f(x): y = 1\n@typing.overload\ndef f(x): y = 1\n@a.b.overload\ndef f(x): y = 1\ndef f(x): y = 2"
    )
    assert [one.is_overload for one in find_functions(ast.parse(source))] == [True, True, True, False]
    assert planned(source, "m:f=y") == ["f: y"]


def test_functions_in_every_block_are_found():
    source = """
    if x:
        def a(): pass
    else:
        def b(): pass
    try:
        def c(): pass
    except OSError:
        def d(): pass
    else:
        def e(): pass
    finally:
        def f(): pass
    for x in y:
        def g(): pass
    with x:
        def h(): pass
    match x:
        case 1:
            def i(): pass
    """
    assert "".join(one.qualname for one in find_functions(ast.parse(dedent(source)))) == "abcdefghi"


def test_private_names_are_those_of_the_class_around_also_in_functions_in_methods():
    source = (
        "class C:\n    def f(self):\n        def g():\n            __x = 1\n            return 0\n        return g()"
    )
    assert both(source, "C().f()", "m:C.f.<locals>.g=__x").captured == [("__x", 1)]
    (_, inner) = find_functions(ast.parse(source))
    assert inner.private == "C"


def test_a_mistake_has_the_line_that_it_is_in():
    with pytest.raises(CaptureError) as error:
        plan("x = 1\ndef f(): y = 1", "m:f=z")
    assert error.value.lineno == 2


def test_what_the_recorder_is_told_of_a_module():
    source = "def f():\n    x = scaled_dot_product_attention()\ndef g(): x = 1\ndef h(): y = 1"
    functions = (("f", 1, ("x",)), ("g", 3, ("x",)))
    assert plan(source, "*:g=x").declaration() == ("m", (("g", 3, ("x",)),), ())
    assert plan(source, "*:*=x").declaration() == ("m", functions, (("h", "x"),), ("f",))
    assert plan(source, "*:g=x@assign").declaration() == ("m", (("g", 3, ("x",)),), (), (), ("g",))
    assert plan(source, "m:f=query@sdpa").declaration() == ("m", (("f", 1, ("query",)),), (), (), ("f",))


def test_what_a_wildcard_over_modules_finds_nowhere_is_no_error():
    assert not plan("def f(): x = 1", "*:f=y")
    assert not plan("def f(): x = 1", "*:g=y")
    assert plan("def f(): x = 1", "*:f=y").skipped == [("f", "y")]


# The body of a function `f` in a function that binds `y`, and whether f has that `y` in its closure.
SCOPES = {
    "a nested function's own name": ("def g():\n    y = 2\n    return y\nreturn g()", False),
    "a nested function's use": ("def g():\n    return y\nreturn g()", True),
    "a nested function's default": ("def g(x=y): return x\nreturn g()", True),
    "a nested function's annotation": ("def g(x: y): return x\nreturn g('x')", True),
    "a lambda's parameter": ("return (lambda y: y)(2)", False),
    "a lambda's use": ("return (lambda: y)()", True),
    "a comprehension's variable": ("return [y for y in 'ab']", False),
    "a comprehension's use": ("return [y for x in 'ab']", True),
    "a comprehension's first iterable": ("return [y for y in y]", True),
    "a class's own use of what it binds": ("class C:\n    y = 2\n    z = y\nreturn C.z", False),
    "a method's use of what its class binds too": (
        "class C:\n    y = 2\n    def g(self): return y\nreturn C().g()",
        True,
    ),
    "a global that hides it": ("global y\ndef g(): return y\nreturn str()", False),
}


@pytest.mark.parametrize(("body", "taken"), SCOPES.values(), ids=SCOPES)
def test_closure_variables_are_those_of_pythons_own_symbol_table(body, taken):
    source = f"def outer():\n    y = 'ab'\n    def f():\n{indent(body, ' ' * 8)}\n    return f()"
    function = function_code(function_code(plain_code(source, "m.py"), "outer"), "f")
    assert function.co_freevars == (("y",) if taken else ())
    if taken:
        assert captured(source, "outer()", "m:outer.<locals>.f=y") == ["ab"]
    else:
        with pytest.raises(CaptureError):
            plan(source, "m:outer.<locals>.f=y")


@pytest.mark.skipif(sys.version_info < (3, 12), reason="syntax of Python 3.12")
def test_a_generic_function_and_class_have_plain_qualnames():
    assert [
        one.qualname for one in find_functions(ast.parse("class C[T]:\n    def f[U](self):\n        def g(): pass"))
    ] == [
        "C.f",
        "C.f.<locals>.g",
    ]


def test_the_marker_itself_changes_nothing_when_rewritten_code_runs_it():
    seen = both(MARKED + "def f(): y = 1\nassert capture('y')(f) is f\n@capture('y')\ndef g(): y = 2", "g()", "m")
    assert seen.captured == [("y", 2)]
