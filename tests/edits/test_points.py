"""An edit at every kind of point: the program is that of the source edited by hand, bit for bit, and its traces too."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import astcapture
from astcapture import CaptureWarning, EditError

HEAD = """
import asyncio, contextlib
import torch
import torch.nn.functional as F
from torch import nn
"""
NAME = "edited_module"


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    monkeypatch.syspath_prepend(tmp_path)

    def load(source: str, name: str = NAME) -> Any:
        (tmp_path / f"{name}.py").write_text(HEAD + textwrap.dedent(source))
        importlib.invalidate_caches()
        sys.modules.pop(name, None)
        return importlib.import_module(name)

    yield load
    for name in [one for one in sys.modules if one.startswith(NAME)]:
        del sys.modules[name]


def half(value: Any) -> Any:
    return value * 0.5


# The body of ``f(x)``, the target, and the body edited by hand; HALF stands for what the edit does.
POINTS = {
    "an assignment": ("y = x + 1\nreturn y * 3", "y", "y = HALF(x + 1)\nreturn y * 3"),
    "each assignment": ("y = x\ny = y * 3\nreturn y", "y", "y = HALF(x)\ny = HALF(y * 3)\nreturn y"),
    "a chain": ("a = b = x + 1\nreturn a * b", "a", "b = x + 1\na = HALF(b)\nreturn a * b"),
    "unpacking": ("a, (b, c) = x[0], (x[1], x[2])\nreturn a * b + c", "b", "return x[0] * HALF(x[1]) + x[2]"),
    "augmented": ("y = x * 1\ny += x\nreturn y", "y", "y = HALF(x * 1)\ny = HALF(y + x)\nreturn y"),
    "annotated": ("y: torch.Tensor = x + 1\nreturn y", "y", "y = HALF(x + 1)\nreturn y"),
    "a loop": (
        "s = 0\nfor row in x:\n    s = s + row\nreturn s",
        "row",
        "s = 0\nfor row in x:\n    s = s + HALF(row)\nreturn s",
    ),
    "with": ("with contextlib.nullcontext(x) as y:\n    return y * 3", "y", "return HALF(x) * 3"),
    "a walrus": ("return (y := x + 1) * y", "y", "y = HALF(x + 1)\nreturn y * y"),
    "a walrus in a comprehension": (
        "return sum([(y := row) * 3 for row in x])",
        "y",
        "return sum([HALF(row) * 3 for row in x])",
    ),
    "a pattern": ("match [x]:\n    case [y]:\n        return y * 3", "y", "return HALF(x) * 3"),
    "a branch": (
        "if x.sum() > 0:\n    y = x\nelse:\n    y = -x\nreturn y",
        "y",
        "y = x if x.sum() > 0 else -x\nreturn HALF(y)",
    ),
    "at entry": ("x = x + 1\nreturn x * 3", "x@enter", "x = HALF(x)\nx = x + 1\nreturn x * 3"),
    "what a call returns": ("return F.relu(x) * 3", "relu@call", "return HALF(F.relu(x)) * 3"),
    "what a method returns": ("return x.softmax(-1) * 3", "softmax@call", "return HALF(x.softmax(-1)) * 3"),
    "what a call gets": (
        "return F.relu(x, inplace=False) * 3",
        "relu@input",
        "return F.relu(HALF(x), inplace=False) * 3",
    ),
    "what a method gets": ("return x.softmax(-1) * 3", "softmax@input", "return HALF(x).softmax(-1) * 3"),
    "what a keyword gives": ("return F.relu(input=x) * 3", "relu@input", "return F.relu(HALF(x)) * 3"),
    "what stars give": (
        "rows = [x, 0.3]\nreturn F.leaky_relu(*rows)",
        "leaky_relu@input",
        "return F.leaky_relu(HALF(x), 0.3)",
    ),
    "in a comprehension": (
        "return sum([F.relu(row) for row in x])",
        "relu@call",
        "return sum([HALF(F.relu(row)) for row in x])",
    ),
    "the return": (
        "if x.sum() > 0:\n    return x\nreturn x * 3",
        "@return",
        "if x.sum() > 0:\n    return HALF(x)\nreturn HALF(x * 3)",
    ),
    "the return in finally": ("try:\n    return x * 3\nfinally:\n    x = None", "@return", "return HALF(x * 3)"),
}
X = [[0.1, -0.2, 0.3], [0.4, 0.5, -0.6], [0.7, 0.8, 0.9]]


def results(f: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """What a function returns, and the gradient."""
    x = torch.tensor(X, dtype=torch.float64, requires_grad=True)
    out = f(x)
    out.square().sum().backward()
    return out.detach(), x.grad


@pytest.mark.cases(24)
@pytest.mark.parametrize("name", POINTS)
@pytest.mark.parametrize("imported", ["before", "after"])
def test_an_edit_is_the_line_written_by_hand(load, name, imported):
    body, target, by_hand = POINTS[name]
    source = "def f(x):\n" + textwrap.indent(body, "    ")
    edited_by_hand = "def HALF(v): return v * 0.5\ndef f(x):\n" + textwrap.indent(by_hand, "    ")
    expected = results(load(edited_by_hand, NAME + "_by_hand").f)
    plain = results(load(source, NAME + "_plain").f)
    if imported == "before":
        module = load(source)
        edit = astcapture.edit(f"{NAME}:f={target}", half)
    else:
        edit = astcapture.edit(f"{NAME}:f={target}", half)
        module = load(source)
    found = results(module.f)
    receipts = edit.receipts
    edit.uninstall()
    assert all(map(torch.equal, found, expected))
    assert not torch.equal(expected[0], plain[0]), "the example shows nothing"
    assert all(map(torch.equal, results(module.f), plain))
    assert receipts[None].changed
    assert receipts[None].fired >= 1


@pytest.mark.cases(6)
@pytest.mark.parametrize("name", POINTS)
def test_an_edit_that_gives_back_its_value_changes_nothing(load, name):
    body, target, _ = POINTS[name]
    source = "def f(x):\n" + textwrap.indent(body, "    ")
    plain = results(load(source, NAME + "_plain").f)
    module = load(source)
    with astcapture.edit(f"{NAME}:f={target}", lambda value: value) as edit:
        assert all(map(torch.equal, results(module.f), plain))
    assert not edit.receipts[None].changed


def test_generators_and_coroutines_are_edited(load):
    module = load(
        """
        def g(n):
            for i in range(n):
                yield i
        async def slow(x): return x * 2
        async def h(x):
            return await slow(x) + 1
        """
    )
    with astcapture.edit(f"{NAME}:g=i", lambda value: value + 10):
        assert list(module.g(2)) == [10, 11]
    with astcapture.edit(f"{NAME}:h=slow@call", lambda value: value + 10):
        assert module.asyncio.run(module.h(1)) == 13


MODEL = """
class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q = nn.Linear(4, 4)
    def forward(self, x):
        attn = (self.q(x) @ x.mT).softmax(-1)
        return attn @ x
