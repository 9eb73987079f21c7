"""What the rewriter makes of each shape of exit: source in, source out."""

from __future__ import annotations

import doctest
import importlib
import sys
from textwrap import dedent

import pytest
from plain_and_rewritten import rewritten_tree, shown

from astcapture.rewrite.render import render

needs_312 = pytest.mark.skipif(sys.version_info < (3, 12), reason="syntax of Python 3.12")


def rewritten(source: str, targets: str, expected: str) -> None:
    assert shown(source, targets).replace(" \n", "\n") == dedent(expected).lstrip("\n")


def test_a_name_that_is_bound_is_read_after_the_returned_expression():
    rewritten(
        """
        def f(x):
            y = x + 1
            return y * 2
        """,
        "m:f=y",
        """
        def f(x):
            y = x + 1
            return _@record(y * 2, ('m', 'f', 'y', 3), y)
        """,
    )


def test_several_captures_are_taken_in_the_order_asked_for():
    rewritten(
        """
        def f(x):
            y = x + 1
            return g(y)
        """,
        "m:f=y,x",
        """
        def f(x):
            y = x + 1
            return _@record(_@record(g(y), ('m', 'f', 'y', 3), y), ('m', 'f', 'x',
                3), x)
        """,
    )


def test_a_name_that_may_be_unbound_is_looked_up():
    rewritten(
        """
        def f(x):
            if x:
                y = 1
            return g(x)
        """,
        "m:f=y",
        """
        def f(x):
            if x:
                y = 1
            return _@look(g(x), ('m', 'f', 'y', 4), 'y', _@locals())
        """,
    )


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="locals() is a copy")
def test_up_to_312_a_function_that_shows_its_locals_is_not_asked_for_them():
    rewritten(
        """
        def f(x):
            if x:
                y = 1
            return locals()
        """,
        "m:f=y",
        """
        def f(x):
            if x:
                y = 1
            _@hold(locals())
            try:
                y
            except:
                _@missed(('m', 'f', 'y', 4))
            else:
                _@record(None, ('m', 'f', 'y', 4), y)
            return _@release()
        """,
    )


SHOWN = ["locals()", "vars()", "print(vars)", "eval('x')", "exec('x')", "builtins.locals()", "inspect.stack()",
         "stack()", "sys._getframe()", "inspect.currentframe().f_locals", "x.f_back", "[locals()]"]  # fmt: skip
NOT_SHOWN = ["vars(x)", "x.eval()", "x.stack", "self.stack.exec", "x.vars", "localsx()", "'locals()'"]


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="locals() is a copy")
@pytest.mark.parametrize(("written", "shows"), [*((one, True) for one in SHOWN), *((one, False) for one in NOT_SHOWN)])
def test_up_to_312_a_function_shows_its_locals_where_it_asks_for_them_or_for_its_frame(written, shows):
    text = shown(f"def f(x):\n    {written}\n    if x:\n        y = 1\n    return x", "m:f=y")
    assert ("try:" in text) == shows
    assert ("_@look" in text) != shows


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="locals() is a copy")
@pytest.mark.parametrize("name", ["vars", "stack", "locals"])
def test_up_to_312_a_local_that_is_called_as_a_built_in_shows_nothing(name):
    assert "_@look" in shown(f"def f(x):\n    {name} = [x]\n    if x:\n        y = 1\n    return {name}", "m:f=y")
    assert "_@look" in shown(f"def f({name}):\n    if {name}:\n        y = 1\n    return {name}()", "m:f=y")


@pytest.mark.skipif(sys.version_info < (3, 13), reason="locals() is one dict of the frame")
def test_from_313_a_function_that_shows_its_locals_is_as_any_other():
    assert "_@look(locals(), ('m', 'f', 'y', 3), 'y', _@locals())" in shown(
        """
        def f(x):
            if x: y = 1
            return locals()
        """,
        "m:f=y",
    )


def test_an_expression_is_handed_over_as_text():
    rewritten(
        """
        def f(self, x):
            return g(x)
        """,
        "m:f=scale:=self.scale * x",
        """
        def f(self, x):
            return _@evaluate(g(x), ('m', 'f', 'scale', 2),
                'lambda self, x: self.scale * x', (self, x), self)
        """,
    )


