"""What is asked for from outside the source: how it is read, and what is said where it is wrong."""

from __future__ import annotations

import os

import pytest

from astcapture import CaptureError
from astcapture.targets.capture import Capture, check_capture, parse_captures
from astcapture.targets.target import Target, parse_target, parse_targets

READ = [
    ("mymodel", "mymodel", None, []),
    (" mymodel ", "mymodel", None, []),
    ("pkg.*.mod_[ab]?", "pkg.*.mod_[ab]?", None, []),
    ("m:f", "m", "f", []),
    ("m:C.f=attn", "m", "C.f", [("attn", "attn", "return")]),
    ("m: f = attn", "m", "f", [("attn", "attn", "return")]),
    ("m:outer.<locals>.inner=x", "m", "outer.<locals>.inner", [("x", "x", "return")]),
    ("m:*.forward=q, k,v", "m", "*.forward", [(name, name, "return") for name in "qkv"]),
    ("m:f=attn@assign", "m", "f", [("attn", "attn", "assign")]),
    ("m:f=attn @ assign", "m", "f", [("attn", "attn", "assign")]),
    ("m:f=weights@sdpa,attn@return", "m", "f", [("weights", "weights", "sdpa"), ("attn", "attn", "return")]),
    ("m:f=*", "m", "f", [("*", "*", "return")]),
    ("m:f=*@assign", "m", "f", [("*", "*", "assign")]),
    ("m:f=scale:=self.scale", "m", "f", [("scale", "self.scale", "return")]),
    ("m:f=w := (q @ k.mT).softmax(-1) ", "m", "f", [("w", "(q @ k.mT).softmax(-1)", "return")]),
    ("m:f=a:=g(x, y),b:=d['k,l'],c", "m", "f",
     [("a", "g(x, y)", "return"), ("b", "d['k,l']", "return"), ("c", "c", "return")]),
    ("m:f=q @ k", "m", "f", [("q @ k", "q @ k", "return")]),
    ("m:f=x[1:2],a == b", "m", "f", [("x[1:2]", "x[1:2]", "return"), ("a == b", "a == b", "return")]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "module", "qualname", "captures"), READ)
def test_a_target_is_read(text, module, qualname, captures):
    target = parse_target(text)
    assert (target.module, target.qualname) == (module, qualname)
    assert [(one.label, one.expression, one.at) for one in target.captures] == captures
    assert str(target) == target.text == text.strip()


CHANGE = ", which would change the function: name a value instead"
#: A target, the place that its caret points at, and what is said.
WRONG = [
    ("", "^", "the target is empty: write the name of a module"),
    (":f", "^", "no module before ':'"),
    ("vit.Attention=attn", "", "names belong to a function: write vit:Attention=attn"),
    ("vit=attn", "   ^", "names belong to a function: write vit:FUNCTION=attn"),
    ("vit.layers.Attention.forward=attn", "", "names belong to a function: write vit.layers:Attention.forward=attn"),
    ("Attention.forward=attn", "", "names belong to a function: write MODULE:Attention.forward=attn"),
    ("vit.layers.attend=attn", "", "names belong to a function: write vit.layers:attend=attn"),
    ("./src/vit.py", "^", "a target is a module name, not a file: write src.vit"),
    ("vit.py", "^", "a target is a module name, not a file: write vit"),
    ("vit..attn", "    ^", "there is an empty name next to a dot in 'vit..attn'"),
    (".vit", "^", "there is an empty name next to a dot in '.vit'"),
    ("vit.", "    ^", "there is an empty name next to a dot in 'vit.'"),
    ("vit. attn", "    ^", "' attn' is not a module name"),
    ("vit attn", "^", "'vit attn' is not a module name"),
    ("m:", "  ^", "no function after ':': write MODULE:Class.method=name"),
    ("m:=a", "  ^", "no function after ':': write MODULE:Class.method=name"),
    ("m:f g", "  ^", "'f g' is not a qualname: write MODULE:Class.method=name"),
    ("m:C..f=a", "  ^", "'C..f' is not a qualname: write MODULE:Class.method=name"),
    ("m:f.<local>.g", "  ^", "'f.<local>.g' is not a qualname: write MODULE:Class.method=name"),
    ("m:a:b", "  ^", "'a:b' is not a qualname: write MODULE:Class.method=name"),
    ("m:f=", "    ^", "no name after '=': write MODULE:QUALNAME=name,name"),
    ("m:f=a,,b", "      ^", "there is nothing between two commas"),
    ("m:f=a,", "      ^", "there is nothing between two commas"),
    ("m:f=,a", "    ^", "there is nothing between two commas"),
    ("m:f=a,  b c", "        ^", "'b c' is not a Python expression (invalid syntax)"),
    ("m:f==a", "    ^", "'=a' is not a Python expression (invalid syntax)"),
    ("m:f=a,(b", "      ^", "'(b' is not a Python expression ('(' was never closed)"),
    ("m:f=a,class", "      ^", "'class' is not a Python expression (invalid syntax)"),
    ("m:f=a,x:=", "      ^", "there is no expression after x:="),
    ("m:f=a,1x:=y", "      ^", "'1x' is not a label: write LABEL:=EXPRESSION"),
    ("m:f=a,a.b:=y", "      ^", "'a.b' is not a label: write LABEL:=EXPRESSION"),
    ("m:f=a,x:=*", "      ^", "'*' means every local, under its own name: remove x:="),
    ("m:f=(y:=3)", "    ^", "'(y:=3)' uses :=" + CHANGE),
    ("m:f=a,await b", "      ^", "'await b' uses await" + CHANGE),
    ("m:f=(yield)", "    ^", "'(yield)' uses yield" + CHANGE),
    ("m:f=(yield from a)", "    ^", "'(yield from a)' uses yield" + CHANGE),
    ("m:f=b,attn@asign", "      ^", "'attn@asign': did you mean attn@assign?"),
    ("m:f=b,*@retrun", "      ^", "'*@retrun': did you mean *@return?"),
    ("m:f=a,q.k@assign", "      ^", "'q.k': @assign takes a plain name; expressions are evaluated at a return"),
    ("@torch-mah", "^", "there is no recipe @torch-mah: did you mean @torch-mha"),
    ("@torch-mha=w", "          ^", "a recipe already names what it captures: write @torch-mha"),
]


