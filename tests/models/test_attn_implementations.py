"""`@hf-attention` gives the same maps whatever ``attn_implementation`` is.

Eager, SDPA and flex attention run for real. Flash attention needs a GPU: `tests/torch/fused_libraries` has a stand-in
with its documented functions, and transformers is told that it is there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import astcapture

LIBRARIES = Path(__file__).parent.parent / "torch" / "fused_libraries"

_SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
_SMALL |= {"num_key_value_heads": 2, "vocab_size": 99, "max_position_embeddings": 64, "head_dim": 8}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "grouped queries": ("llama", {}),
    "sliding window": ("mistral", {"sliding_window": 4}),
    "soft cap and two kinds of layers": ("gemma2", {"sliding_window": 4}),
    "norms of the queries": ("qwen3", {}),
}
ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("bert", {}),
    "modernbert": ("modernbert", {"local_attention": 4, "pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2}),
}


def build(kind: str, implementation: str, **config: Any) -> Any:
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

    torch.manual_seed(0)
    auto = AutoModel if kind in ENCODERS else AutoModelForCausalLM
    given = AutoConfig.for_model(kind, **{**_SMALL, **config})
    model = auto.from_config(given, attn_implementation="eager" if "flash" in implementation else implementation)
    if "flash" in implementation:
        model.config._attn_implementation_internal = implementation  # it is refused without a GPU
    return model.eval()


@pytest.fixture
def flash(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The stand-in for flash attention 2, which transformers takes for the real one."""
    from transformers import modeling_flash_attention_utils as utils

    monkeypatch.syspath_prepend(str(LIBRARIES))
    monkeypatch.syspath_prepend(str(LIBRARIES / "two"))
    monkeypatch.setattr(utils, "is_flash_attn_2_available", lambda: True)
    for name in ("_loaded_implementation", "_flash_fn", "_flash_varlen_fn", "_flash_with_kvcache_fn", "_pad_fn"):
        monkeypatch.setattr(utils, name, None)
    yield "flash_attention_2"
    for name in [name for name in sys.modules if name.partition(".")[0] in ("flash_attn", "written_out")]:
        del sys.modules[name]


IDS = torch.randint(3, 99, (2, 10), generator=torch.Generator().manual_seed(1))
LEFT, RIGHT = torch.ones(2, 10, dtype=torch.long), torch.ones(2, 10, dtype=torch.long)
LEFT[1, :3], RIGHT[1, 7:] = 0, 0
PADDING = {"none": None, "left": LEFT, "right": RIGHT}


def maps_of(model: Any, **inputs: Any) -> tuple[list[Tensor], Tensor]:
    with torch.no_grad():
        with astcapture.attention(model) as maps:
            out = model(**inputs)[0]
        with astcapture.pause():
            assert torch.equal(model(**inputs)[0], out)
    assert [record.layer for record in maps.records] == [record.layer for record in maps.records if record.layer]
    return list(maps), out


def same_at_tokens(found: list[Tensor], eager: list[Tensor], mask: Tensor | None) -> None:
    assert len(found) == len(eager) == 2
    for one, other in zip(found, eager, strict=True):
        assert one.shape == other.shape and one.dtype == other.dtype
        if mask is not None:
            tokens = mask[:, None, -one.shape[2] :, None].bool()
            assert (one.masked_select(~tokens) == 0).all()
            other = other.where(tokens, 0)
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


@pytest.mark.cases(4)
@pytest.mark.parametrize("padding", PADDING.values(), ids=PADDING)
@pytest.mark.parametrize(("kind", "config"), (MODELS | ENCODERS).values(), ids=(MODELS | ENCODERS))
def test_flash_attention_gives_the_eager_maps_and_zeros_for_padding(
    kind: str, config: dict[str, Any], padding: Tensor | None, flash: str
) -> None:
    inputs = {"input_ids": IDS, "attention_mask": padding}
    eager, _ = maps_of(build(kind, "eager", **config), **inputs)
    found, _ = maps_of(build(kind, flash, **config), **inputs)
    same_at_tokens(found, eager, padding)


