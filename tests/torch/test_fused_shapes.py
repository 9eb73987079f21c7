"""The shape of fused attention's weights: each head of `nn.MultiheadAttention`, packed queries, nested tensors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import astcapture
from astcapture.record.options import PLAIN, read_conversions
from astcapture.record.taking import expected_size, taken
from astcapture.record.torch.attention_weights import AttentionWeights

# Functions of torch are exchanged, which are older than the tests.
pytestmark = [pytest.mark.torch, pytest.mark.all_objects]

MHA = "torch.nn.functional:multi_head_attention_forward"


def tensors(*shapes: tuple[int, ...], dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, generator=generator).to(dtype) for shape in shapes]


# torch.nn.MultiheadAttention.


def mha(**options: Any) -> nn.MultiheadAttention:
    torch.manual_seed(0)
    return nn.MultiheadAttention(8, 2, **options).train()


def by_head(module: nn.MultiheadAttention, *given: torch.Tensor, **options: Any) -> torch.Tensor:
    """What torch itself returns for each head."""
    with astcapture.pause():
        return module(*given, need_weights=True, average_attn_weights=False, **options)[1].detach()


@pytest.mark.slow
@pytest.mark.parametrize("asked", [{}, {"need_weights": False}, {"average_attn_weights": False}], ids=str)
@pytest.mark.parametrize("kind", ["batched", "batch first", "unbatched", "masked", "with biases", "zero attention"])
def test_each_head_is_recorded_whatever_the_caller_asks_for(kind: str, asked: dict[str, Any]) -> None:
    made = {
        "batch first": {"batch_first": True},
        "with biases": {"add_bias_kv": True},
        "zero attention": {"add_zero_attn": True},
    }
    module = mha(**made.get(kind, {}))
    shapes = [(5, 8), (7, 8)] if kind == "unbatched" else [(5, 3, 8), (7, 3, 8)]
    shapes = [(3, 5, 8), (3, 7, 8)] if kind == "batch first" else shapes
    query, key = tensors(*shapes)
    masks: dict[str, Any] = {}
    if kind == "masked":
        masks["key_padding_mask"] = torch.zeros(3, 7, dtype=torch.bool).index_fill(1, torch.tensor([5, 6]), True)
        masks["attn_mask"] = torch.ones(5, 7).triu(2).bool()
    with astcapture.install("@torch-mha"):
        expected = by_head(module, query, key, key, **masks)
        with astcapture.recording() as rec:
            output, returned = module(query, key, key, **asked, **masks)
    (value,) = rec[MHA]
    assert value.shape == expected.shape
    assert torch.allclose(value, expected, atol=1e-6)
    plain = module(query, key, key, **asked, **masks)
    assert torch.equal(output, plain[0])
    assert (returned is None and plain[1] is None) or torch.equal(returned, plain[1])


@pytest.mark.slow
@pytest.mark.parametrize("need_weights", [True, False])
def test_dropout_is_in_no_recorded_weights(need_weights: bool) -> None:
    module = mha(dropout=0.5)
    (x,) = tensors((5, 3, 8))
    with astcapture.install("@torch-mha"):
        expected = by_head(module.eval(), x, x, x)
        module.train()
        torch.manual_seed(1)
        with astcapture.recording() as rec:
            output, _ = module(x, x, x, need_weights=need_weights)
    torch.manual_seed(1)
    assert torch.equal(output, module(x, x, x, need_weights=need_weights)[0])
    assert torch.allclose(rec[MHA][0], expected, atol=1e-6)


def eager_gradient(module: nn.MultiheadAttention, x: torch.Tensor) -> torch.Tensor:
    """The gradient of each head's weights under ``output.square().sum()``, written out."""
    length, batch, width = x.shape
    q, k, v = (x @ module.in_proj_weight.T + module.in_proj_bias).chunk(3, -1)
    q, k, v = (one.reshape(length, batch, 2, width // 2).permute(1, 2, 0, 3) for one in (q, k, v))
    weights = (q @ k.mT / math.sqrt(width // 2)).softmax(-1)
    weights.retain_grad()
    output = module.out_proj((weights @ v).permute(2, 0, 1, 3).reshape(length, batch, width))
    output.square().sum().backward()
    return weights.grad  # type: ignore[return-value]


@pytest.mark.slow
@pytest.mark.parametrize("need_weights", [True, False])
def test_the_gradient_of_each_head_is_recorded(need_weights: bool) -> None:
    module = mha()
    (x,) = tensors((5, 3, 8))
    with astcapture.install("@torch-mha", grad=True), astcapture.recording() as rec:
        module(x, x, x, need_weights=need_weights)[0].square().sum().backward()
    (record,) = rec[MHA].records
    expected = eager_gradient(module, x)
    assert record.grad.shape == (3, 2, 5, 5)
    assert torch.allclose(record.grad, expected, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("need_weights", [True, False])
def test_compiled_code_of_torchs_own_says_that_it_records_nothing(need_weights: bool) -> None:
    # The compiler takes this function of torch's into its graph without a look inside.
    module = mha()
    (x,) = tensors((5, 3, 8))
    torch._dynamo.reset()
    with astcapture.install("@torch-mha"):
        with astcapture.recording() as rec:
            torch.compile(module, fullgraph=True, backend="aot_eager")(x, x, x, need_weights=need_weights)
    torch._dynamo.reset()
    (count,) = rec.counts.values()
    assert len(rec[MHA]) == 0 and count.failed > 0
    assert "run the model without torch.compile" in (count.error or "")


@pytest.mark.slow
def test_a_reduction_is_given_each_head() -> None:
    module = mha()
    (x,) = tensors((5, 3, 8))
    for need_weights in (True, False):
        with astcapture.install("@torch-mha", reduce=lambda w: w.amax(1)):
            expected = by_head(module, x, x, x).amax(1)
            with astcapture.recording() as rec:
                module(x, x, x, need_weights=need_weights)
        assert torch.allclose(rec[MHA][0], expected, atol=1e-6)


# Queries that are packed into the heads of the keys.


@pytest.mark.parametrize("mask", [None, "for all heads", "for each head", "one row"])
def test_packed_queries_are_given_back_to_their_heads(mask: str | None) -> None:
    query, key = tensors((2, 6, 1, 4), (2, 3, 7, 4), dtype=torch.float64)
    shapes = {"for all heads": (2, 1, 1, 7), "for each head": (2, 6, 1, 7), "one row": (1, 7)}
    added = None if mask is None else tensors(shapes[mask], dtype=torch.float64)[0]
    scores = query @ key.repeat_interleave(2, 1).mT / 2
    expected = (scores if added is None else scores + added).softmax(-1)
    packed = added.reshape(2, 3, 2, 7) if mask == "for each head" and added is not None else added
    seen_as = (None, None, 1, None, None, None)
    weights = AttentionWeights(query.reshape(2, 3, 2, 4), key, attn_mask=packed, seen_as=seen_as)
    assert torch.allclose(taken(weights, PLAIN), expected)
    assert expected.nbytes == expected_size(weights, PLAIN)
    half = read_conversions(dtype="float16").of("m", "f", "weights")
    assert expected.nbytes // 4 == expected_size(weights, half) == taken(weights, half).nbytes


def test_keys_that_are_left_out_of_the_call_have_weight_zero() -> None:
    query, key = tensors((1, 2, 3, 4), (1, 2, 3, 4))
    weights = AttentionWeights(query, key, is_causal=True, seen_as=(None, None, 3, 8, None, None))
    made = taken(weights, PLAIN)
    allowed = torch.ones(3, 3).tril().bool()
    expected = (query @ key.mT / 2).masked_fill(~allowed, -math.inf).softmax(-1)
    assert made.shape == (1, 2, 3, 8)
    assert torch.allclose(made[..., :3], expected, atol=1e-6)
    assert not made[..., 3:].any()
    topmost = read_conversions(reduce=lambda w: w[..., 2:6].sum(-1)).of("m", "f", "weights")
    assert torch.allclose(taken(weights, topmost), expected[..., 2], atol=1e-6)


# Nested tensors.


def sequences(lengths: list[int], heads: int = 2) -> list[torch.Tensor]:
    return tensors(*[(length, heads, 4) for length in lengths], dtype=torch.float64)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("reduce", [None, lambda w: w.mean(0)])
def test_a_nested_tensor_gives_the_weights_of_each_sequence(reduce: Any, causal: bool) -> None:
    given = sequences([3, 5, 2])
    query = torch.nested.nested_tensor(given, layout=torch.jagged).transpose(1, 2)
    install: Callable[..., Any] = read_conversions
    how = install(reduce=reduce).of("m", "f", "weights")
    weights = AttentionWeights(query, query, is_causal=causal)
    made = taken(weights, how)
    assert type(made) is tuple and len(made) == 3
    for one, value in zip(given, made, strict=True):
        scores = torch.einsum("lhe,she->hls", one, one) / 2
        if causal:
            scores = scores.masked_fill(torch.ones(scores.shape[-2:]).triu(1).bool(), -math.inf)
        expected = scores.softmax(-1)
        assert torch.allclose(value, reduce(expected) if reduce else expected)
    if reduce is None:
        assert expected_size(weights, how) == sum(value.nbytes for value in made)


def test_a_call_with_nested_tensors_is_recorded_and_goes_on_as_before(tmp_path: Any, fresh_imports: Any) -> None:
    (tmp_path / "nested_call.py").write_text(
        "import torch.nn.functional as F\ndef f(q, k, v):\n    return F.scaled_dot_product_attention(q, k, v)\n"
    )
    query = torch.nested.nested_tensor(sequences([3, 5]), layout=torch.jagged).transpose(1, 2)
    plain = torch.nn.functional.scaled_dot_product_attention(query, query, query)
    with astcapture.install("nested_call:f=weights@sdpa"):
        import nested_call  # type: ignore[import-not-found]

        with astcapture.recording() as rec:
            output = nested_call.f(query, query, query)
    (value,) = rec["nested_call:f"]
    assert [tuple(one.shape) for one in value] == [(2, 3, 3), (2, 5, 5)]
    assert all(map(torch.equal, output.unbind(), plain.unbind()))
