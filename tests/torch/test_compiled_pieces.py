"""Compiled code that runs in pieces, between graph breaks, and for other inputs: what is recorded, and how often it is
compiled."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import astcapture
from astcapture.values.shared import Counts

X = torch.arange(16.0).view(4, 4)


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], ModuleType]]:
    """Write a module and import it captured; the captures stand for those of every function."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "in_pieces", raising=False)
    hooks = []

    def load(text: str, captures: str) -> ModuleType:
        (tmp_path / "in_pieces.py").write_text("import torch\n\n\n" + text)
        importlib.invalidate_caches()
        hooks.append(astcapture.install(f"in_pieces:*={captures}"))
        return importlib.import_module("in_pieces")

    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield load
    for hook in hooks:
        hook.uninstall()
    torch._dynamo.reset()


def graphs() -> int:
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


def counts(rec: Any, label: str) -> Counts:
    return dict(rec.counts).get(("in_pieces:f", label), Counts())


BY_FLAG = """\
def f(x, flag):
    y = x * 2
    return y + 1
"""


@pytest.mark.cases(6)
@pytest.mark.parametrize("values", [(True, False), (1, 2), (0.5, 1.5), ("mean", "sum")])
@pytest.mark.parametrize("fullgraph", [True, False])
def test_a_value_that_the_program_does_not_ask_for_is_recorded_and_compiles_nothing_anew(
    load: Callable[..., Any], values: tuple[Any, Any], fullgraph: bool
) -> None:
    module = load(BY_FLAG, "flag,y")
    function = torch.compile(module.f, backend="eager", fullgraph=fullgraph)
    with astcapture.recording() as rec:
        for value in (*values, *values):
            function(X, value)
        assert [*rec["in_pieces:f"]["flag"]] == [*values, *values]
    assert graphs() == 1


BROKEN = """\
def inner(x):
    here = x * 2
    return here


def f(x):
    a = inner(x)
    torch._dynamo.graph_break()
    b = inner(x + 1)
    print("between", b.sum().item())
    c = inner(x + 2)
    return a + b + c
"""


def test_values_of_compiled_and_of_plain_code_are_in_the_order_in_which_they_were_recorded(
    load: Callable[..., Any],
) -> None:
    module = load(BROKEN, "*")
    compiled = torch.compile(module.inner, backend="eager")
    with astcapture.recording() as rec:
        for number in range(2):
            module.inner(X + 10 * number)
            compiled(X + 10 * number + 1)
            module.inner(X + 10 * number + 2)
            compiled(X + 10 * number + 3)
        firsts = [value[0, 0].item() for value in rec["in_pieces:inner"]["here"]]
    assert firsts == [0, 2, 4, 6, 20, 22, 24, 26]


def test_values_of_code_after_a_graph_break_are_in_order_when_looked_at_between_the_runs(
    load: Callable[..., Any],
) -> None:
    module = load(BROKEN, "*")
    function = torch.compile(module.f, backend="eager")
    module.inner(X)
    for number in range(3):
        function(X + 10 * number)
        module.inner(X + 10 * number + 5)
        found = [value[0, 0].item() for value in astcapture.cache["in_pieces:inner"]["here"]]
        assert found[-4:] == [20 * number + one for one in (0, 2, 4, 10)]
    assert [record.call for record in astcapture.cache["in_pieces:inner"]["here"].records] == [*range(13)]


EXPRESSIONS = """\
def f(x, flag=None):
    if flag is not None:
        late = x + 1
    y = x * 2
    if flag:
        return y
    y + 1
"""


@pytest.mark.parametrize("fullgraph", [True, False])
@pytest.mark.parametrize("flag", [None, False, True])
def test_an_expression_is_computed_in_compiled_code_as_in_plain_code(
    load: Callable[..., Any], flag: bool | None, fullgraph: bool
) -> None:
    module = load(EXPRESSIONS, "y,half:=y / 2,each:=[row for row in y],after:=late - 1,gone:=x.nothing")
    found = []
    for function in (module.f, torch.compile(module.f, backend="eager", fullgraph=fullgraph)):
        with astcapture.recording() as rec:
            for number in range(2):
                function(X + number, flag)
            values = rec["in_pieces:f"]
            found.append(
                {label: [flat(value) for value in values[label]] for label in ("y", "half", "each")}
                | {"after": [flat(value) for value in rec.select(label="after")]}
                | {"missed": counts(rec, "after").missed, "failed": counts(rec, "gone").failed}
            )
            told = counts(rec, "gone").error
    assert found[1] == found[0]
    assert found[0]["half"] == [(X + number).tolist() for number in range(2)]
    assert found[0]["missed"] == (2 if flag is None else 0)
    assert found[0]["failed"] == 2
    assert "the expression raised an exception in compiled code" in str(told)
    assert graphs() == 1
    assert not torch._dynamo.utils.counters["graph_break"]


