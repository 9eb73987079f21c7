"""``reduce=`` of fused attention: computed in blocks, and equal to the same function of the written-out weights."""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

import astcapture
from astcapture.record.options import read_conversions
from astcapture.record.taking import taken
from astcapture.record.torch import blocks, stand_in
from astcapture.record.torch.attention import call_arguments
from astcapture.record.torch.attention_weights import AttentionWeights

pytestmark = pytest.mark.torch


def einops(function: str, *arguments: Any, **axes: Any) -> Any:
    return getattr(pytest.importorskip("einops"), function)(*arguments, **axes)


SOURCE = """\
import torch.nn.functional as F

def attend(q, k, v, **options):
    return F.scaled_dot_product_attention(q, k, v, **options)
"""
KEY = "fused_functions:attend"


def recorded(*tensors: torch.Tensor, install: dict[str, Any] | None = None, **options: Any) -> Any:
    """What is recorded of the weights of a call under these options of `install`."""
    weights = AttentionWeights(**call_arguments(tensors, options))
    how = read_conversions(**(install or {})).of("m", "f", "weights")
    return taken(weights, how)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks so small that every test needs many of them."""
    monkeypatch.setattr(blocks, "SMALLEST", 16)
    monkeypatch.setattr(blocks, "LARGEST", 40)


def tensors(*shapes: tuple[int, ...], dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


def written_out(q: torch.Tensor, k: torch.Tensor, allowed: Any = None, scale: float | None = None) -> torch.Tensor:
    """The weights row by row, as torch's documentation defines them; `allowed` is boolean or added, or None."""
    dtype, q, k = q.dtype, q.double(), k.double()
    if k.dim() > 2 and k.size(-3) != q.size(-3):
        k = torch.stack([k[..., head * k.size(-3) // q.size(-3), :, :] for head in range(q.size(-3))], -3)
    scores = torch.einsum("...le,...se->...ls", q, k) * (1 / math.sqrt(q.size(-1)) if scale is None else scale)
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -math.inf) if allowed.dtype == torch.bool else scores + allowed
    powers = (scores - scores.amax(-1, keepdim=True)).exp()
    return (powers / powers.sum(-1, keepdim=True)).to(dtype)


def same(one: Any, other: Any) -> bool:
    if isinstance(other, (tuple, list)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in other)
    if not isinstance(other, torch.Tensor):
        return bool(one == other)
    if type(one) is not torch.Tensor or one.dtype != other.dtype or one.shape != other.shape:
        return False
    within = {torch.float16: 2e-3, torch.bfloat16: 2e-2, torch.float32: 1e-5}.get(other.dtype, 1e-9)
    return torch.allclose(one.double(), other.double(), atol=within, rtol=within)


LAZY: dict[str, Callable[[Any], Any]] = {
    "nothing": lambda w: w,
    "mean over heads": lambda w: w.mean(1),
    "the first row of it": lambda w: w.mean(1)[:, 0],
    "mean as a function": lambda w: torch.mean(w, 1),
    "mean by keywords": lambda w: torch.mean(input=w, axis=(0, 1), keepdims=True),
    "mean over rows": lambda w: w.mean(-2),
    "mean over keys": lambda w: w.mean(dim=-1, keepdim=True),
    "mean of all": lambda w: w.mean(),
    "mean in double": lambda w: w.mean(1, dtype=torch.float64),
    "sum over batch and rows": lambda w: w.sum((0, 2)),
    "sum of all": lambda w: w.sum(),
    "amax over heads": lambda w: w.amax(1),
    "amin over rows and keys": lambda w: w.amin((-1, -2)),
    "max of all": lambda w: w.max(),
    "max over heads": lambda w: w.max(1),
    "max by keyword": lambda w: torch.max(w, dim=2, keepdim=True).values,
    "min over keys": lambda w: w.min(-1).indices,
    "mean then extreme": lambda w: w.mean(1).amax(1).sum(),
    "an index": lambda w: w[0],
    "a negative index": lambda w: w[-1, -2],
    "slices": lambda w: w[:, 1:3, ::2, 1:],
    "an ellipsis": lambda w: w[..., 0],
    "a list": lambda w: w[:, [2, 0, 0]],
    "a tensor": lambda w: w[:, :, torch.tensor([3, 1])],
    "a boolean list": lambda w: w[:, torch.tensor([True, False, True, False])],
    "a new axis": lambda w: w[:, None, 0].mean(2),
    "a slice of a list": lambda w: w[:, [3, 1, 0]][:, 1:],
    "a list of a slice": lambda w: w[:, 1:][:, [2, 0]].mean(1),
    "select": lambda w: w.select(1, 2).select(-1, 0),
    "narrow": lambda w: w.narrow(2, 1, 3).sum(1),
    "index_select": lambda w: w.index_select(-1, torch.tensor([4, 0])),
    "unbind": lambda w: w.unbind(1)[2],
    "a loop": lambda w: [head.mean(0) for head in w[0]],
    "unsqueeze": lambda w: w.unsqueeze(0).sum(2),
    "transpose": lambda w: w.transpose(1, 2).mean(-1),
    "permute": lambda w: w.permute(2, 0, 3, 1)[0].amax(-1),
    "permute by a list": lambda w: w.permute([3, 2, 1, 0])[1:3],
    "mT": lambda w: w.mT[..., 0, :],
    "topk": lambda w: w.topk(3),
    "topk of means": lambda w: torch.topk(w.mean(1), 2, -1).values,
    "argmax": lambda w: w.argmax(-1),
    "argmax over heads": lambda w: w.argmax(1, keepdim=True),
    "sort": lambda w: w.sort(-1, descending=True).values[..., :2],
    "elements": lambda w: (w * 2 + 1).log().mean(1),
    "entropy": lambda w: -(w * w.clamp_min(1e-12).log()).sum(-1),
    "entropy by its name": lambda w: torch.special.entr(w).sum(-1).mean((0, 2)),
    "a threshold": lambda w: (w > 0.2).sum(-1),
    "another dtype": lambda w: w.to(torch.float32).mean(1),
    "several": lambda w: {"rows": w.mean(1)[:, 0], "both": (w.amax(-1), [w.sum((1, 3))])},
    "einops": lambda w: einops("reduce", w, "b h q k -> b q k", "mean"),
    "einops, two axes": lambda w: einops("reduce", w, "b h q k -> q k", "max"),
    "einops, rearranged": lambda w: einops("rearrange", w.mean(1), "b q k -> q b k"),
    "its shape": lambda w: (w.shape, w.size(1), w.dim(), w.ndim, w.dtype, len(w), w.numel(), str(w.device)),
    "a number": lambda w: float(w.mean().item()) > 0,
}
WHOLE: dict[str, Callable[[Any], Any]] = {
    "flatten": lambda w: w.flatten(1).mean(1),
    "product": lambda w: w @ w.mT,
    "rollout": lambda w: torch.eye(5, dtype=w.dtype) + w.mean(1),
    "einsum": lambda w: torch.einsum("bhqk->bk", w),
    "stack": lambda w: torch.stack([w[:, 0], w[:, 1]]),
    "quantile": lambda w: w.double().quantile(0.5, dim=-1),
    "numpy": lambda w: w.float().numpy().sum(),
    "tolist": lambda w: torch.tensor(w.tolist(), dtype=w.dtype),
    "in place": lambda w: w.mul_(2),
    "an item that is set": lambda w: (w.__setitem__((0, 0), 0), w)[1],
    "a view that is changed": lambda w: (w[:, 0].zero_(), w.mean(1))[1],
    "a mean before a change": lambda w: (w.mean(1), w.zero_()),
    "a view of what is changed": lambda w: (w[0], w[1], w.zero_())[0],
    "a copy of what is changed": lambda w: (w.clone(), w.zero_())[0],
    "an operator in place": lambda w: augmented(w),
    "two indices": lambda w: w[:, [0, 1], [1, 2]],
    "a two-dimensional mask": lambda w: w[0, 0][torch.eye(5, dtype=torch.bool)],
    "diagonal": lambda w: w.diagonal(dim1=-2, dim2=-1).mean(-1),
    "einops with a made axis": lambda w: einops("reduce", w, "b (g h) q k -> b g q k", "mean", g=2),
    "out": lambda w: torch.add(w, 1, out=torch.empty_like(w, dtype=w.dtype)),
}


def augmented(w: Any) -> Any:
    w *= 2
    return w


@pytest.mark.parametrize("case", [*LAZY, *WHOLE])
def test_a_function_gives_what_it_gives_of_the_written_out_weights(case: str, small_blocks: None) -> None:
    reduce = {**LAZY, **WHOLE}[case]
    q, k, v = tensors((2, 4, 5, 6), (2, 4, 5, 6), (2, 4, 5, 6))
    value = recorded(q, k, v, install={"reduce": reduce})
    assert same(value, reduce(written_out(q, k)))


@pytest.mark.parametrize("case", [case for case in LAZY if case != "nothing"])
def test_a_function_that_selects_or_reduces_never_has_the_whole_map(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    derived: list[bool] = []  # of what is computed, whether it comes from something else
    compute = stand_in.State.whole
    monkeypatch.setattr(stand_in.State, "whole", lambda state: (derived.append(bool(state.sources)), compute(state))[1])
    recorded(*tensors((2, 4, 5, 6), (2, 4, 5, 6), (2, 4, 5, 6)), install={"reduce": LAZY[case]})
    assert all(derived)


KINDS: dict[str, tuple[tuple[tuple[int, ...], tuple[int, ...]], dict[str, Any]]] = {
    "three axes": (((3, 5, 6), (3, 7, 6)), {}),
    "two axes": (((5, 6), (7, 6)), {}),
    "five axes": (((2, 2, 3, 5, 6), (2, 2, 3, 7, 6)), {}),
    "grouped": (((2, 6, 5, 4), (2, 2, 7, 4)), {"enable_gqa": True}),
    "one head of keys": (((2, 6, 5, 4), (2, 1, 7, 4)), {"enable_gqa": True}),
    "keys for all of the batch": (((2, 3, 5, 4), (1, 3, 7, 4)), {}),
    "a query for all of the batch": (((1, 3, 5, 4), (2, 3, 7, 4)), {}),
    "a scale": (((2, 3, 5, 4), (2, 3, 7, 4)), {"scale": 0.3}),
    "causal": (((2, 3, 7, 4), (2, 3, 7, 4)), {"is_causal": True}),
    "causal with more keys": (((2, 3, 4, 4), (2, 3, 7, 4)), {"is_causal": True}),
    "a boolean mask": (((2, 3, 5, 4), (2, 3, 7, 4)), {"attn_mask": "bool 5 7"}),
    "a mask for each sequence": (((2, 3, 5, 4), (2, 3, 7, 4)), {"attn_mask": "bool 2 1 1 7"}),
    "a mask for each head": (((2, 3, 5, 4), (2, 3, 7, 4)), {"attn_mask": "float 3 5 7"}),
    "a mask of one row": (((2, 3, 5, 4), (2, 3, 7, 4)), {"attn_mask": "float 1 7"}),
    "one query": (((2, 3, 1, 4), (2, 3, 7, 4)), {}),
}


def arguments(kind: str, dtype: torch.dtype) -> tuple[list[torch.Tensor], dict[str, Any], torch.Tensor]:
    """The tensors of a call, its options, and its weights."""
    (query, key), options = KINDS[kind]
    q, k, v = tensors(query, key, key, dtype=dtype)
    options = dict(options)
    allowed: Any = None
    if "attn_mask" in options:
        name, *shape = options["attn_mask"].split()
        (drawn,) = tensors(tuple(map(int, shape)), dtype=dtype)
        allowed = options["attn_mask"] = drawn if name == "float" else (drawn > 0).index_fill(-1, torch.tensor(0), True)
    if options.get("is_causal"):
        allowed = torch.ones(q.size(-2), k.size(-2), dtype=torch.bool).tril()
    return [q, k, v], options, written_out(q, k, allowed, options.get("scale"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_call_is_computed_in_blocks(kind: str, dtype: torch.dtype, small_blocks: None) -> None:
    given, options, expected = arguments(kind, dtype)
    value = recorded(*given, **options)
    assert same(value, expected)
    for reduce in (lambda w: w.mean(-3)[..., 0, :] if w.dim() > 2 else w[0], lambda w: w.sum(-2), lambda w: w.mean()):
        value = recorded(*given, install={"reduce": reduce}, **options)
        assert same(value, reduce(expected))


def test_a_mask_of_torchs_own_causal_kind_is_computed_in_blocks(small_blocks: None) -> None:
    bias = pytest.importorskip("torch.nn.attention.bias").causal_lower_right(3, 5)
    q, k, v = tensors((1, 2, 3, 8), (1, 2, 5, 8), (1, 2, 5, 8))
    allowed = torch.ones(3, 5, dtype=torch.bool).tril(2)
    assert same(recorded(q, k, v, attn_mask=bias), written_out(q, k, allowed))


@pytest.mark.parametrize("install", [{}, {"reduce": lambda w: w.mean(1)}, {"reduce": lambda w: w.flatten()}])
def test_options_convert_what_comes_out(install: dict[str, Any], small_blocks: None) -> None:
    q, k, v = tensors((2, 4, 5, 6), (2, 4, 5, 6), (2, 4, 5, 6))
    value = recorded(q, k, v, install={**install, "dtype": "float16", "device": "cpu"})
    expected = install.get("reduce", lambda w: w)(written_out(q, k))
    assert same(value, expected.to(torch.float16))


def test_what_a_function_keeps_for_itself_is_what_the_weights_were() -> None:
    kept: list[Any] = []
    q, k, v = tensors((2, 4, 5, 6), (2, 4, 5, 6), (2, 4, 5, 6))
    expected = written_out(q, k)
    recorded(q, k, v, install={"reduce": lambda w: kept.extend([w, w.mean(1)])})
    q.zero_()
    assert torch.allclose(kept[0] * 1, expected)
    assert torch.allclose(kept[1] + 0, expected.mean(1))


def test_an_error_of_the_function_is_told_and_reaches_nobody(tmp_path: Path, fresh_imports: Any) -> None:
    (tmp_path / "fused_functions.py").write_text(SOURCE)
    q, k, v = tensors((2, 4, 5, 6), (2, 4, 5, 6), (2, 4, 5, 6))
    with astcapture.install("fused_functions:attend=weights@sdpa", reduce=lambda w: w.mean(7)):
        module = importlib.import_module("fused_functions")
        with astcapture.recording() as rec:
            output = module.attend(q, k, v)
        (count,) = rec.counts.values()
    assert output.shape == q.shape
    assert (count.failed, (count.error or "").partition(":")[0]) == (1, "IndexError")


# Memory.


def peak(call: Callable[[], Any]) -> int:
    """The most bytes that torch has had allocated at once, as its profiler sees them."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        call()
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    most = held = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


LENGTH, HEADS = 1024, 8
MAP = HEADS * LENGTH * LENGTH * 4


@pytest.mark.parametrize(
    ("reduce", "of_the_map"),
    [
        (lambda w: w.mean(1)[:, 0], 0.2),
        (lambda w: w.mean((1, 2)), 0.2),
        (lambda w: w.sum(), 0.2),
        (lambda w: w[:, 3, 5], 0.2),
        (lambda w: w.topk(4), 0.2),
        (lambda w: einops("reduce", w, "b h q k -> b k", "mean"), 0.2),
        (lambda w: w.mean(1), 1 / HEADS + 0.2),
        (None, 1.2),
    ],
)
def test_the_whole_map_never_exists_where_a_part_of_it_is_wanted(reduce: Any, of_the_map: float) -> None:
    q, k, v = tensors(*[(1, HEADS, LENGTH, 16)] * 3, dtype=torch.float32)
    plain = peak(lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v))
    used = peak(lambda: recorded(q, k, v, install={"reduce": reduce}))
    assert used - plain <= of_the_map * MAP


@pytest.mark.parametrize("reduce", [None, lambda w: w.flatten(), lambda w: w * 1])
def test_nothing_is_computed_for_which_there_is_no_room(reduce: Any, tmp_path: Path, fresh_imports: Any) -> None:
    (tmp_path / "fused_functions.py").write_text(SOURCE)
    q, k, v = tensors(*[(1, HEADS, LENGTH, 16)] * 3, dtype=torch.float32)
    with (
        astcapture.install("fused_functions:attend=weights@sdpa", reduce=reduce, limit="2MB"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        module = importlib.import_module("fused_functions")
        plain = peak(lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v))
        with astcapture.recording() as rec:
            assert peak(lambda: module.attend(q, k, v)) <= plain + 0.2 * MAP
        (count,) = rec.counts.values()
    assert (count.left_out, count.failed) == (1, 0)
    assert len(rec[KEY]) == 0


def test_once_recording_has_stopped_no_weights_are_computed(
    tmp_path: Path, fresh_imports: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from astcapture.record.torch import attention

    (tmp_path / "fused_functions.py").write_text(SOURCE)
    q, k, v = tensors(*[(1, 2, 64, 16)] * 3, dtype=torch.float32)
    real, computed = attention.attention_weights, []
    monkeypatch.setattr(attention, "attention_weights", lambda **given: computed.append(1) or real(**given))
    with astcapture.install("fused_functions:attend=weights@sdpa", limit="120KB"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = importlib.import_module("fused_functions")
        with astcapture.recording() as rec:
            for _ in range(20):
                module.attend(q, k, v)
        (count,) = rec.counts.values()
    assert len(computed) == len(rec[KEY]) == 3
    assert count.left_out == 17


# Nothing of it is seen.


@pytest.mark.parametrize("reduce", [None, lambda w: w.mean(1)[:, 0], lambda w: w.topk(2).values])
def test_no_mode_of_the_users_sees_what_is_computed(reduce: Any, small_blocks: None) -> None:
    from torch.overrides import TorchFunctionMode
    from torch.utils.flop_counter import FlopCounterMode

    class Seen(TorchFunctionMode):
        names: list[str] = []  # noqa: RUF012

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.names.append(getattr(func, "__name__", ""))
            return func(*args, **(kwargs or {}))

    given = tensors(*[(2, 4, 5, 6)] * 3)
    expected = written_out(*given[:2])
    with FlopCounterMode(display=False) as flops, Seen() as seen:
        value = recorded(*given, install={"reduce": reduce})
    assert same(value, reduce(expected) if reduce else expected)
    assert flops.get_total_flops() == 0
    assert not {"matmul", "_safe_softmax", "softmax"} & set(seen.names)


def test_a_class_of_tensors_of_the_users_is_not_asked(small_blocks: None) -> None:
    class Named(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            assert getattr(func, "__name__", "") not in ("matmul", "__getitem__", "float")
            return super().__torch_function__(func, types, args, kwargs or {})

    q, k, v = tensors((2, 4, 5, 6), (2, 4, 5, 6), (2, 4, 5, 6))
    value = recorded(q.as_subclass(Named), k, v)
    assert same(value, written_out(q, k))
