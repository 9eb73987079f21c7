"""The weights of flex attention, eager and compiled, against attention written out and the output of the call."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

import astcapture
from astcapture.record.torch.blocks import evaluate
from astcapture.record.torch.call_weights import CallWeights, Scored
from astcapture.record.torch.fused_calls import parts_of

Call = Callable[..., Any]

CALLERS = """
    import torch
    from functools import partial
    from torch.nn.attention.flex_attention import flex_attention, AuxRequest

    compiled = torch.compile(flex_attention)

    def plain(q, k, v, **options):
        return flex_attention(q, k, v, **options)

    def by_compiled(q, k, v, **options):
        return compiled(q, k, v, **options)

    def compiled_here(q, k, v, **options):
        return torch.compile(flex_attention)(q, k, v, **options)

    def partly(q, k, v, **options):
        attend = partial(flex_attention, **options)
        return attend(q, k, v)

    def after(q, k, v, **options):
        doubled = q * 2
        out = flex_attention(doubled, k, v, **options)
        tripled = k * 3
        return out, tripled

    def with_more(q, k, v, **options):
        return flex_attention(q, k, v, return_aux=AuxRequest(lse=True), **options)

    class Bias(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bias = torch.nn.Parameter(torch.linspace(-1, 1, 4), requires_grad=False)

        def forward(self, q, k, v):
            strength = q.mean((0, 2, 3))

            def score_mod(score, b, h, i, j):
                return score + self.bias[h] * (i - j) + strength[h]

            return flex_attention(q, k, v, score_mod=score_mod)
    """


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Torch advises to compile flex attention; which is what some tests leave out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    torch._dynamo.reset()


@pytest.fixture
def callers(make_package: Callable[..., Path], fresh_imports: None) -> Iterator[Callable[..., Any]]:
    hooks = []

    def write(captured: str = "*=weights@sdpa", **options: Any) -> Any:
        make_package({"flexible.py": CALLERS})
        hooks.append(astcapture.install(f"flexible:{captured}", **options))
        return importlib.import_module("flexible")

    yield write
    for hook in hooks:
        hook.uninstall()


def values() -> list[Any]:
    return [one for records in astcapture.cache.values() for one in records]


SCALE = torch.tensor([0.5, 1.0, -0.5, 0.0])
LENGTHS = torch.tensor([20, 30])


def relative(score: Tensor, b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
    return score + SCALE[h] * (i - j).abs() * 0.1


def capped(score: Tensor, b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
    return 2 * torch.tanh(score / 2)


def causal(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
    return i + 8 >= j


def padded(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
    return j < LENGTHS[b]


def nothing_for_some(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
    return (i + h) % 3 != 0


L, S = 24, 32
MASKS: dict[str, Call | None] = {"no mask": None, "causal": causal, "padded": padded, "empty rows": nothing_for_some}
MODS: dict[str, Call | None] = {"no score_mod": None, "relative": relative, "capped": capped}


def tensors(heads: int = 4, shared: int = 4, batch: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = (batch, heads, L, 16), (batch, shared, S, 16), (batch, shared, S, 16)
    return [torch.randn(*shape, generator=generator) for shape in shapes]


def written_out(q: Tensor, k: Tensor, score_mod: Any, mask_mod: Any, scale: float | None) -> Tensor:
    """The weights, one number after the other."""
    k = k.repeat_interleave(q.shape[1] // k.shape[1], 1)
    made = torch.zeros(*q.shape[:3], k.shape[2])
    scores = (q @ k.mT) * (q.shape[-1] ** -0.5 if scale is None else scale)
    for b, h, i in torch.cartesian_prod(*map(torch.arange, q.shape[:3])):
        keys = [j for j in torch.arange(k.shape[2]) if mask_mod is None or mask_mod(b, h, i, j)]
        row = [scores[b, h, i, j] if score_mod is None else score_mod(scores[b, h, i, j], b, h, i, j) for j in keys]
        if keys:
            made[b, h, i, torch.stack(keys)] = torch.stack(row).softmax(0)
    return made


def options_of(score_mod: Any, mask_mod: Any, heads: int | None = None) -> dict[str, Any]:
    mask = None if mask_mod is None else create_block_mask(mask_mod, 2, 4, L, S, device="cpu", BLOCK_SIZE=16)
    return {"score_mod": score_mod, "block_mask": mask}


@pytest.mark.cases(4)
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("score_mod", MODS.values(), ids=MODS)
@pytest.mark.parametrize(("shared", "scale"), [(4, None), (2, 0.3)])
def test_the_weights_are_the_written_out_ones(
    score_mod: Any, mask: Any, shared: int, scale: float | None, callers: Any
) -> None:
    q, k, v = tensors(shared=shared)
    out = callers().plain(q, k, v, enable_gqa=shared < 4, scale=scale, **options_of(score_mod, mask))
    (weights,) = values()
    torch.testing.assert_close(weights, written_out(q, k, score_mod, mask, scale), rtol=0, atol=1e-6)
    assert torch.allclose(weights @ v.repeat_interleave(4 // shared, 1), out, atol=1e-5)


@pytest.mark.cases(1)
@pytest.mark.parametrize("name", ["by_compiled", "compiled_here", "partly"])
def test_compiled_functions_and_partials_are_flex_attention(name: str, callers: Any) -> None:
    q, k, v = tensors()
    out = getattr(callers(), name)(q, k, v, **options_of(relative, causal))
    (weights,) = values()
    assert torch.allclose(weights @ v, out, atol=1e-5)
    torch.testing.assert_close(weights, written_out(q, k, relative, causal, None), rtol=0, atol=1e-6)


@pytest.mark.cases(2)
@pytest.mark.parametrize("backend", ["eager", "inductor"])
@pytest.mark.parametrize("name", ["plain", "by_compiled", "partly"])
@pytest.mark.parametrize("kind", ["nothing", "score_mod", "mask", "both"])
def test_inside_of_a_compiled_function_they_are_the_same(name: str, kind: str, backend: str, callers: Any) -> None:
    q, k, v = tensors(shared=2)
    score_mod = relative if kind in ("score_mod", "both") else None
    mask = padded if kind in ("mask", "both") else None
    options = {"enable_gqa": True, **options_of(score_mod, mask)}
    call = torch.compile(getattr(callers("*=weights@sdpa,output@sdpa"), name), fullgraph=True, backend=backend)
    with astcapture.pause():
        plain = call(q, k, v, **options)
    outputs = [call(q, k, v, **options) for _ in range(2)]
    weights, output = (astcapture.cache[f"flexible:{name}"][label] for label in ("weights", "output"))
    assert len(weights) == len(output) == 2
    for one, out, kept in zip(weights, outputs, output, strict=True):
        assert torch.equal(out, plain) and torch.equal(kept, plain)
        torch.testing.assert_close(one, written_out(q, k, score_mod, mask, None), rtol=0, atol=1e-6)


def test_what_a_score_mod_reads_is_kept_from_inside_of_the_graph(callers: Any) -> None:
    """A parameter of the module, and a tensor that the graph computes."""
    model = callers("Bias.forward=weights@sdpa").Bias()
    q, k, v = tensors()
    eager = model(q, k, v)
    out = torch.compile(model, fullgraph=True, backend="aot_eager")(q, k, v)
    assert torch.allclose(out, eager, atol=1e-6)
    first, second = values()
    torch.testing.assert_close(first, second, rtol=0, atol=1e-6)
    assert torch.allclose(second @ v, out, atol=1e-5)
    assert [record.layer for record in astcapture.cache["Bias.forward"].records] == ["", ""]


@pytest.mark.parametrize("backend", ["eager", "inductor"])
def test_values_before_and_after_the_call_are_recorded_in_compiled_code(backend: str, callers: Any) -> None:
    q, k, v = tensors()
    call = torch.compile(
        callers("after=doubled@assign,weights@sdpa,out@assign,tripled@assign").after, fullgraph=True, backend=backend
    )
    out, tripled = call(q, k, v)
    records = astcapture.cache["after"]
    assert [one.label for one in records.records] == ["doubled", "weights", "out", "tripled"]
    assert torch.equal(records["doubled"][0], q * 2)
    assert torch.equal(records["out"][0], out) and torch.equal(records["tripled"][0], tripled)
    assert torch.allclose(records["weights"][0] @ v, out, atol=1e-5)


def test_the_output_is_the_tensor_whatever_else_is_asked_for(callers: Any) -> None:
    module = callers("with_more=weights@sdpa,output@sdpa,scale@sdpa,query@sdpa,attn_mask@sdpa")
    q, k, v = tensors()
    options = options_of(None, causal)
    out, more = module.with_more(q, k, v, scale=0.4, **options)
    taken = {record.label: record.value for record in astcapture.cache["with_more"].records}
    assert torch.equal(taken["output"], out) and more.lse is not None
    assert torch.equal(taken["query"], q) and taken["scale"] == 0.4
    assert isinstance(taken["attn_mask"], BlockMask)
    assert torch.allclose(taken["weights"] @ v, out, atol=1e-5)


@pytest.mark.parametrize("name", ["plain", "by_compiled"])
def test_blocks_that_no_mask_describes_are_left_out_as_the_kernel_leaves_them_out(name: str, callers: Any) -> None:
    """Compiled, flex attention computes the listed blocks; eager, torch asks the mask alone."""
    count = torch.tensor([[[1, 2]]], dtype=torch.int32)
    index = torch.tensor([[[[1, 0], [0, 1]]]], dtype=torch.int32)
    mask = BlockMask.from_kv_blocks(count, index, BLOCK_SIZE=16, seq_lengths=(L, S))
    q, k, v = tensors()
    out = getattr(callers(), name)(q, k, v, block_mask=mask)
    (weights,) = values()
    assert torch.allclose(weights @ v, out, atol=1e-5)
    assert bool((weights[:, :, :16, :16] == 0).all()) == (name == "by_compiled")


@pytest.mark.parametrize("most", [1, 200, 4000])
def test_they_are_computed_in_blocks_of_heads_and_rows(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, _ = tensors(shared=2)
    given = {"query": q, "key": k, "value": k, "enable_gqa": True, **options_of(relative, padded)}
    blocks = CallWeights("flex", parts_of("flex", given)).blocks()
    blocks.most = most
    computed = []
    block = blocks.block
    monkeypatch.setattr(blocks, "block", lambda region: computed.append(blocks.cost(region)) or block(region))
    torch.testing.assert_close(evaluate(blocks), written_out(q, k, relative, padded, None), rtol=0, atol=1e-6)
    assert max(computed) <= max(most, S)


def test_a_reduction_never_has_the_whole_map_and_without_room_nothing_is_computed(callers: Any) -> None:
    module = callers(reduce=lambda weights: weights[:, 1:3].mean(1)[:, -5:])
    q, k, v = tensors()
    module.plain(q, k, v, score_mod=relative)
    (value,) = values()
    whole = written_out(q, k, relative, None, None)
    torch.testing.assert_close(value, whole[:, 1:3].mean(1)[:, -5:], rtol=0, atol=1e-6)


def test_above_the_limit_nothing_is_computed(callers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    computed = []
    block = Scored.block
    monkeypatch.setattr(Scored, "block", lambda self, region: computed.append(region) or block(self, region))
    q, k, v = tensors()
    module = callers(limit=1000)
    with pytest.warns(astcapture.CaptureWarning, match="limit"):
        module.plain(q, k, v, score_mod=relative)
    assert not values() and not computed


def test_the_gradient_of_the_weights_is_that_of_attention_written_out() -> None:
    """On CPU flex attention has no backward, so the gradient of its output is made up."""
    q, k, v = tensors(shared=2)
    given = {"query": q, "key": k, "value": v, "enable_gqa": True, **options_of(relative, None)}
    weights = written_out(q, k, relative, None, None).requires_grad_()
    out = weights @ v.repeat_interleave(2, 1)
    gradient = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    (wanted,) = torch.autograd.grad(out, weights, gradient)
    blocks = CallWeights("flex", parts_of("flex", given)).for_gradient().of_gradient(gradient, v)
    torch.testing.assert_close(evaluate(blocks), wanted, rtol=0, atol=1e-5)


def test_no_mode_sees_it_and_random_numbers_and_output_stay(callers: Any) -> None:
    """Flex attention itself does not run in a mode; what is computed from its arguments does, unseen."""
    module = callers()
    q, k, v = tensors()
    options = options_of(relative, padded)
    seen = []

    class Log(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(str(func))
            return func(*args, **(kwargs or {}))

    outputs = []
    for recording in (True, False):
        torch.manual_seed(0)
        with nullcontext() if recording else astcapture.pause():
            outputs.append((module.plain(q, k, v, **options), torch.rand(3)))
    assert all(map(torch.equal, *outputs))
    with Log():
        made = evaluate(CallWeights("flex", parts_of("flex", {"query": q, "key": k, "value": v, **options})).blocks())
    assert torch.equal(made, values()[0])
    assert not seen


def test_under_a_checkpoint_a_map_is_recorded_once(callers: Any) -> None:
    module = callers()
    q, k, v = tensors()
    weight = nn.Parameter(torch.ones(()))

    def run(q: Tensor) -> Tensor:
        with torch.no_grad():
            out = module.plain(q, k, v)
        result: Tensor = out * weight
        return result

    checkpoint(run, q, use_reentrant=False).sum().backward()
    assert len(values()) == 1