def flat(value: Any) -> Any:
    return [one.tolist() for one in value] if isinstance(value, list) else value.tolist()


GONE = """\
def f(x, flag):
    if flag:
        kept = x * 2
    y = x + 1
    torch._dynamo.graph_break()
    return y * 3
"""


@pytest.mark.slow
@pytest.mark.parametrize("capture", ["kept", "kept:=[row for row in kept]"])
def test_a_name_that_the_compiler_gives_up_at_a_graph_break_is_counted_with_that_reason(
    load: Callable[..., Any], capture: str
) -> None:
    module = load(GONE, capture)
    function = torch.compile(module.f, backend="eager")
    with astcapture.recording() as rec:
        for flag in (True, True, False):
            assert torch.equal(function(X, flag), (X + 1) * 3)
        assert len(rec.select(label="kept")) == 0
        count = counts(rec, "kept")
    assert (count.failed, count.missed) == (3, 0)
    assert "kept only the locals that the function reads after the break" in str(count.error)


OF_AUTOGRAD = """\
class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        both = (x * 2, [x])
        return both[0]

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 2


def f(x):
    return Double.apply(x)
"""


@pytest.mark.slow
def test_a_value_of_a_function_of_autograd_has_no_graph(load: Callable[..., Any]) -> None:
    module = load(OF_AUTOGRAD, "x,both")
    function = torch.compile(module.f, backend="eager", fullgraph=True)
    with astcapture.recording() as rec:
        function(X.clone().requires_grad_()).sum().backward()
        values = rec["in_pieces:Double.forward"]
        tensors = [*values["x"], values["both"][0][0], *values["both"][0][1]]
    assert [one.tolist() for one in tensors] == [X.tolist(), (X * 2).tolist(), X.tolist()]
    assert not any(one.requires_grad for one in tensors)


OF_A_MODULE = """\
from torch import nn


class Doubling(nn.Module):
    def forward(self, x):
        x.register_hook(lambda gradient: gradient + 3)
        y = x * 2
        z = y * 3
        return (z,)
"""


def test_a_module_that_autograd_traces_ahead_by_itself_keeps_its_gradients(load: Callable[..., Any]) -> None:
    from torch._functorch.aot_autograd import aot_module_simplified

    module = load(OF_A_MODULE, "*")
    x = torch.ones(4, requires_grad=True)
    with astcapture.recording() as rec:
        traced: Any = aot_module_simplified(module.Doubling(), (x,), lambda graph, inputs: graph)
        rec.summary()
        reasons = {str(count.error) for _, count in rec.counts.items() if count.error}
        (z,) = traced(x)
    z.sum().backward()
    assert x.grad is not None and x.grad.tolist() == [9.0] * 4
    assert reasons
    assert all("so there is no value to record" in reason for reason in reasons)


SEALED = """\
class Sealed(torch.Tensor):
    @staticmethod
    def __new__(cls, data):
        made = torch.Tensor._make_wrapper_subclass(cls, data.shape, dtype=data.dtype)
        made._data = data
        return made

    def __tensor_flatten__(self):
        return ["_data"], None

    @staticmethod
    def __tensor_unflatten__(tensors, context, size, stride):
        return Sealed(tensors["_data"])

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments, options=None):
        if function is torch.ops.aten.mul.Tensor:
            return arguments[0]._data * arguments[1]
        raise NotImplementedError("sealed")


def f(x):
    y = x * 2
    return y + 1
"""


def test_a_tensor_whose_class_makes_no_copy_is_counted_and_the_program_goes_on(load: Callable[..., Any]) -> None:
    module = load(SEALED, "x,y")
    function = torch.compile(module.f, backend="eager", fullgraph=True)
    with astcapture.recording() as rec:
        for number in range(2):
            assert torch.equal(function(module.Sealed(X + number)), (X + number) * 2 + 1)
        assert len(rec["in_pieces:f"]["y"]) == 2
        count = counts(rec, "x")
    assert count.failed == 2
    assert "cannot return a Sealed" in str(count.error)


SHARED = """\
def f(x, n):
    if n > 2:
        z = x + n

    def reads():
        return z

    return x * 2


def g(x, n):
    def sets():
        nonlocal z
        z = x * 3

    if n > 2:
        sets()
    if n < 0:
        z = x
    return x * 2
"""


