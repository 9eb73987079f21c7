"""The weights of flash attention and xformers, against attention written out query by query.

The libraries need a GPU. `fused_libraries` has stand-ins with their documented signatures.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import astcapture

Call = Callable[..., Any]
LIBRARIES = Path(__file__).parent / "fused_libraries"


@pytest.fixture
def caller(
    make_package: Callable[..., Path], fresh_imports: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Call]]:
    """Writes a module with a function that calls one of a library, and captures there."""
    hooks = []

    def write(library: str, module: str, name: str, captured: str = "weights@sdpa", **options: Any) -> Call:
        source = f"""
            from {module} import {name}

            def caller(*args, **options):
                return {name}(*args, **options)
            """
        monkeypatch.syspath_prepend(str(LIBRARIES / library))
        monkeypatch.syspath_prepend(str(LIBRARIES))
        make_package({"callers.py": source})
        hooks.append(astcapture.install(f"callers:caller={captured}", **options))
        found: Call = importlib.import_module("callers").caller
        return found

    yield write
    for hook in hooks:
        hook.uninstall()


def captured(label: str = "weights") -> Any:
    (value,) = astcapture.cache["callers:caller"][label]
    return value


def expected(rows: int | None = None, columns: int | None = None) -> Tensor:
    """The maps of the last call of a stand-in, one for each sequence, with zeros around those that are shorter."""
    maps = [one.detach() for one in sys.modules["written_out"].seen]
    rows, columns = rows or max(one.shape[1] for one in maps), columns or max(one.shape[2] for one in maps)
    made = torch.zeros(len(maps), maps[0].shape[0], rows, columns)
    for number, one in enumerate(maps):
        made[number, :, : one.shape[1], : one.shape[2]] = one
    return made


def tensors(*shapes: tuple[int, ...], seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator) for shape in shapes]


def check(rows: int | None = None, columns: int | None = None) -> None:
    torch.testing.assert_close(captured(), expected(rows, columns), rtol=0, atol=1e-6)


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "causal": {"causal": True},
    "window": {"window_size": (2, 1)},
    "causal window": {"causal": True, "window_size": (2, 2)},
    "soft cap": {"softcap": 0.7, "causal": True},
    "scale": {"softmax_scale": 0.2},
}
SLOPES = {"for all": (4,), "for each of the batch": (2, 4)}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize(("queries", "keys"), [(5, 5), (2, 6), (6, 2)])
@pytest.mark.parametrize(("library", "module"), [("two", "flash_attn"), ("three", "flash_attn_interface")])
def test_of_each_version_and_option_the_map_is_the_written_out_one(
    library: str, module: str, queries: int, keys: int, options: dict[str, Any], caller: Any
) -> None:
    call = caller(library, module, "flash_attn_func")
    q, k, v = tensors((2, queries, 4, 8), (2, keys, 2, 8), (2, keys, 2, 8))
    out = call(q, k, v, **options)
    check()
    assert out.shape == q.shape


@pytest.mark.parametrize("shape", SLOPES.values(), ids=SLOPES)
@pytest.mark.parametrize("causal", [False, True])
def test_alibi_slopes_lower_the_scores_of_keys_that_are_far(shape: tuple[int, ...], causal: bool, caller: Any) -> None:
    call = caller("two", "flash_attn", "flash_attn_func")
    q, k, v, slopes = tensors((2, 3, 4, 8), (2, 5, 4, 8), (2, 5, 4, 8), shape)
    call(q, k, v, causal=causal, alibi_slopes=slopes.abs())
    check()


@pytest.mark.parametrize(("library", "module"), [("two", "flash_attn"), ("three", "flash_attn_interface")])
def test_packed_query_key_and_value_are_taken_apart(library: str, module: str, caller: Any) -> None:
    call = caller(library, module, "flash_attn_qkvpacked_func", "weights@sdpa,query@sdpa,key@sdpa,value@sdpa")
    (qkv,) = tensors((2, 5, 3, 4, 8))
    call(qkv, causal=True)
    check()
    for number, name in enumerate(("query", "key", "value")):
        assert torch.equal(captured(name), qkv[:, :, number])


def test_version_3_packs_fewer_heads_of_keys(caller: Any) -> None:
    call = caller("three", "flash_attn_interface", "flash_attn_qkvpacked_func")
    (qkv,) = tensors((2, 5, 4 + 2 + 2, 8))
    call(qkv, num_heads_q=4)
    check()


def test_packed_key_and_value_are_taken_apart(caller: Any) -> None:
    call = caller("two", "flash_attn", "flash_attn_kvpacked_func")
    q, kv = tensors((2, 3, 4, 8), (2, 5, 2, 2, 8))
    call(q, kv, causal=True)
    check()


def starts(*lengths: int) -> Tensor:
    return torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize(("library", "module"), [("two", "flash_attn"), ("three", "flash_attn_interface")])
def test_packed_sequences_have_one_map_each_with_zeros_behind_the_shorter_ones(
    library: str, module: str, options: dict[str, Any], caller: Any
) -> None:
    call = caller(library, module, "flash_attn_varlen_func")
    q, k, v = tensors((3 + 1 + 4, 4, 8), (3 + 5 + 2, 2, 8), (3 + 5 + 2, 2, 8))
    call(q, k, v, starts(3, 1, 4), starts(3, 5, 2), 4, 5, **options)
    check()
    assert captured().shape == (3, 4, 4, 5)


def test_packed_sequences_with_packed_keys_and_with_everything_packed(caller: Any) -> None:
    call = caller("two", "flash_attn", "flash_attn_varlen_kvpacked_func")
    q, kv = tensors((7, 4, 8), (8, 2, 2, 8))
    call(q, kv, starts(3, 4), starts(5, 3), 4, 5, causal=True)
    check()


def test_packed_sequences_of_one_tensor(caller: Any) -> None:
    call = caller("two", "flash_attn", "flash_attn_varlen_qkvpacked_func")
    (qkv,) = tensors((7, 3, 4, 8))
    call(qkv, starts(3, 4), 4, causal=True, alibi_slopes=torch.rand(2, 4))
    check()


def test_packed_sequences_of_which_only_a_part_is_used(caller: Any) -> None:
    call = caller("three", "flash_attn_interface", "flash_attn_varlen_func")
    q, k, v = tensors((7, 4, 8), (9, 2, 8), (9, 2, 8))
    used = torch.tensor([2, 4]), torch.tensor([5, 1])
    call(q, k, v, starts(3, 4), starts(6, 3), 4, 6, *used, causal=True)
    check(rows=4, columns=6)


def test_keys_in_pages(caller: Any) -> None:
    call = caller("two", "flash_attn", "flash_attn_varlen_func")
    q, k, v = tensors((5, 4, 8), (6, 4, 2, 8), (6, 4, 2, 8))
    pages = torch.tensor([[4, 0], [1, 5]], dtype=torch.int32)
    call(q, k, v, starts(3, 2), starts(7, 5), 3, 7, causal=True, block_table=pages)
    check(columns=8)


CACHES: dict[str, dict[str, Any]] = {
    "whole": {},
    "of one length": {"cache_seqlens": 5},
    "of several lengths": {"cache_seqlens": torch.tensor([3, 6], dtype=torch.int32)},
    "causal": {"cache_seqlens": torch.tensor([3, 6], dtype=torch.int32), "causal": True},
    "of other rows": {"cache_batch_idx": torch.tensor([2, 0], dtype=torch.int32), "cache_seqlens": 4},
    "padded on the left": {"cache_leftpad": torch.tensor([1, 2], dtype=torch.int32), "cache_seqlens": 5},
    "left and whole": {"cache_leftpad": torch.tensor([1, 2], dtype=torch.int32), "causal": True},
}


@pytest.mark.parametrize("options", CACHES.values(), ids=CACHES)
def test_a_cache(options: dict[str, Any], caller: Any) -> None:
    call = caller("two", "flash_attn", "flash_attn_with_kvcache")
    q, k, v = tensors((2, 2, 4, 8), (3 if "cache_batch_idx" in options else 2, 8, 2, 8), (3, 8, 2, 8))
    call(q, k, v[: len(k)], **options)
    check(columns=8)


@pytest.mark.parametrize("interleaved", [True, False])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("rotary", [True, False])
def test_a_cache_that_the_call_extends(rotary: bool, causal: bool, interleaved: bool, caller: Any) -> None:
    call = caller("two", "flash_attn", "flash_attn_with_kvcache")
    q, cache, values, k, v = tensors((2, 2, 4, 8), (2, 8, 2, 8), (2, 8, 2, 8), (2, 2, 2, 8), (2, 2, 2, 8))
    angles = torch.rand(16, 3)
    turned = {"rotary_cos": angles.cos(), "rotary_sin": angles.sin(), "rotary_interleaved": interleaved}
    lengths = torch.tensor([3, 5], dtype=torch.int32)
    call(q, cache, values, k, v, cache_seqlens=lengths, causal=causal, **(turned if rotary else {}))
    check(columns=8)


def test_a_cache_in_pages_that_the_call_extends(caller: Any) -> None:
    call = caller("two", "flash_attn", "flash_attn_with_kvcache")
    q, cache, values, k, v = tensors((2, 1, 4, 8), (6, 4, 2, 8), (6, 4, 2, 8), (2, 1, 2, 8), (2, 1, 2, 8))
    pages = torch.tensor([[4, 0], [1, 5]], dtype=torch.int32)
    call(q, cache, values, k, v, cache_seqlens=torch.tensor([3, 6]), causal=True, block_table=pages)
    check(columns=8)


def test_version_3_takes_packed_queries_and_pages_for_a_cache(caller: Any) -> None:
    call = caller("three", "flash_attn_interface", "flash_attn_with_kvcache")
    q, cache, values = tensors((4, 4, 8), (6, 4, 2, 8), (6, 4, 2, 8))
    pages = torch.tensor([[4, 0], [1, 5]], dtype=torch.int32)
    options = {"cu_seqlens_q": starts(3, 1), "max_seqlen_q": 3, "page_table": pages, "causal": True}
    call(q, cache, values, cache_seqlens=torch.tensor([3, 6]), **options)
    check(columns=8)


def test_an_argument_that_changes_the_weights_in_an_unknown_way_is_an_error_that_names_it(caller: Any) -> None:
    call = caller("three", "flash_attn_interface", "flash_attn_func")
    q, k, v = tensors((1, 3, 2, 8), (1, 3, 2, 8), (1, 3, 2, 8))
    call(q, k, v, attention_chunk=2)
    assert not len(astcapture.cache["callers:caller"])
    assert "the call uses attention_chunk=, whose effect" in str(astcapture.cache.summary())


def test_the_output_is_the_first_thing_that_the_call_returns(caller: Any) -> None:
    call = caller("two", "flash_attn", "flash_attn_func", "output@sdpa,is_causal@sdpa,dropout_p@sdpa")
    q, k, v = tensors((1, 3, 2, 8), (1, 3, 2, 8), (1, 3, 2, 8))
    out, *rest = call(q, k, v, 0.5, None, True, return_attn_probs=True)
    assert torch.equal(captured("output"), out) and len(rest) == 2
    assert (captured("is_causal"), captured("dropout_p")) == (True, 0.5)


def test_nothing_of_the_call_changes_and_no_mode_sees_what_is_computed(caller: Any) -> None:
    call = caller("two", "flash_attn", "flash_attn_varlen_func")
    q, k, v = tensors((7, 4, 8), (7, 4, 8), (7, 4, 8))
    arguments = (q, k, v, starts(3, 4), starts(3, 4), 4, 4)
    seen: list[list[str]] = []

    class Log(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen[-1].append(str(func))
            return func(*args, **(kwargs or {}))

    outputs = []
    for recording in (True, False):
        seen.append([])
        torch.manual_seed(0)
        with nullcontext() if recording else astcapture.pause(), Log():
            outputs.append((call(*arguments, causal=True), torch.rand(3)))
    assert seen[0] == seen[1]
    assert all(map(torch.equal, *outputs))
    assert len(astcapture.cache["callers:caller"]) == 1


@pytest.mark.parametrize("kind", ["batch", "packed"])
def test_the_gradient_is_that_of_the_written_out_weights(kind: str, caller: Any) -> None:
    name = "flash_attn_func" if kind == "batch" else "flash_attn_varlen_func"
    call = caller("two", "flash_attn", name, grad=True)
    shape = (2, 4, 4, 8) if kind == "batch" else (7, 4, 8)
    q, k, v = (one.requires_grad_() for one in tensors(shape, shape, shape))
    lengths = () if kind == "batch" else (starts(3, 4), starts(3, 4), 4, 4)
    out = call(q, k, v, *lengths)
    out.square().sum().backward()
    (record,) = astcapture.cache["callers:caller"].records
    weights = sys.modules["written_out"].seen
    wanted = torch.zeros(len(weights), 4, 4, 4)
    for number, one in enumerate(weights):
        wanted[number, :, : one.shape[1], : one.shape[2]] = one.grad
    torch.testing.assert_close(record.grad, wanted, rtol=0, atol=1e-5)


def test_a_reduction_is_computed_from_blocks(caller: Any) -> None:
    call = caller("two", "flash_attn", "flash_attn_func", reduce=lambda weights: weights.mean(1)[:, -1])
    q, k, v = tensors((2, 6, 4, 8), (2, 6, 2, 8), (2, 6, 2, 8))
    call(q, k, v, causal=True)
    torch.testing.assert_close(captured(), expected().mean(1)[:, -1], rtol=0, atol=1e-6)


# xformers


@pytest.mark.parametrize("layout", ["heads", "no heads", "groups"])
@pytest.mark.parametrize("kind", ["none", "tensor", "lower triangular", "with a tensor", "blocks"])
def test_xformers_by_its_layouts_and_biases(layout: str, kind: str, caller: Any) -> None:
    call = caller("xformers_library", "xformers.ops", "memory_efficient_attention")
    biases = importlib.import_module("xformers.ops.fmha.attn_bias")
    inner = {"heads": (4,), "no heads": (), "groups": (2, 2)}[layout]
    batch = 1 if kind == "blocks" else 2
    q, k, v = tensors((batch, 5, *inner, 8), (batch, 6, *inner, 8), (batch, 6, *inner, 8))
    if layout == "no heads" and kind == "with a tensor":
        pytest.skip("the bias has heads")
    (dense,) = tensors((batch, *inner, 5, 6), seed=1)
    bias = {
        "none": None,
        "tensor": dense,
        "lower triangular": biases.LowerTriangularMask(),
        "with a tensor": biases.LowerTriangularMaskWithTensorBias(dense if layout == "heads" else dense[:, :1, :1]),
        "blocks": biases.BlockDiagonalMask([2, 3], [4, 2]),
    }[kind]
    if layout == "groups" and kind == "with a tensor":
        pytest.skip("the stand-in has no groups in a bias")
    out = call(q, k, v, attn_bias=bias, scale=0.3)
    assert out.shape == q.shape
    torch.testing.assert_close(captured(), expected().reshape(batch, *inner, 5, 6), rtol=0, atol=1e-6)


# Ways in which it is called


def test_a_partial_and_a_disabled_function_are_the_function(make_package: Any, caller: Any) -> None:
    caller("two", "flash_attn", "flash_attn_func")
    source = """
        import torch
        from functools import partial
        from flash_attn import flash_attn_func

        def lazy():
            return flash_attn_func

        def calls(q, k, v):
            found = lazy()
            causal = partial(flash_attn_func, causal=True)
            return found(q, k, v), causal(q, k, v), torch.compiler.disable(causal)(q, k, v), len((q, k))
        """
    make_package({"ways.py": source})
    q, k, v = tensors((1, 3, 2, 8), (1, 3, 2, 8), (1, 3, 2, 8))
    with astcapture.install("ways:calls=weights@sdpa"):
        importlib.import_module("ways").calls(q, k, v)
    plain, *causal = astcapture.cache["ways:calls"]
    assert torch.equal(causal[0], causal[1]) and (causal[0].triu(1) == 0).all() and (plain > 0).all()


def test_a_function_of_the_same_name_is_not_taken_for_it(make_package: Any, fresh_imports: None) -> None:
    make_package({"own.py": "def flash_attn_func(q): return q\n\ndef caller(q):\n    return flash_attn_func(q)\n"})
    with astcapture.install("own:caller=weights@sdpa"):
        assert importlib.import_module("own").caller(3) == 3
    assert not len(astcapture.cache["own:caller"])


# In compiled code

KERNEL = """
    import torch

    def flash_attn_func(
        q, k, v, dropout_p=0.0, softmax_scale=None, causal=False, window_size=(-1, -1), softcap=0.0, alibi_slopes=None,
        attention_chunk=0,
    ):
        return torch.sigmoid(q) * v.mean(1, keepdim=True)

    def flash_attn_varlen_func(
        q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, dropout_p=0.0, softmax_scale=None,
        causal=False, window_size=(-1, -1), softcap=0.0, alibi_slopes=None,
    ):
        return torch.sigmoid(q) + v[:1]
    """
USER = """
    from functools import partial
    import torch
    from hub.flash_attn_interface import flash_attn_func, flash_attn_varlen_func

    class Attention(torch.nn.Module):
        def __init__(self, name, partly):
            super().__init__()
            self.function, self.partly = globals()[name], partly

        def forward(self, q, *args, **options):
            self_attend = flash_attn_func if self.function is flash_attn_func else flash_attn_varlen_func
            if self.partly:
                self_attend = partial(self_attend, causal=True)
            return self_attend(q * 2, *args, **options)
    """


@pytest.fixture
def compiled_user(make_package: Callable[..., Path], fresh_imports: None) -> Iterator[Any]:
    """A module that calls a copy of flash attention that torch.compile can trace; only its arguments matter here."""
    make_package({"hub/__init__.py": "", "hub/flash_attn_interface.py": KERNEL, "user.py": USER})
    with astcapture.install("user:Attention.forward=weights@sdpa,query@sdpa"):
        yield importlib.import_module("user").Attention
    torch._dynamo.reset()


@pytest.mark.cases(2)
@pytest.mark.parametrize("partly", [False, True])
@pytest.mark.parametrize("name", ["flash_attn_func", "flash_attn_varlen_func"])
def test_a_compiled_model_gives_the_same_maps(name: str, partly: bool, compiled_user: Any) -> None:
    shape = (2, 5, 4, 8) if name == "flash_attn_func" else (7, 4, 8)
    q, k, v = tensors(shape, shape, shape)
    lengths = () if name == "flash_attn_func" else (starts(3, 4), starts(3, 4), 4, 4)
    options = {"window_size": (2, 0), "softcap": 0.5, "alibi_slopes": torch.rand(4)}
    model = compiled_user(name, partly)
    eager = model(q, k, v, *lengths, **options)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")(q, k, v, *lengths, **options)
    assert torch.equal(eager, compiled)
    for label in ("weights", "query"):
        first, second = astcapture.cache["Attention.forward"][label]
        torch.testing.assert_close(first, second, rtol=0, atol=1e-6)
    assert {record.layer for record in astcapture.cache["Attention.forward"].records} == {""}


def test_a_compiled_call_whose_weights_are_unknown_says_why(compiled_user: Any) -> None:
    q, k, v = tensors((1, 3, 2, 8), (1, 3, 2, 8), (1, 3, 2, 8))
    model = torch.compile(compiled_user("flash_attn_func", False), fullgraph=True, backend="aot_eager")
    model(q, k, v, attention_chunk=2)
    assert [record.label for record in astcapture.cache["Attention.forward"].records] == ["query"]
    assert "the call uses attention_chunk=" in str(astcapture.cache.summary())
