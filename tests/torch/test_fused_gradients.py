"""``grad=True`` at fused attention: the gradient that the eager path's weights would have got."""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.checkpoint import checkpoint

import astcapture
from astcapture.errors import CaptureError

pytestmark = pytest.mark.torch

SOURCE = """\
import torch.nn.functional as F

def attend(q, k, v, **options):
    return F.scaled_dot_product_attention(q, k, v, **options)
"""
TARGET = "fused_gradients:attend=weights@sdpa"


@pytest.fixture
def module(tmp_path: Path, fresh_imports: Any) -> Iterator[Any]:
    (tmp_path / "fused_gradients.py").write_text(SOURCE)
    yield lambda: importlib.import_module("fused_gradients")
    astcapture.cache.clear()


def tensors(*shapes: tuple[int, ...]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


def eager(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, allowed: Any = None) -> tuple[torch.Tensor, torch.Tensor]:
    """The output and the weights, of which torch keeps the gradient."""
    groups = q.size(1) // k.size(1)
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.size(-1))
    scores = scores if allowed is None else scores.masked_fill(~allowed, -math.inf)
    weights = scores.softmax(-1)
    weights.retain_grad()
    return weights @ v, weights


CALLS: dict[str, tuple[dict[str, Any], Any]] = {
    "plain": ({}, None),
    "causal": ({"is_causal": True}, torch.ones(5, 5).tril().bool()),
    "mask": ({"attn_mask": torch.eye(5).bool() | torch.eye(5).roll(1, 1).bool()}, None),
    "grouped": ({"enable_gqa": True}, None),
}


@pytest.mark.parametrize("reduce", [None, lambda w: w.mean(1), lambda w: w.flatten(2)])
@pytest.mark.parametrize("kind", CALLS)
def test_the_gradient_is_that_of_the_eager_paths_weights(kind: str, reduce: Any, module: Any) -> None:
    options, allowed = CALLS[kind]
    allowed = options.get("attn_mask", allowed)
    heads = 2 if kind == "grouped" else 4
    q, k, v = tensors((2, 4, 5, 6), (2, heads, 5, 6), (2, heads, 5, 3))
    output, weights = eager(q, k, v, allowed)
    output.pow(3).sum().backward()
    with astcapture.install(TARGET, grad=True, reduce=reduce), astcapture.recording() as rec:
        module().attend(q, k, v, **options).pow(3).sum().backward()
    (record,) = rec["attend"].records
    change = reduce or (lambda w: w)
    assert torch.allclose(record.value, change(weights.detach()))
    assert torch.allclose(record.grad, change(weights.grad))


def test_gradients_of_several_backward_passes_add_up(module: Any) -> None:
    q, k, v = tensors(*[(1, 2, 3, 4)] * 3)
    output, weights = eager(q, k, v)
    output.sum().backward(retain_graph=True)
    (output * 2).sum().backward()
    with astcapture.install(TARGET, grad=True, dtype="float32"), astcapture.recording() as rec:
        output = module().attend(q, k, v)
        output.sum().backward(retain_graph=True)
        (output * 2).sum().backward()
    (record,) = rec["attend"].records
    assert record.grad.dtype == torch.float32
    assert torch.allclose(record.grad.double(), weights.grad)


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpointed_call_has_its_gradient(reentrant: bool, module: Any) -> None:
    q, k, v = tensors(*[(1, 2, 3, 4)] * 3)
    output, weights = eager(q, k, v)
    output.pow(2).sum().backward()
    with astcapture.install(TARGET, grad=True), astcapture.recording() as rec:
        checkpoint(module().attend, q, k, v, use_reentrant=reentrant).pow(2).sum().backward()
    (record,) = rec["attend"].records
    assert torch.allclose(record.grad, weights.grad)


def test_without_a_graph_there_is_no_gradient(module: Any) -> None:
    with astcapture.install(TARGET, grad=True), astcapture.recording() as rec:
        with torch.no_grad():
            module().attend(*tensors(*[(1, 2, 3, 4)] * 3), dropout_p=0.5)
    assert rec["attend"].records[0].grad is None


def test_under_dropout_it_is_refused_aloud(module: Any) -> None:
    with astcapture.install(TARGET, grad=True), astcapture.recording() as rec:
        module().attend(*tensors(*[(1, 2, 3, 4)] * 3), dropout_p=0.25).sum().backward()
    (record,) = rec["attend"].records
    assert record.value.shape == (1, 2, 3, 3)
    with pytest.raises(CaptureError, match=r"the call used dropout_p=0\.25, .*: call model\.eval\(\) or set"):
        _ = record.grad


def test_one_for_which_there_is_no_room_is_refused_aloud(module: Any) -> None:
    q, k, v = tensors(*[(1, 2, 64, 4)] * 3)
    with astcapture.install(TARGET, grad=True, limit="90KB"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with astcapture.recording() as rec:
            module().attend(q, k, v).sum().backward()
        (record,) = rec["attend"].records
    assert record.value.nbytes == 65536
    with pytest.raises(CaptureError, match="the memory limit was reached"):
        _ = record.grad


def test_no_record_keeps_the_graph_or_its_tensors_alive(module: Any) -> None:
    import gc
    import weakref

    with astcapture.install(TARGET, grad=True), astcapture.recording() as rec:
        q, k, v = tensors(*[(1, 2, 3, 4)] * 3)
        value = v * 1
        output = module().attend(q, k, value)
        alive = weakref.ref(value)
        output.sum().backward()
        del value, output
        gc.collect()
    assert alive() is None
    assert rec["attend"].records[0].grad is not None


def test_gradients_of_the_program_are_bitwise_those_of_a_plain_run(module: Any) -> None:
    found = []
    for grad in (False, True):
        q, k, v = tensors(*[(2, 2, 5, 4)] * 3)
        with astcapture.install(TARGET, grad=grad):
            module().attend(q, k, v).pow(2).sum().backward()
        found.append([q.grad, k.grad, v.grad])
    assert all(map(torch.equal, *found))