@pytest.mark.parametrize("captures", ["*", "z,more:=z + 1"])
@pytest.mark.parametrize("fullgraph", [True, False])
def test_a_local_that_a_nested_function_shares_may_be_unbound_at_a_return(
    load: Callable[..., Any], fullgraph: bool, captures: str
) -> None:
    module = load(SHARED, captures)
    for function in (module.f, module.g):
        for n in (1, 3):
            recorded = []
            for run in (function, torch.compile(function, backend="eager", fullgraph=fullgraph)):
                with astcapture.recording() as rec:
                    assert torch.equal(run(X, n), X * 2)
                    values = rec.select(label="z")
                    recorded.append([len(values), len(rec.select(label="more"))])
                    if n > 2:
                        assert torch.equal(values[0], X + n if function is module.f else X * 3)
            assert recorded[0] == recorded[1]
            assert bool(recorded[0][0]) is (n > 2)
    assert not torch._dynamo.utils.counters["graph_break"]


FAILING = """\
def f(x, n):
    if n > 2:
        z = x
    y = x * 2
    return y * 2
"""


@pytest.mark.cases(6)
@pytest.mark.parametrize(
    ("expression", "n", "reason"),
    [
        ("y.view(3, 7)", 1, "the expression raised an exception in compiled code"),
        ("1 / (n - n)", 1, "the expression raised an exception in compiled code"),
        ("y.nothing", 1, "the expression raised an exception in compiled code"),
        ("int(y.sum().item() > 0) and y", 1, "cannot trace the expression"),
        ("y if y.sum() > 0 else x", 1, "cannot trace the expression"),
        ("(y * 2).tolist()", 1, "cannot trace the expression"),
        ("torch.cat([y, y[0]])", 1, "the expression raised an exception in compiled code"),
        ("y[7]", 1, "the expression raised an exception in compiled code"),
        ("y if n else z", 1, None),
        ("z if n > 2 else y", 1, None),
        ("z if n > 2 else y", 3, None),
        ("n > 2 and z", 1, None),
        ("[a for a in (y, n)]", 1, None),
    ],
)
@pytest.mark.parametrize("fullgraph", [True, False])
def test_an_expression_that_compiled_code_cannot_compute_is_counted_and_changes_nothing(
    load: Callable[..., Any], expression: str, n: int, reason: str | None, fullgraph: bool
) -> None:
    module = load(FAILING, f"told:={expression},y")
    function = torch.compile(module.f, backend="eager", fullgraph=fullgraph)
    x = X.clone().requires_grad_()
    with astcapture.recording() as rec:
        for _ in range(2):
            output = function(x, n)
            assert torch.equal(output, x * 4)
            assert output.requires_grad
        assert len(rec["in_pieces:f"]["y"]) == 2
        values = [*rec.select(label="told")]
        count = counts(rec, "told")
    assert graphs() == 1
    assert not torch._dynamo.utils.counters["graph_break"]
    assert not torch._dynamo.utils.counters["unimplemented"]
    if reason is not None:
        assert (count.failed, count.missed) == (2, 0)
        assert reason in str(count.error)
        return
    expected = eval(expression, {}, {"x": X, "y": X * 2, "z": X, "n": n})
    assert len(values) == 2
    for value in values:
        torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("expression", ["z + 1", "z if n else y", "f'{z}'", "[z for _ in range(2)]"])
def test_an_expression_that_reads_an_unbound_local_is_a_miss_in_compiled_code_as_in_plain_code(
    load: Callable[..., Any], expression: str
) -> None:
    module = load(FAILING, f"late:={expression}")
    for run in (module.f, torch.compile(module.f, backend="eager", fullgraph=True)):
        with astcapture.recording() as rec:
            assert torch.equal(run(X, 1), X * 4)
            assert not rec.select(label="late")
            count = counts(rec, "late")
        assert (count.missed, count.failed) == (1, 0)
    assert not torch._dynamo.utils.counters["graph_break"]


GIVEN_UP = """\
def f(x):
    c = 2
    a = x * c
    a = [a := q + i for i in range(2) for q in (x,)]
    for _ in range(2):
        if x[0, 0].item() > 0:
            break
    return x
"""


def test_values_of_a_function_that_the_compiler_gives_up_are_in_order_with_those_of_what_it_compiles_of_it(
    load: Callable[..., Any],
) -> None:
    module = load(GIVEN_UP, "*@assign")
    order = []
    for run in (module.f, torch.compile(module.f, backend="eager")):
        with astcapture.recording() as rec:
            for _ in range(2):
                run(-X - 1)
            order.append([(record.label, record.lineno) for record in rec.select().records])
    assert order[1] == order[0]
    assert len(order[0]) == 14


def test_nothing_is_compiled_anew_where_the_recorder_is_given_other_code(load: Callable[..., Any]) -> None:
    from astcapture.record.recording import CODES, record, select_code

    module = load(BY_FLAG, "y")
    function = torch.compile(module.f, backend="eager", fullgraph=True)
    for code in CODES[1:]:
        record.__code__ = code
        with astcapture.recording() as rec:
            function(X, 1)
            assert len(rec["in_pieces:f"]["y"]) == 1
    select_code()
    assert graphs() == 1