@pytest.mark.slow
@pytest.mark.parametrize("padding", [None, LEFT], ids=["none", "left"])
@pytest.mark.parametrize(("kind", "config"), MODELS.values(), ids=MODELS)
def test_flex_attention_gives_the_eager_maps(kind: str, config: dict[str, Any], padding: Tensor | None) -> None:
    torch._dynamo.reset()
    inputs = {"input_ids": IDS, "attention_mask": padding}
    eager, _ = maps_of(build(kind, "eager", **config), **inputs)
    found, _ = maps_of(build(kind, "flex_attention", **config), **inputs)
    same_at_tokens(found, eager, padding)


@pytest.mark.parametrize(
    "implementation",
    ["flash_attention_2", pytest.param("flex_attention", marks=[pytest.mark.slow, pytest.mark.long]), "sdpa"],
)
def test_each_step_of_a_generation_is_captured(implementation: str, flash: str) -> None:
    torch._dynamo.reset()
    found = {}
    # On CPU, inductor fails for flex attention with a number of keys that is not fixed.
    with torch._dynamo.config.patch(automatic_dynamic_shapes=False):
        for one in ("eager", implementation):
            model = build("llama", one)
            with astcapture.attention(model) as maps, torch.no_grad():
                options = {"max_new_tokens": 3, "min_new_tokens": 3, "do_sample": False, "pad_token_id": 0}
                model.generate(input_ids=IDS, attention_mask=LEFT, **options)
            found[one] = list(maps)
    assert [one.shape[2:] for one in found["eager"]] == [(10, 10)] * 2 + [(1, 11)] * 2 + [(1, 12)] * 2
    for one, other in zip(found[implementation], found["eager"], strict=True):
        tokens = LEFT[:, None, :, None].bool() if one.shape[2] == 10 else torch.ones(())
        torch.testing.assert_close(one * tokens, other * tokens, rtol=0, atol=1e-5)


def test_sequences_one_after_the_other_are_blocks_of_the_eager_map(flash: str) -> None:
    positions = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 0, 1, 2]])
    inputs = {"input_ids": IDS[:1], "position_ids": positions, "use_cache": False}
    eager, _ = maps_of(build("llama", "eager"), **inputs)
    found, _ = maps_of(build("llama", flash), **inputs)
    same_at_tokens(found, eager, None)
    assert (found[0][0, :, 4:7, :4] == 0).all()
    starts = torch.tensor([0, 4, 7, 10], dtype=torch.int32)
    lengths = {"cu_seq_lens_q": starts, "cu_seq_lens_k": starts, "max_length_q": 4, "max_length_k": 4}
    by_lengths, _ = maps_of(build("llama", flash), **inputs, **lengths)
    same_at_tokens(by_lengths, eager, None)


