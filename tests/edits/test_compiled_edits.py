"""Edits under torch.compile: no graph break, no compilation for new numbers, counted in the graph, in training too."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

import astcapture
from astcapture.edits import add, noise, scale, zero

SOURCE = """
import torch
import torch.nn.functional as F
from torch import nn
class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(8, 24)
        EDIT_INIT
    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, 2, 4).permute(2, 0, 3, 1, 4)
        x = x + 1
        attn = F.softmax(q @ k.mT, -1)
        EDIT
        return (attn @ v).transpose(1, 2).reshape(b, n, d) + x
class Model(nn.Module):
    def __init__(self):
        torch.manual_seed(0)
        super().__init__()
        self.blocks = nn.Sequential(*[Attention() for _ in range(3)])
    def forward(self, x):
        return self.blocks(x)
"""
NAME = "compiled_edited"
TARGET = f"{NAME}:Attention.forward="


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(tmp_path)
    torch._dynamo.reset()
    counters.clear()

    def make(edit: str = "pass", name: str = NAME) -> Any:
        (tmp_path / f"{name}.py").write_text(SOURCE.replace("EDIT_INIT", "pass").replace("EDIT", edit))
        importlib.invalidate_caches()
        return importlib.import_module(name).Model()

    yield make
    for name in [one for one in sys.modules if one.startswith(NAME)]:
        del sys.modules[name]
    torch._dynamo.reset()


def input_() -> torch.Tensor:
    return torch.linspace(-1, 1, 80).reshape(2, 5, 8)


def run(model: Any, forward: Any) -> list[torch.Tensor]:
    """Output and gradients of a step of training."""
    model.zero_grad()
    output = forward(input_())
    output.square().sum().backward()
    return [output.detach(), *(one.grad.clone() for one in model.parameters())]


BACKENDS = ["eager", "aot_eager", pytest.param("inductor", marks=pytest.mark.slow)]


@pytest.mark.cases(1)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("target", ["attn", "softmax@call", "attn@assign"])
def test_training_is_that_of_the_source_edited_by_hand(make, backend, target):
    by_hand = make("attn = torch.where(torch.tensor([False, True]).view(1, 2, 1, 1), 0.0, attn)", NAME + "_by_hand")
    expected = run(by_hand, torch.compile(by_hand, backend=backend, fullgraph=True))
    model = make()
    with astcapture.edit(TARGET + target, zero(heads=[1])) as edit:
        found = run(model, torch.compile(model, backend=backend, fullgraph=True))
    for one, other in zip(found, expected, strict=True):
        if backend == "inductor":
            torch.testing.assert_close(one, other)
        else:
            assert torch.equal(one, other)
    assert {layer: (one.fired, one.changed) for layer, one in edit.receipts.items()} == {
        f"blocks.{number}": (1, True) for number in range(3)
    }


@pytest.mark.cases(1)
@pytest.mark.parametrize(
    "backend", [*BACKENDS[:2], pytest.param("inductor", marks=[pytest.mark.slow, pytest.mark.long])]
)
def test_an_edit_that_gives_back_its_value_changes_no_bit(make, backend):
    model = make()
    expected = run(model, torch.compile(model, backend=backend, fullgraph=True))
    for target in ("attn", "x@enter", "softmax@call", "softmax@input", "@return", "q"):
        torch._dynamo.reset()
        with astcapture.edit(TARGET + target, lambda value: value):
            found = run(model, torch.compile(model, backend=backend, fullgraph=True))
        assert all(map(torch.equal, found, expected)), target


def test_a_number_that_changes_compiles_nothing_anew(make):
    model = make()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    with astcapture.edit(TARGET + "attn", scale(0.5, heads=[0])) as edit, torch.no_grad():
        compiled(input_())
        graphs = counters["stats"]["unique_graphs"]
        for factor in (0.1, 2, -3.5, 0.0):
            edit.value = factor
            eager = model(input_())
            assert torch.equal(compiled(input_()), eager)
        assert counters["stats"]["unique_graphs"] == graphs
    assert edit.receipts["blocks.0"].fired == 9


def test_layers_share_their_code_except_those_with_other_edits(make):
    model = make()
    blocks = torch.nn.Sequential(*[make().blocks[0] for _ in range(12)])
    with torch.no_grad():
        eager = blocks(input_())
        for block in blocks:
            block.compile(backend="eager", fullgraph=True)
        assert torch.equal(blocks(input_()), eager)
        plain = counters["stats"]["unique_graphs"]
        with astcapture.edit(TARGET + "attn", zero(), layer="7") as edit:
            edited = blocks(input_())
        assert counters["stats"]["unique_graphs"] == plain + 2, "one for layer 7, one for all others"
        assert list(edit.receipts) == ["7"]
        assert not torch.equal(edited, eager)
        assert torch.equal(blocks(input_()), eager), "the edit is gone with its block"
    assert model is not None


def test_code_compiled_before_is_compiled_anew_for_an_edit_and_after_it(make):
    model = make()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with torch.no_grad():
        plain = compiled(input_())
        with astcapture.edit(TARGET + "attn", zero()) as first:
            one = compiled(input_())
            with astcapture.edit(TARGET + "attn", add(1.0)):
                both = compiled(input_())
            assert torch.equal(compiled(input_()), one)
        assert torch.equal(compiled(input_()), plain)
    assert not torch.equal(one, plain)
    assert not torch.equal(both, one)
    assert first.receipts["blocks.2"].fired == 3


@pytest.mark.cases(2)
@pytest.mark.parametrize(("call", "calls"), [(1, [1]), (range(1, 3), [1, 2]), ([0, 2], [0, 2]), (slice(2, None), [2])])
def test_executions_are_counted_in_the_graph(make, call, calls):
    model = make()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with torch.no_grad():
        plain = model(input_())
        with astcapture.edit(TARGET + "attn", zero(), strict=False):
            edited = model(input_())
        with astcapture.edit(TARGET + "attn", zero(), call=call) as edit:
            for number in range(3):
                assert torch.equal(compiled(input_()), edited if number in calls else plain)
    assert {one.fired for one in edit.receipts.values()} == {len(calls)}


def test_what_does_not_fit_is_not_applied_and_said(make):
    model = make()
    plain = model(input_())
    edit = astcapture.edit(TARGET + "attn", lambda attn: attn[0])
    assert torch.equal(torch.compile(model, backend="eager", fullgraph=True)(input_()), plain)
    with pytest.raises(astcapture.EditError, match=r"the change returned shape \(2, 5, 5\) for \(2, 2, 5, 5\)"):
        edit.uninstall()


def test_captures_and_edits_are_compiled_together(make):
    model = make()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    with astcapture.edit(TARGET + "attn", zero(heads=[1])), astcapture.install([TARGET + "attn"]):
        with astcapture.recording() as cache:
            compiled(input_())
    maps = cache.select(label="attn")
    assert len(maps) == 3
    assert all(not one[:, 1].any() and one[:, 0].any() for one in maps)


@pytest.mark.parametrize("change", [noise(0.5, seed=3), zero(), scale(2.0)], ids=str)
def test_a_value_from_outside_is_edited_in_inference_mode(make: Any, tmp_path: Path, change: Any) -> None:
    (tmp_path / f"{NAME}_inferring.py").write_text(
        "import torch\ndef f(x):\n    with torch.inference_mode():\n        v = x\n        y = v * 2\n    return y\n"
    )
    importlib.invalidate_caches()
    f = importlib.import_module(f"{NAME}_inferring").f
    with astcapture.edit(f"{NAME}_inferring:f=v", change):
        want = f(input_())
        got = torch.compile(f, backend="aot_eager", fullgraph=True)(input_())
    torch.testing.assert_close(got, want)
    assert not torch.equal(want, input_() * 2)
