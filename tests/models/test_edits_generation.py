"""Edits in a generation with a cache of keys and values: of one step, and of a value that the cache keeps."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import astcapture
from astcapture.edits import zero

TARGET = "transformers.models.llama.modeling_llama:"


@pytest.fixture
def llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, attn_implementation="eager",
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def logits(llama: Any, tokens: torch.Tensor) -> list[torch.Tensor]:
    """The logits of a prompt of four tokens and then of one token after the other, with a cache."""
    found, cache = [], None
    with torch.no_grad():
        for start, end in ((0, 4), (4, 5), (5, 6), (6, 7)):
            output = llama(tokens[:, start:end], past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            found.append(output.logits)
    return found


TOKENS = torch.tensor([[1, 5, 9, 2, 7, 3, 8]])


def test_one_step_of_the_attention_is_edited_and_the_cache_of_the_others_stays(llama, monkeypatch):
    from transformers.models.llama import modeling_llama

    plain = logits(llama, TOKENS)
    eager, calls = modeling_llama.eager_attention_forward, []

    def by_hand(module: Any, query: Any, key: Any, value: Any, mask: Any, scaling: float, **options: Any) -> Any:
        calls.append(module.layer_idx)
        key, value = (one.repeat_interleave(2, 1) for one in (key, value))
        scores = query @ key.mT * scaling + (mask if mask is not None else 0)
        weights = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
        if calls.count(module.layer_idx) == 3:  # the third step: call 2
            weights[:, 1] = 0
        return (weights @ value).transpose(1, 2).contiguous(), weights

    monkeypatch.setattr(modeling_llama, "eager_attention_forward", by_hand)
    expected = logits(llama, TOKENS)
    monkeypatch.setattr(modeling_llama, "eager_attention_forward", eager)
    with astcapture.edit(f"{TARGET}eager_attention_forward=attn_weights@assign", zero(heads=1), call=2, strict=False):
        found = logits(llama, TOKENS)
    for step, (one, other) in enumerate(zip(found, expected, strict=True)):
        torch.testing.assert_close(one, other, msg=f"step {step}")
    assert all(map(torch.equal, found[:2], plain[:2]))
    assert not torch.equal(found[2], plain[2])


def test_an_edited_key_stays_in_the_cache(llama):
    plain = logits(llama, TOKENS)
    with astcapture.edit(f"{TARGET}LlamaAttention.forward=key_states@assign", zero(), call=0) as edit:
        found = logits(llama, TOKENS)
    assert all(not torch.equal(one, other) for one, other in zip(found, plain, strict=True)), "every step reads it"
    assert [one.fired for one in edit.receipts.values()] == [3, 3], "projected, rotated, and joined with the cache"