def test_an_expression_that_is_about_its_function_is_computed_there_while_the_result_waits():
    rewritten(
        """
        class C(B):
            def f(self, x):
                return g(x)
        """,
        "m:C.f=scale:=super().scale * x",
        """
        class C(B):

            def f(self, x):
                _@hold(g(x))
                try:
                    _@allow(('m', 'C.f', 'scale', 3), self)
                    _@record(None, ('m', 'C.f', 'scale', 3), super().scale * x, self)
                except:
                    _@failed(('m', 'C.f', 'scale', 3), self)
                return _@release()
        """,
    )


def test_an_expression_with_a_scope_of_its_own_is_handed_over_as_text():
    rewritten(
        """
        class C:
            def f(self, heads, __scale):
                if heads:
                    late = 1
                return g(heads)
        """,
        "m:C.f=shapes:=[h * __scale for h in heads],late:=[late for _ in self.__x]",
        """
        class C:

            def f(self, heads, __scale):
                if heads:
                    late = 1
                return _@evaluate(_@evaluate(g(heads), ('m', 'C.f', 'shapes', 5),
                    'lambda heads, _C__scale: [h * _C__scale for h in heads]', (
                    heads, __scale), self), ('m', 'C.f', 'late', 5),
                    'lambda self, late: [late for _ in self._C__x]', _@locals(), self)
        """,
    )


@pytest.mark.parametrize("leave", ["return", "return None", "return 'text'", "return x", "return (1, x)"])
def test_a_return_that_computes_nothing_has_the_recording_before_it(leave):
    rewritten(
        f"""
        def f(x):
            {leave}
        """,
        "m:f=x",
        f"""
        def f(x):
            _@record(None, ('m', 'f', 'x', 2), x)
            {leave.replace("(1, x)", "1, x")}
        """,
    )


def test_a_returned_name_that_may_be_unbound_is_evaluated_first():
    assert "return _@record(y, ('m', 'f', 'x', 3), x)" in shown(
        """
        def f(x):
            if x: y = 1
            return y
        """,
        "m:f=x",
    )


def test_the_end_of_the_body_records_each_capture():
    rewritten(
        """
        def f(x):
            if x:
                y = 1
        """,
        "m:f=x,y,z:=x.z",
        """
        def f(x):
            if x:
                y = 1
            _@record(None, ('m', 'f', 'x', 3), x)
            _@look(None, ('m', 'f', 'y', 3), 'y', _@locals())
            _@evaluate(None, ('m', 'f', 'z', 3), 'lambda x: x.z', (x,))
        """,
    )


def test_an_end_that_is_not_reached_records_nothing():
    assert (
        shown(
            """
            def f(x):
                while True:
                    x()
            """,
            "m:f=x",
        ).count("_@")
        == 0
    )


def test_every_return_inside_blocks_is_found():
    text = shown(
        """
        def f(x):
            if x: return 1 + x
            for i in x:
                return 2 + x
            else:
                if x: return 3 + x
            while y:
                return 4 + x
            with x:
                return 5 + x
            try:
                if x: return 6 + x
            except E:
                return 7 + x
            else:
                return 8 + x
            finally:
                return 9 + x
        """,
        "m:f=x",
    )
    for number in range(1, 10):
        assert f"return _@record({number} + x" in text


def test_nested_functions_are_left_alone_and_captured_on_their_own():
    rewritten(
        """
        def f(x):
            def g(y):
                return y + x
            return g(x)
        """,
        "m:f.<locals>.g=y,x",
        """
        def f(x):

            def g(y):
                return _@look(_@record(y + x, ('m', 'f.<locals>.g', 'y', 3), y), (
                    'm', 'f.<locals>.g', 'x', 3), 'x', _@locals())
            return g(x)
        """,
    )


def test_a_private_name_is_kept_as_the_source_spells_it_for_python_to_mangle():
    rewritten(
        """
        class C:
            def f(self, x):
                if x:
                    __late = 1
                __y = x
                return g(x)
        """,
        "m:C.f=__y,__late",
        """
        class C:

            def f(self, x):
                if x:
                    __late = 1
                __y = x
                return _@look(_@record(g(x), ('m', 'C.f', '__y', 6), __y, self), (
                    'm', 'C.f', '__late', 6), '_C__late', _@locals(), self)
        """,
    )