def test_sinks_take_their_share_of_the_softmax(flash: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention sinks of flash attention in version 3 of a hub kernel: scores beside the keys."""
    import flash_attn
    from transformers import modeling_flash_attention_utils as utils
    from written_out import attend, flash_rule

    def with_sinks(q, k, v, dropout_p=0.0, softmax_scale=None, causal=False, window_size=(-1, -1), s_aux=None):  # type: ignore[no-untyped-def]
        rule = flash_rule(q.shape[1], k.shape[1], causal, window_size)
        return torch.stack([attend(*one, softmax_scale, rule, s_aux) for one in zip(q, k, v, strict=True)])

    monkeypatch.setattr(flash_attn, "flash_attn_func", with_sinks)
    monkeypatch.setattr(flash_attn, "flash_attn_varlen_func", with_sinks)
    config = {"num_local_experts": 2, "num_experts_per_tok": 1, "sliding_window": 4}
    inputs = {"input_ids": IDS}
    models = {one: build("gpt_oss", one, **config) for one in ("eager", flash)}
    for model in models.values():
        for layer in model.model.layers:
            torch.nn.init.uniform_(layer.self_attn.sinks, generator=torch.Generator().manual_seed(0))
    eager, found = ([*maps_of(model, **inputs)[0]] for model in models.values())
    assert utils._flash_fn is with_sinks
    assert (eager[0].sum(-1) < 0.99).any()
    same_at_tokens(found, [one[..., :10] for one in eager], None)


def test_the_summary_says_which_implementation_ran(flash: str) -> None:
    model = build("llama", flash)
    with astcapture.attention(model) as maps, torch.no_grad():
        model(input_ids=IDS)
    assert {record.function for record in maps.records} == {"flash_attention_forward"}
    assert {record.label for record in maps.records} == {"weights"}


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("implementation", ["sdpa", "flex_attention"])
def test_compiled_models_give_the_eager_maps(implementation: str) -> None:
    torch._dynamo.reset()
    eager, _ = maps_of(build("llama", "eager"), input_ids=IDS)
    model = torch.compile(build("llama", implementation))
    found, _ = maps_of(model, input_ids=IDS, use_cache=False)
    same_at_tokens(found, eager, None)


@pytest.mark.long
@pytest.mark.slow
def test_continuous_batching_gives_the_maps_of_its_packed_sequences(flash: str) -> None:
    from transformers import GenerationConfig

    how = {"max_new_tokens": 3, "do_sample": False, "eos_token_id": -1, "pad_token_id": 0, "num_blocks": 16}
    config = GenerationConfig(**how, block_size=16, max_batch_tokens=32)
    found, tokens = {}, {}
    for one in ("paged|eager", "sdpa", flash):
        model = build("llama", one)
        astcapture.cache.clear()  # of what other tests left
        hook = astcapture.attention(model).install()
        out = model.generate_batch([[3, 4, 5, 6], [7, 8, 9]], config, progress_bar=False)
        tokens[one] = [one.generated_tokens for one in out.values()]
        found[one] = list(hook.maps)
        hook.uninstall()
    eager = found["paged|eager"]
    assert [one.shape[2] for one in eager] == [7, 7, 2, 2, 2, 2]
    assert tokens["paged|eager"] == tokens["sdpa"] == tokens[flash]
    for maps in found.values():
        for one, other in zip(maps, eager, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_a_paged_cache_has_one_map_for_each_sequence(flash: str, make_package: Any, fresh_imports: None) -> None:
    """As the fast path of continuous batching calls it: one new token for each sequence, keys in pages."""
    source = """
        from transformers.modeling_flash_attention_utils import _flash_attention_forward

        def paged(*args, **options):
            return _flash_attention_forward(*args, **options)
        """
    make_package({"paging.py": source})
    generator = torch.Generator().manual_seed(0)
    q, k, v, key_cache, value_cache = (
        torch.randn(*shape, generator=generator)
        for shape in ((1, 2, 4, 8), (1, 2, 2, 8), (1, 2, 2, 8), (6, 4, 2, 8), (6, 4, 2, 8))
    )
    starts = torch.tensor([0, 4, 11], dtype=torch.int32)
    options = {"block_table": torch.tensor([[4, 0], [1, 5]], dtype=torch.int32), "cu_seq_lens_k": starts}
    options |= {"k_cache": key_cache, "v_cache": value_cache, "attn_implementation": flash}
    with astcapture.install("paging:paged=weights@sdpa"), astcapture.recording() as rec:
        __import__("paging").paged(q, k, v, None, 1, True, **options)
    (weights,) = rec["paging:paged"]
    assert weights.shape == (2, 4, 1, 8)
    for one, wanted in zip(weights, sys.modules["written_out"].seen, strict=True):
        assert wanted.shape[2] in (4, 7)
        torch.testing.assert_close(one[..., : wanted.shape[2]], wanted, rtol=0, atol=1e-6)
        assert (one[..., wanted.shape[2] :] == 0).all()
