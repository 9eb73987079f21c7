"""Capturing inside compiled code: one graph, the plain result, and what eager running records."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import astcapture

SOURCE = """\
import torch
from torch import nn

from astcapture import capture


class Attention(nn.Module):
    def __init__(self, fused=False):
        super().__init__()
        self.fused = fused
        self.qkv = nn.Linear(8, 24)

    @capture("attn", "tokens")
    def forward(self, x):
        tokens = x.shape[-2]
        q, k, v = self.qkv(x).chunk(3, -1)
        if self.fused:
            out = nn.functional.scaled_dot_product_attention(q, k, v)
        else:
            attn = (q @ k.mT * 8**-0.5).softmax(-1)
            out = attn @ v
        return out * 1


class Model(nn.Sequential):
    def __init__(self, fused=False):
        super().__init__(Attention(fused), Attention(fused))
"""


@pytest.fixture
def model_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / "compiled_model.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "compiled_model", raising=False)
    torch._dynamo.reset()
    with astcapture.install(["compiled_model"], strict=True):
        import compiled_model

        yield compiled_model
    torch._dynamo.reset()


def graphs() -> int:
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_model_is_one_graph_and_records_what_eager_running_does(model_module: Any, backend: str) -> None:
    model = model_module.Model()
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    torch._dynamo.utils.counters.clear()
    # More calls than the compiler takes recompilations: one graph must serve them all.
    inputs = [torch.randn(2, 5, 8) for _ in range(12)]
    with astcapture.recording() as eager:
        expected = [model(x) for x in inputs]
    with astcapture.recording() as rec:
        outputs = [compiled(x) for x in inputs]
    assert graphs() == 1
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(outputs, expected, strict=True))
    key = "compiled_model:Attention.forward"
    assert [record.label for record in rec[key].records] == [record.label for record in eager[key].records]
    assert list(rec[key]["tokens"]) == [5] * 24
    for one, other in zip(rec[key]["attn"], eager[key]["attn"], strict=True):
        assert torch.allclose(one, other, atol=1e-6)
        assert not one.requires_grad


@pytest.mark.slow
def test_training_compiled_records_the_same_and_gives_the_same_gradients(model_module: Any) -> None:
    model = model_module.Model()
    x = torch.randn(2, 5, 8)
    model(x).square().sum().backward()
    expected = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with astcapture.recording() as rec:
        compiled(x).square().sum().backward()
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        assert torch.allclose(parameter.grad, gradient, atol=1e-5)
    assert len(rec["compiled_model:Attention.forward"]["attn"]) == 2


def test_a_branch_that_does_not_bind_the_name_breaks_no_graph_and_is_counted(model_module: Any) -> None:
    compiled = torch.compile(model_module.Model(fused=True), fullgraph=True, backend="eager")
    with astcapture.recording() as rec:
        for _ in range(3):
            compiled(torch.randn(2, 5, 8))
    key = "compiled_model:Attention.forward"
    assert rec[key].labels == ("tokens",)
    assert rec.counts[key, "attn"].missed == 6


@pytest.mark.slow
def test_shapes_that_change_are_recorded_as_they_are(model_module: Any) -> None:
    compiled = torch.compile(model_module.Model(), fullgraph=True, backend="eager")
    with astcapture.recording() as rec:
        for tokens in (3, 4, 5, 6, 7):
            compiled(torch.randn(1, tokens, 8))
    attention = rec["compiled_model:Attention.forward"]["attn"]
    assert [tuple(one.shape) for one in attention[::2]] == [(1, n, n) for n in (3, 4, 5, 6, 7)]


@pytest.mark.slow
def test_threads_that_run_one_compiled_model_lose_nothing(model_module: Any) -> None:
    compiled = torch.compile(model_module.Model(), fullgraph=True, backend="eager")
    x = torch.randn(1, 4, 8)
    with astcapture.recording() as rec:
        threads = [threading.Thread(target=lambda: [compiled(x) for _ in range(20)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        records = rec["compiled_model:Attention.forward"]["attn"].records
    assert len(records) == 4 * 20 * 2
    assert {record.thread for record in records} == {thread.ident for thread in threads}


@pytest.mark.slow
def test_pausing_is_obeyed_by_compiled_code(model_module: Any) -> None:
    compiled = torch.compile(model_module.Model(), fullgraph=True, backend="eager")
    x = torch.randn(1, 4, 8)
    with astcapture.recording() as rec:
        compiled(x)
        with astcapture.pause():
            compiled(x)
        compiled(x)
    assert len(rec["compiled_model:Attention.forward"]["attn"]) == 4


def layers_of(model: Any, compiled: Any) -> tuple[list[str | None], list[str | None]]:
    """The layers of the records of one eager call and of one compiled call."""
    x = torch.randn(2, 5, 8)
    found = []
    for run in (model, compiled):
        with astcapture.recording() as rec:
            run(x)
        found.append([record.layer for record in rec.select(label="attn").records])
    return found[0], found[1]


def test_records_of_a_compiled_model_are_named_by_the_layers_that_eager_running_names(model_module: Any) -> None:
    model = torch.nn.Sequential(model_module.Model(), model_module.Model())
    eager, compiled = layers_of(model, torch.compile(model, backend="eager", fullgraph=True))
    assert compiled == eager == ["0.0", "0.1", "1.0", "1.1"]


def test_blocks_that_share_one_compiled_code_are_told_apart(model_module: Any) -> None:
    model = model_module.Model()
    eager, _ = layers_of(model, model)
    for block in model:
        block.compile(backend="eager", fullgraph=True)
    torch._dynamo.utils.counters.clear()
    with torch.no_grad():  # the input of each block alike
        _, compiled = layers_of(model, model)
    assert compiled == eager == ["0", "1"]
    assert graphs() == 1


def test_two_compiled_models_have_the_layers_of_their_own(model_module: Any) -> None:
    one, other = model_module.Model(), torch.nn.ModuleDict({"inner": model_module.Model()})
    x = torch.randn(2, 5, 8)
    with astcapture.recording() as rec:
        torch.compile(one, backend="eager", fullgraph=True)(x)
        torch.compile(other["inner"], backend="eager", fullgraph=True)(x)
    assert [record.layer for record in rec.select(label="attn").records] == ["0", "1", "inner.0", "inner.1"]


def test_records_name_the_layers_of_a_compiled_model_that_is_gone_and_do_not_keep_it(model_module: Any) -> None:
    model = model_module.Model()
    reference = weakref.ref(model)
    with astcapture.recording() as rec:
        torch.compile(model, backend="eager", fullgraph=True)(torch.randn(2, 5, 8))
        torch._dynamo.reset()
        del model
        gc.collect()
        assert reference() is None
    assert [record.layer for record in rec.select(label="attn").records] == ["0", "1"]


def test_a_graph_break_further_out_does_not_hide_the_layer(model_module: Any) -> None:
    class Outer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model_module.Model()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            torch._dynamo.graph_break()
            return self.inner(x)

    model = Outer()
    eager, compiled = layers_of(model, torch.compile(model, backend="eager"))
    assert compiled == eager == ["inner.0", "inner.1"]