@pytest.mark.parametrize(
    ("parameters", "owner"),
    [
        ("self", "self"),
        ("module, q", "module"),
        ("self, attn", "self"),
        ("x, self", "self"),
        ("*self", None),
        ("", None),
    ],
)
def test_the_recorder_is_told_what_a_function_is_called_on(parameters, owner):
    told = f", {owner})" if owner else ")"
    assert f"_@record(None, ('m', 'f', 'y', 3), y{told}\n" in shown(
        f"def f({parameters}):\n    y = 1\n    return", "m:f=y"
    )


def test_an_attention_processor_is_called_on_the_module_that_it_is_given():
    source = "class C:\n    def __call__(self, attn):\n        y = attn.scale\n        return"
    assert "'C.__call__', 'y', 4), y, self, (attn,))" in shown(source, "m:C.__call__=y")


@pytest.mark.parametrize(
    "rebound",
    ["self = 1", "del self", "for self in (): pass", "def g():\n        nonlocal self\n        self = 1"],
)
def test_a_parameter_that_is_bound_anew_is_not_taken_for_what_the_function_is_called_on(rebound):
    assert "), y)" in shown(f"def f(self):\n    y = 1\n    {rebound}\n    return y", "m:f=y")


def test_a_scope_of_its_own_does_not_get_the_owner_into_its_closure():
    source = "def f(self, q):\n    return [y := {0}(q) for _ in q], lambda: {0}(q)".format(
        "scaled_dot_product_attention"
    )
    text = shown(source, "m:f=y@assign,weights@sdpa")
    assert text.count("_@attend(") == 2
    assert text.count("self") == 1  # the parameter


def test_the_imports_stand_after_the_docstring_and_the_future_imports():
    future = "from __future__ import annotations\nfrom __future__ import division\n"
    source = f'"""Doc."""\n{future}import os\ndef f(x): return x()\n'
    tree = rewritten_tree(source, "m.py", "m:f=x")
    assert [render(node).strip().partition(" import ")[0] for node in tree.body[:6]] == [
        '"""Doc."""',
        "from __future__",
        "from __future__",
        "from astcapture.record.recorder",
        "_@declare('m', (('f', 5, ('x',)),), ())",
        "import os",
    ]


def test_a_marker_asks_by_itself():
    rewritten(
        """
        from astcapture import capture
        @capture("y", double="y * 2")
        def f(x):
            y = x
            return x()
        """,
        "m",
        """
        from astcapture import capture


        @capture('y', double='y * 2')
        def f(x):
            y = x
            return _@evaluate(_@record(x(), ('m', 'f', 'y', 5), y, x), ('m', 'f',
                'double', 5), 'lambda y: y * 2', (y,), x)
        """,
    )


def test_what_astor_does_not_know_is_printed_all_the_same():
    assert "case [a, *b]:\n            _@record(None, ('m', 'f', 'a', 4), a)" in shown(
        """
        def f(x):
            match x:
                case [a, *b]:
                    return a
        """,
        "m:f=a",
    ) or "return _@look(a, ('m', 'f', 'a', 4)" in shown(
        """
        def f(x):
            match x:
                case [a, *b]:
                    return a
        """,
        "m:f=a",
    )


@needs_312
def test_type_parameters_and_aliases_are_printed_all_the_same():
    text = shown(
        """
        type Pair[T] = tuple[T, T]
        def f[T](x: Pair[T]) -> T:
            y = x[0]
            return y.real
        """,
        "m:f=y",
    )
    assert text == dedent("""\
        type Pair[T] = tuple[T, T]

        def f[T](x: Pair[T]) -> T:
            y = x[0]
            return _@record(y.real, ('m', 'f', 'y', 4), y)
        """)


@pytest.mark.parametrize("name", ["find", "flow", "plan", "render", "scope", "transform"])
def test_the_examples_in_the_docstrings_of_the_rewriter_hold(name):
    assert doctest.testmod(importlib.import_module(f"astcapture.rewrite.{name}")).failed == 0


@pytest.mark.parametrize("name", ["capture", "environment", "marker", "target"])
def test_the_examples_in_the_docstrings_of_targets_hold(name):
    assert doctest.testmod(importlib.import_module(f"astcapture.targets.{name}")).failed == 0