class Model(nn.Sequential):
    def __init__(self):
        torch.manual_seed(0)
        super().__init__(Attention(), Attention(), Attention())
"""
TARGET = f"{NAME}:Attention.forward=attn"


def input_() -> torch.Tensor:
    return torch.linspace(-1, 1, 24).reshape(2, 3, 4)


def by_hand(model: Any, x: torch.Tensor, change: Callable[[int, torch.Tensor], torch.Tensor]) -> torch.Tensor:
    for layer, one in enumerate(model):
        x = change(layer, (one.q(x) @ x.mT).softmax(-1)) @ x
    return x


@pytest.mark.parametrize(
    ("layer", "layers"),
    [
        ("1", [1]),
        ("*", [0, 1, 2]),
        (2, [2]),
        ([0, 2], [0, 2]),
        (range(2), [0, 1]),
        (slice(1, None), [1, 2]),
        (["0", 1], [0, 1]),
    ],
)
def test_layers_are_chosen_by_name_and_by_number(load, layer, layers):
    model = load(MODEL).Model()
    expected = by_hand(model, input_(), lambda number, attn: attn * 0.5 if number in layers else attn)
    with astcapture.edit(TARGET, half, layer=layer) as edit:
        assert torch.equal(model(input_()), expected)
    assert list(edit.receipts) == [str(number) for number in layers]


@pytest.mark.parametrize(
    ("call", "calls"), [(0, [0]), (range(1, 3), [1, 2]), ([0, 2], [0, 2]), (slice(1, None), [1, 2])]
)
def test_executions_are_chosen_by_number(load, call, calls):
    model = load(MODEL).Model()
    plain, edited = model(input_()), by_hand(model, input_(), lambda layer, attn: attn * 0.5)
    with astcapture.edit(TARGET, half, call=call) as edit:
        for number in range(3):
            assert torch.equal(model(input_()), edited if number in calls else plain)
    assert all(receipt.fired == len(calls) for receipt in edit.receipts.values())


def test_a_change_of_two_parameters_is_told_where_it_is(load):
    model, sites = load(MODEL).Model(), []
    with astcapture.edit(TARGET, lambda value, site: sites.append(site) or value * 0.5):
        model(input_())
        model(input_())
    assert [(one.layer, one.call, one.label, one.lineno) for one in sites] == [
        (layer, call, "attn", 12) for call in range(2) for layer in "012"
    ]


def test_several_edits_apply_in_order_and_before_the_value_is_captured(load):
    model = load(MODEL).Model()
    first = astcapture.edit(TARGET, lambda attn: attn + 1)
    second = astcapture.edit(TARGET, lambda attn: attn * 2)
    with astcapture.install([TARGET]), astcapture.recording() as cache:
        model(input_())
    maps = list(cache.select(label="attn"))
    expected: list[torch.Tensor] = []
    by_hand(model, input_(), lambda layer, attn: expected.append((attn + 1) * 2) or expected[-1])
    assert all(map(torch.equal, maps, expected))
    assert "edited: edit(" in str(cache.summary())
    first.uninstall()
    assert torch.equal(model(input_()), by_hand(model, input_(), lambda layer, attn: attn * 2))
    second.uninstall()
    assert torch.equal(model(input_()), by_hand(model, input_(), lambda layer, attn: attn))


def test_a_checkpointed_forward_is_edited_both_times(load):
    from torch.utils.checkpoint import checkpoint

    model = load(MODEL).Model()
    by_hand(model, input_(), lambda layer, attn: attn * 0.5).square().sum().backward()
    expected = [parameter.grad.clone() for parameter in model.parameters()]
    for reentrant in (False, True):
        model.zero_grad()
        with astcapture.edit(TARGET, half) as edit:
            x = input_().requires_grad_()
            for one in model:
                x = checkpoint(one, x, use_reentrant=reentrant)
            x.square().sum().backward()
        for parameter, gradient in zip(model.parameters(), expected, strict=True):
            assert torch.equal(parameter.grad, gradient)
        assert edit.receipts["0"].changed


def test_a_gradient_flows_through_an_edit(load):
    model = load(MODEL).Model().double()
    scale = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    with astcapture.edit(TARGET, lambda attn: attn * scale):
        assert torch.autograd.gradcheck(lambda x, s: model(x), (input_().double().requires_grad_(), scale))
        model(input_().double()).sum().backward()
    assert scale.grad is not None


UNNOTICED = [
    ({"layer": "blocks.*"}, "changed nothing: layer='blocks.*' matches none of the layers that ran: 0, 1, 2"),
    ({"call": 5}, "changed nothing: call=5 did not come: the function ran once on a layer, and calls count from 0"),
]


@pytest.mark.parametrize(("options", "said"), UNNOTICED)
def test_an_edit_that_did_not_fire_is_an_error_that_says_why(load, options, said):
    model = load(MODEL).Model()
    edit = astcapture.edit(TARGET, half, **options)
    model(input_())
    with pytest.raises(EditError) as error:
        edit.uninstall()
    assert str(error.value).endswith(said)
    edit.uninstall()  # once
    with pytest.warns(CaptureWarning, match="changed nothing"), astcapture.edit(TARGET, half, **options, strict=False):
        model(input_())


def test_a_function_that_was_not_called_or_imported_is_told_apart(load):
    load(MODEL)
    with pytest.raises(EditError, match="the function was not called while the edit was installed"):
        astcapture.edit(TARGET, half).uninstall()
    with pytest.raises(EditError, match="no module with that function was imported"):
        astcapture.edit("no_such_module:f=x", half).uninstall()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda attn: None, "the change returned None: return the edited value"),
        (lambda attn: attn[0], "the change returned shape (3, 3) for (2, 3, 3)"),
        (lambda attn: attn.double(), "the change returned float64 for float32: end it with .to(value.dtype)"),
        (lambda attn: 0.0, "the change returned float for Tensor"),
    ],
)
def test_what_does_not_fit_is_not_applied_and_said(load, change, said):
    model = load(MODEL).Model()
    plain = model(input_())
    with pytest.raises(EditError) as error, astcapture.edit(TARGET, change):
        assert torch.equal(model(input_()), plain)
    assert said in str(error.value)


def test_an_edit_that_makes_equal_values_is_reported(load):
    model = load(MODEL).Model()
    with pytest.warns(CaptureWarning, match="fired 3 times and changed nothing"):
        with astcapture.edit(TARGET, lambda attn: attn * 1):
            model(input_())


def test_values_from_before_and_after_an_edit_are_the_models_own(load):
    model = load(MODEL).Model()
    with astcapture.install([TARGET]):
        with astcapture.recording() as before:
            model(input_())
        with astcapture.edit(TARGET, half), astcapture.recording() as edited:
            model(input_())
        with astcapture.recording() as after:
            model(input_())
    assert "edited: edit(" in str(edited.summary())
    assert "edited: edit(" not in str(before.summary()) + str(after.summary())


def test_a_change_in_place_is_an_error(load):
    model = load(MODEL).Model()
    edit = astcapture.edit(TARGET, lambda attn: attn.mul_(0))
    model(input_())
    with pytest.raises(
        EditError, match="the change changed its value in place, and with it all that shares its memory"
    ):
        edit.uninstall()


def test_values_that_are_equal_but_for_nan_did_not_change(load):
    model = load("def f(x):\n    y = x * 1\n    return y")
    with pytest.warns(CaptureWarning, match="fired once and changed nothing"):
        with astcapture.edit(f"{NAME}:f=y", lambda y: y * 1):
            model.f(torch.tensor([float("nan"), 1.0]))


def test_an_error_of_the_change_is_all_that_is_said(load):
    model = load(MODEL).Model()
    edit = astcapture.edit(TARGET, lambda attn: attn.no_such_attribute)
    with pytest.raises(AttributeError):
        model(input_())
    edit.uninstall()


def test_a_ready_made_change_without_brackets_says_what_to_write():
    with pytest.raises(EditError, match=r"zero makes a change: call it, zero\(\)"):
        astcapture.edit(TARGET, astcapture.edits.zero)


def test_an_error_of_the_program_is_not_hidden_by_one_of_the_edit(load):
    load(MODEL)
    with pytest.raises(ZeroDivisionError), astcapture.edit(TARGET, half):
        1 / 0  # noqa: B018


def test_an_error_of_the_change_is_that_of_a_line_written_by_hand(load):
    model = load(MODEL).Model()

    def fail(attn: Any) -> Any:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"), astcapture.edit(TARGET, fail):
        model(input_())


WRONG = [
    (f"{NAME}:f", "does not say what to edit: write edited_module:f=NAME, or edited_module:f=@return"),
    (f"{NAME}:f=*", "one edit changes one value: write a name in place of *"),
    (f"{NAME}:f=a,b", "one edit changes one value: make an edit for each"),
    (f"{NAME}:f=a:=b", "an edit has no label: remove a:="),
    (f"{NAME}:f=a@return", "at the return an edit changes what the function returns: write @return, or a@assign"),
    (f"{NAME}:f=x + 1", "'x + 1' is no name"),
    (f"{NAME}:f=x@yield", "nothing is edited @yield"),
    (f"{NAME}:f=@call", "no name before @call: write NAME@call"),
    (f"{NAME}:f=scale@sdpa", "of a fused attention query, key, value, output, weights can be edited"),
]


@pytest.mark.parametrize(("target", "said"), WRONG)
def test_a_target_that_is_none_says_what_to_write(target, said):
    with pytest.raises(astcapture.CaptureError) as error:
        astcapture.edit(target, half)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layer": -1}, "while the program runs it is not known which layer is the last: count from 0"),
        ({"call": "0"}, "call is a number, a range or a list: write call=0"),
        ({"layer": 1.5}, "layer is a pattern, a number, a range or a list"),
    ],
)
def test_a_filter_that_cannot_be_answered_is_an_error(options, said):
    with pytest.raises(EditError) as error:
        astcapture.edit(TARGET, half, **options)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("def f(x):\n    y = x\n    return y", "attn", "'attn' is never bound in f"),
        ("def f(x):\n    x.sum()", "@return", "@return: f (line 6) has no return with a value to edit"),
        ("def f(x):\n    return x", "softmax@call", "does not call 'softmax'"),
        (
            "def f(x):\n    y = x\n    return x",
            "y",
            "y@assign: 'y' is bound on line 7 of f, and nothing reads it: the program would not notice the edit",
        ),
        (
            "def f(x):\n    y = 1\n    z = y\n    y = 2\n    return z",
            "y@enter",
            "y@enter: 'y' is not a parameter of f",
        ),
        (
            "def f(x):\n    x = 1\n    return x",
            "x@enter",
            "x@enter: 'x' is handed in on line 6 of f, and it is read on line 8, before: the program",
        ),
        (
            "def f(x):\n    x.relu()\n    return x",
            "relu@call",
            "relu@call: f (line 6) throws away what it returns on line 7: the program would not notice the edit",
        ),
    ],
)
def test_what_is_not_in_the_source_is_an_error_as_the_edit_is_installed(load, source, target, said):
    load(source)
    with pytest.raises(EditError) as error:
        astcapture.edit(f"{NAME}:f={target}", half)
    assert said in str(error.value)