@pytest.mark.parametrize(("text", "caret", "said"), WRONG)
def test_a_wrong_target_is_quoted_with_a_caret_under_the_place(text, caret, said):
    with pytest.raises(CaptureError) as error:
        parse_targets([text])
    if not caret:
        caret = " " * text.index("=") + "^"
    assert str(error.value) == f"target {text!r}: {said}\n    {text}\n    {caret}"


NOT_TARGETS = [
    (5, 'targets are strings, not 5: write install(["mymodel"])'),
    (os, f'targets are strings, not {os!r}: write install(["mymodel"])'),
    (b"mymodel", "targets are strings, not b'mymodel': write install([\"mymodel\"])"),
    ([os], f'a target is a string, not {os!r}: write install(["mymodel"])'),
    ([5], 'a target is a string, not 5: write install(["mymodel"])'),
    ({"m:f": 5}, "target 'm:f': captures are a list of strings, not 5: write [\"attn\"]"),
    ({"m:f": [5]}, "target 'm:f': captures are a list of strings, not [5]: write [\"attn\"]"),
]


@pytest.mark.parametrize(("given", "said"), NOT_TARGETS)
def test_what_is_no_target_at_all_is_an_error_that_says_what_to_write(given, said):
    with pytest.raises(CaptureError) as error:
        parse_targets(given)
    assert str(error.value) == said


def test_targets_come_as_a_string_a_list_or_a_mapping():
    listed = parse_targets(["a", "b:f=x,y"])
    assert parse_targets("a; b:f=x,y") == parse_targets("a\nb:f=x,y\n;") == listed
    assert parse_targets({"b:f": ["x", "y"], "a": []}) == listed[::-1]
    assert parse_targets({"b:f": "x,y"})[0] == listed[1]
    assert parse_targets(text for text in ("a", "b:f=x,y")) == listed
    assert parse_targets("") == parse_targets([]) == ()


def test_an_error_in_a_mapping_quotes_it_as_a_target():
    with pytest.raises(CaptureError) as error:
        parse_targets({"m:f": ["ok", "1 +"]})
    assert str(error.value).splitlines()[1:] == ["    m:f=ok,1 +", "           ^"]


@pytest.mark.parametrize(
    ("target", "meant", "not_meant"),
    [
        ("pkg", ["pkg", "pkg.a", "pkg.a.b"], ["pkgutil", "pkg_a", "a.pkg", ""]),
        ("pkg.a", ["pkg.a", "pkg.a.b"], ["pkg", "pkg.ab"]),
        ("t.*.modeling_*", ["t.m.modeling_x", "t.m.modeling_x.sub"], ["t.modeling_x", "t.m.config"]),
        ("pkg:f", ["pkg"], ["pkg.a", "pkgutil"]),
        ("pkg.*:f=x", ["pkg.a", "pkg.a.b"], ["pkg"]),
        ("pkg.[ab]:f=x", ["pkg.a", "pkg.b"], ["pkg.c"]),
    ],
)
def test_which_modules_a_target_means(target, meant, not_meant):
    read = parse_target(target)
    assert [module for module in meant + not_meant if read.matches_module(module)] == meant


def test_which_functions_a_target_means_and_whether_it_names_one():
    assert parse_target("m:*.forward=x").matches_function("A.forward")
    assert not parse_target("m:*.forward=x").matches_function("forward")
    assert not parse_target("m").matches_function("forward")
    assert parse_target("m:f=x").exact
    assert not any(parse_target(text).exact for text in ("m", "m*:f=x", "m:f*=x"))


def test_targets_are_values():
    assert parse_target("m:f=x") == Target("m", "f", (Capture("x", "x"),), "m:f=x")
    assert len({parse_target("m:f=x"), parse_target("m:f=x")}) == 1


@pytest.mark.parametrize(("text", "offset"), [("a,b c", 2), ("a,  b c", 4), ("a@asign", 0), ("f(a, b), c d", 9)])
def test_the_error_of_a_list_knows_where_in_it_the_mistake_stands(text, offset):
    with pytest.raises(CaptureError) as error:
        parse_captures(text)
    assert error.value.offset == offset


def test_a_capture_with_a_null_byte_is_no_expression():
    with pytest.raises(CaptureError, match="is not a Python expression"):
        check_capture(Capture("x", "x\0"))
