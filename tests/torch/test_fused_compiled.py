"""Weights of fused attention in compiled code: computed after it has run, from copies of the call's arguments."""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import astcapture

pytestmark = pytest.mark.torch

SOURCE = """\
import torch
import torch.nn.functional as F

def attend(q, k, v, mask=None, is_causal=False, enable_gqa=False):
    q = q * 2
    out = F.scaled_dot_product_attention(q, k, v, mask, is_causal=is_causal, enable_gqa=enable_gqa)
    if not q.requires_grad:
        k.add_(1)
    return out
"""
TARGET = "fused_compiled:attend=weights@sdpa"
KEY = "fused_compiled:attend"


@pytest.fixture
def module(tmp_path: Path, fresh_imports: Any) -> Iterator[Any]:
    (tmp_path / "fused_compiled.py").write_text(SOURCE)
    torch._dynamo.reset()
    yield lambda: importlib.import_module("fused_compiled")
    torch._dynamo.reset()
    astcapture.cache.clear()


def tensors(*shapes: tuple[int, ...]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, generator=generator) for shape in shapes]


def written_out(q: torch.Tensor, k: torch.Tensor, allowed: Any = None) -> torch.Tensor:
    scores = torch.einsum("bhle,bhse->bhls", q * 2, k) / math.sqrt(q.size(-1))
    scores = scores if allowed is None else scores.masked_fill(~allowed, -math.inf)
    return scores.exp() / scores.exp().sum(-1, keepdim=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "causal", "mask", "grouped"])
def test_weights_are_those_of_the_call_whatever_the_program_does_to_its_arguments_afterwards(
    kind: str, module: Any
) -> None:
    q, k, v = tensors((2, 4, 5, 8), *[(2, 2 if kind == "grouped" else 4, 5, 8)] * 2)
    allowed = {"causal": torch.ones(5, 5).tril().bool(), "mask": torch.eye(5).roll(1, 0).bool() | torch.eye(5).bool()}
    repeated = k.repeat_interleave(2, 1) if kind == "grouped" else k
    expected = written_out(q, repeated, allowed.get(kind))
    with astcapture.install(TARGET):
        compiled = torch.compile(module().attend, fullgraph=True, backend="aot_eager")
        with astcapture.recording() as rec:
            compiled(q, k, v, allowed["mask"] if kind == "mask" else None, kind == "causal", kind == "grouped")
    (weights,) = rec[KEY]
    assert torch.allclose(weights, expected, atol=1e-6)


def test_nothing_of_the_weights_is_computed_in_the_graph(module: Any) -> None:
    graphs: list[Any] = []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph

    with astcapture.install(TARGET):
        compiled = torch.compile(module().attend, fullgraph=True, backend=backend)
        with astcapture.recording() as rec, torch.no_grad():
            compiled(*tensors(*[(2, 4, 5, 8)] * 3))
    called = [str(node.target) for graph in graphs for node in graph.graph.nodes]
    assert len(graphs) == 1 and len(rec[KEY]) == 1
    assert not [name for name in called if "softmax" in name or "matmul" in name]


def test_a_reduction_is_computed_in_the_same_way(module: Any) -> None:
    q, k, v = tensors(*[(2, 4, 5, 8)] * 3)
    expected = written_out(q, k).mean(1)[:, 0]
    with astcapture.install(TARGET, reduce=lambda w: w.mean(1)[:, 0], dtype="float64"):
        compiled = torch.compile(module().attend, fullgraph=True, backend="aot_eager")
        with astcapture.recording() as rec:
            compiled(q, k, v)
    (value,) = rec[KEY]
    assert value.dtype == torch.float64
    assert torch.allclose(value.float(), expected, atol=1e-6)


@pytest.mark.slow
def test_there_is_one_graph_for_many_lengths_and_as_many_compilations_as_without(module: Any) -> None:
    counts = []
    for capturing in (False, True):
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        hook = astcapture.install(TARGET)
        function = module().attend
        if not capturing:
            hook.uninstall()
        compiled = torch.compile(function, fullgraph=True, backend="aot_eager", dynamic=True)
        with astcapture.recording() as rec:
            for length in range(4, 12):
                compiled(*tensors(*[(2, 4, length, 8)] * 3))
            compiled(*tensors(*[(3, 4, 9, 8)] * 3), None, True)
        hook.uninstall()
        counts.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert [tuple(value.shape[-2:]) for value in rec[KEY]] == [*((n, n) for n in range(4, 12)), (9, 9)]
    assert counts[0] == counts[1]


@pytest.mark.slow
def test_in_training_results_and_gradients_are_those_of_a_plain_run(module: Any) -> None:
    outcomes = []
    for capturing in (False, True):
        torch._dynamo.reset()
        q, k, v = tensors(*[(2, 4, 5, 8)] * 3)
        q.requires_grad_()
        v.requires_grad_()
        hook = astcapture.install(TARGET)
        function = module().attend
        if not capturing:
            hook.uninstall()
        with astcapture.recording() as rec:
            out = torch.compile(function, fullgraph=True, backend="aot_eager")(q, k * 1, v)
        hook.uninstall()
        out.square().sum().backward()
        outcomes.append([out.detach(), q.grad, v.grad])
    assert all(map(torch.equal, *outcomes))
    (weights,) = rec[KEY]
    assert torch.allclose(weights, written_out(q.detach(), k), atol=1e-6)
    assert not weights.requires_grad


@pytest.mark.parametrize("reduce", [None, lambda w: w * 1])
def test_what_there_is_no_room_for_is_counted_and_not_computed(
    reduce: Any, module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from astcapture.record.torch import attention

    real, computed = attention.attention_weights, []
    monkeypatch.setattr(attention, "attention_weights", lambda **given: computed.append(1) or real(**given))
    with astcapture.install(TARGET, limit="10KB", reduce=reduce), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled = torch.compile(module().attend, fullgraph=True, backend="aot_eager")
        with astcapture.recording() as rec:
            for _ in range(4):
                compiled(*tensors(*[(2, 4, 64, 8)] * 3))
        (count,) = rec.counts.values()
    assert (computed, len(rec[KEY]), count.left_out, count.failed) == ([], 0, 4, 0)


def test_once_recording_has_stopped_no_reduction_is_computed(module: Any) -> None:
    called: list[int] = []

    def reduce(weights: torch.Tensor) -> torch.Tensor:
        called.append(1)
        return weights.mean(1)

    with astcapture.install(TARGET, limit="120KB", reduce=reduce), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled = torch.compile(module().attend, fullgraph=True, backend="aot_eager")
        with astcapture.recording() as rec:
            for _ in range(20):
                compiled(*tensors(*[(1, 4, 64, 8)] * 3))
        (count,) = rec.counts.values()
    # A map of means has 16,384 bytes, and copies of the arguments of the last runs wait beside them.
    assert 0 < len(rec[KEY]) < 7
    assert len(called) == len(rec[KEY]) + 1
    assert count.left_out == 20 - len(rec[KEY])


def test_a_gradient_is_refused_aloud(module: Any) -> None:
    q, k, v = tensors(*[(2, 4, 5, 8)] * 3)
    with astcapture.install(TARGET, grad=True):
        compiled = torch.compile(module().attend, fullgraph=True, backend="aot_eager")
        with astcapture.recording() as rec:
            compiled(q.requires_grad_(), k, v).sum().backward()
        (record,) = rec[KEY].records
    with pytest.raises(astcapture.CaptureError, match=r"run the model without torch\.compile"):
        _ = record.grad
