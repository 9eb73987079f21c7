"""The arguments and the weights of a call of fused attention, against the formula in torch's documentation."""

from __future__ import annotations

import math
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from torch.nn.attention.bias import causal_lower_right, causal_upper_left

from astcapture.record.torch.attention import attention_weights, call_arguments, is_attention


def tensors(*shapes: tuple[int, ...], dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


def close(one: torch.Tensor, other: torch.Tensor, within: float = 1e-12) -> bool:
    return torch.allclose(one, other, atol=within, rtol=within)


# Which function it is.


def test_torchs_function_is_told_from_others() -> None:
    assert is_attention(F.scaled_dot_product_attention) is True
    for other in (F.softmax, torch.matmul, None, 3, lambda *given: None):
        assert is_attention(other) is False


def test_what_stands_in_its_place_is_it_and_so_is_torchs_own_then(monkeypatch: pytest.MonkeyPatch) -> None:
    # Some libraries put a function of their own there; a reference that was taken before is torch's.
    before = F.scaled_dot_product_attention

    def replacement(*arguments: Any, **options: Any) -> Any:
        return before(*arguments, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", replacement)
    assert is_attention(replacement)
    assert is_attention(before)
    assert not is_attention(F.softmax)


def test_where_torch_is_not_imported_or_has_no_fused_attention_nothing_is(monkeypatch: pytest.MonkeyPatch) -> None:
    function = F.scaled_dot_product_attention
    home = ModuleType("torch.nn.functional")
    monkeypatch.setitem(sys.modules, "torch.nn.functional", home)
    monkeypatch.delitem(sys.modules, "torch._C._nn")
    assert is_attention(function) is False
    assert is_attention(len) is False
    monkeypatch.setitem(sys.modules, "torch._C._nn", ModuleType("torch._C._nn"))
    assert is_attention(function) is False
    home.scaled_dot_product_attention = function  # type: ignore[attr-defined]
    assert is_attention(function) is True
    monkeypatch.delitem(sys.modules, "torch.nn.functional")
    assert is_attention(function) is False


# Its arguments.


def test_arguments_have_the_names_and_defaults_of_torchs_signature() -> None:
    schema = torch.ops.aten.scaled_dot_product_attention.default._schema.arguments
    defaults = {one.name: one.default_value for one in schema if one.has_default_value()}
    positional = [one.name for one in schema if not one.kwarg_only]
    assert call_arguments((), {}) == defaults
    given = dict(zip(positional, range(10), strict=False))
    assert call_arguments(tuple(given.values()), {"scale": 7}) == {**defaults, **given, "scale": 7}


def test_options_go_before_defaults_and_too_few_arguments_are_as_few() -> None:
    assert call_arguments((1,), {"dropout_p": 0.5, "key": 2, "new": 3}) == {
        "query": 1,
        "key": 2,
        "attn_mask": None,
        "dropout_p": 0.5,
        "is_causal": False,
        "scale": None,
        "enable_gqa": False,
        "new": 3,
    }
    # More than it takes is an error of the call, which torch tells.
    assert call_arguments((1, 2, 3, 4, 5, 6, 7), {})["is_causal"] == 6


# The weights.


def by_the_formula(query: torch.Tensor, key: torch.Tensor, scale: float) -> torch.Tensor:
    scores = torch.einsum("...le,...se->...ls", query, key) * scale
    return scores.exp() / scores.exp().sum(-1, keepdim=True)


@pytest.mark.parametrize("scale", [None, 0.0, 0.3, 2])
def test_weights_are_the_softmax_over_the_keys_of_scaled_products(scale: float | None) -> None:
    query, key = tensors((2, 3, 5, 4), (2, 3, 6, 4))
    weights = attention_weights(query, key, scale=scale)
    assert weights.shape == (2, 3, 5, 6)
    assert close(weights, by_the_formula(query, key, 4**-0.5 if scale is None else scale))


def test_a_causal_call_looks_at_keys_up_to_its_own_position_from_the_first_on() -> None:
    for length, keys in ((4, 4), (3, 5), (5, 3)):
        query, key, value = tensors((1, length, 4), (1, keys, 4), (1, keys, 4))
        weights = attention_weights(query, key, is_causal=True)[0]
        for row in range(length):
            seen = min(row + 1, keys)
            assert close(weights[row, :seen], by_the_formula(query, key[:, :seen], 0.5)[0, row])
            assert not weights[row, seen:].any()
        assert close(weights @ value, F.scaled_dot_product_attention(query, key, value, is_causal=True))
    assert attention_weights(query, key)[0, 0, -1] > 0


def test_a_mask_says_where_a_query_may_look_or_is_added_to_the_scores() -> None:
    query, key, value = tensors((2, 3, 4), (2, 3, 4), (2, 3, 4))
    allowed = torch.tensor([[True, False, True], [False, True, True], [True, True, True]])
    weights = attention_weights(query, key, allowed)
    assert torch.equal(weights > 0, allowed.expand(2, 3, 3))
    assert close(weights @ value, F.scaled_dot_product_attention(query, key, value, allowed))
    added = tensors((3, 3))[0] * 5
    weights = attention_weights(query, key, added)
    unmasked = attention_weights(query, key)
    assert close(weights, unmasked * added.exp() / (unmasked * added.exp()).sum(-1, keepdim=True))
    both = attention_weights(query, key, allowed, True)  # torch's function itself does not take both
    assert torch.equal(both > 0, (allowed & torch.ones(3, 3).tril().bool()).expand(2, 3, 3))


@pytest.mark.parametrize("kind", [causal_upper_left, causal_lower_right])
def test_torchs_own_kinds_of_masks_are_taken(kind: Any) -> None:
    query, key, value = tensors((1, 1, 3, 4), (1, 1, 5, 4), (1, 1, 5, 4))
    bias = kind(3, 5)
    allowed = torch.ones(3, 5).tril(0 if kind is causal_upper_left else 2).bool()
    weights = attention_weights(query, key, bias)
    assert torch.equal(weights[0, 0] > 0, allowed)
    assert close(weights @ value, F.scaled_dot_product_attention(query, key, value, allowed))


def test_a_query_that_may_look_at_nothing_has_the_weights_that_torch_gives_it() -> None:
    query, key, value = tensors((1, 2, 4), (1, 3, 4), (1, 3, 4))
    nothing = torch.tensor([[True, True, False], [False, False, False]])
    weights = attention_weights(query, key, nothing)
    assert close(weights @ value, F.scaled_dot_product_attention(query, key, value, nothing))
    assert weights[0, 1].tolist() == [0, 0, 0]


def test_an_older_torch_without_a_softmax_of_its_own_for_that_gives_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    query, key = tensors((1, 2, 4), (1, 3, 4))
    monkeypatch.delattr(torch, "_safe_softmax")
    weights = attention_weights(query, key, torch.tensor([[True, True, True], [False, False, False]]))
    assert close(weights[:, :1], by_the_formula(query[:, :1], key, 0.5))
    assert weights[0, 1].isnan().all()


def test_a_head_of_the_keys_serves_a_group_of_query_heads() -> None:
    query, key, value = tensors((2, 6, 5, 4), (2, 2, 5, 4), (2, 2, 5, 4))
    weights = attention_weights(query, key, enable_gqa=True)
    assert weights.shape == (2, 6, 5, 5)
    for head in range(6):
        assert close(weights[:, head], by_the_formula(query[:, head], key[:, head // 3], 0.5))
    output = F.scaled_dot_product_attention(query, key, value, enable_gqa=True)
    assert close(weights @ value.repeat_interleave(3, 1), output)
    with pytest.raises(RuntimeError):  # as torch itself says of such a call
        attention_weights(query, key)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32_and_comes_back_in_its_own(dtype: torch.dtype) -> None:
    query, key = tensors((1, 4, 64), (1, 4, 64), dtype=dtype)
    weights = attention_weights(query * 8, key)
    assert weights.dtype == dtype
    exact = by_the_formula((query * 8).double(), key.double(), 1 / 8)
    assert torch.equal(weights, exact.to(dtype))
    assert attention_weights(query.float(), key.float()).dtype == torch.float32
    assert attention_weights(*tensors((1, 4, 8), (1, 4, 8))).dtype == torch.float64


def test_weights_have_no_gradient_and_autocast_does_not_reach_in() -> None:
    query, key = (one.requires_grad_() for one in tensors((1, 4, 8), (1, 4, 8), dtype=torch.float32))
    plain = attention_weights(query, key)
    assert not plain.requires_grad
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(attention_weights(query, key), plain)
        assert torch.is_autocast_enabled("cpu")
    assert torch.is_grad_enabled()


def test_what_the_weights_do_not_depend_on_may_be_anything() -> None:
    query, key = tensors((1, 2, 4), (1, 2, 4))
    arguments = call_arguments((query, key, None, None, 0.9), {"new_in_torch": 3})
    assert torch.equal(attention_weights(**arguments), attention_weights(query, key))


def test_scores_that_are_large_do_not_overflow() -> None:
    query, key = tensors((1, 2, 4), (1, 2, 4))
    weights = attention_weights(query * 1e4, key * 1e4)
    assert weights.isfinite().all()
    assert close(weights.sum(-1), torch.ones(1, 2, dtype=torch.float64))
    assert math.isclose(float(weights.max()), 1)
