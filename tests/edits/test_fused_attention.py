"""Edits of torch's fused attention: its inputs, its output, and the weights that it never builds."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import astcapture
from astcapture import EditError

SOURCE = """
import torch.nn.functional as F
from torch import nn
class Attention(nn.Module):
    def forward(self, q, k, v, **options):
        return F.scaled_dot_product_attention(q, k, v, **options)
"""
NAME = "fused_edited"
TARGET = f"{NAME}:Attention.forward="


@pytest.fixture
def attention(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / f"{NAME}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module(NAME).Attention()
    sys.modules.pop(NAME, None)
    torch._dynamo.reset()


def inputs(heads: int = 2, key_heads: int = 2) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, heads, 5, 8), (2, key_heads, 5, 8), (2, key_heads, 5, 8)]
    return [torch.randn(shape, generator=generator, requires_grad=True) for shape in shapes]


def zero_head(weights: torch.Tensor) -> torch.Tensor:
    weights = weights.clone()
    weights[:, 1] = 0
    return weights


def written_out(q: Any, k: Any, v: Any, is_causal: bool = False, enable_gqa: bool = False) -> torch.Tensor:
    if enable_gqa:
        k, v = (one.repeat_interleave(q.size(1) // one.size(1), 1) for one in (k, v))
    scores = q @ k.mT / q.size(-1) ** 0.5
    if is_causal:
        scores = scores.masked_fill(~torch.ones(5, 5, dtype=torch.bool).tril(), -torch.inf)
    return scores.softmax(-1), v


@pytest.mark.cases(3)
@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"enable_gqa": True}])
@pytest.mark.parametrize("compiled", [None, "eager", "aot_eager"])
def test_edited_weights_give_the_output_of_the_path_written_out(attention, options, compiled):
    heads = 4 if options.get("enable_gqa") else 2
    q, k, v = inputs(heads, 2)
    weights, value = written_out(q, k, v, **options)
    expected = zero_head(weights) @ value
    expected_gradients = torch.autograd.grad(expected.square().sum(), (q, k, v))
    run = attention if compiled is None else torch.compile(attention, backend=compiled, fullgraph=True)
    with astcapture.edit(TARGET + "weights@sdpa", zero_head) as edit:
        found = run(q, k, v, **options)
        gradients = torch.autograd.grad(found.square().sum(), (q, k, v))
    torch.testing.assert_close(found, expected)
    for one, other in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(one, other)
    assert edit.receipts[""].changed
    assert edit.receipts[""].shape == (2, heads, 5, 5)


@pytest.mark.cases(2)
@pytest.mark.parametrize("name", ["query", "key", "value", "output", "weights"])
def test_an_edit_that_gives_back_its_value_changes_no_bit(attention, name):
    q, k, v = inputs()
    plain = attention(q, k, v)
    with astcapture.edit(TARGET + f"{name}@sdpa", lambda value: value):
        assert torch.equal(attention(q, k, v), plain)


@pytest.mark.parametrize("name", ["query", "key", "value", "output"])
def test_inputs_and_output_are_edited_as_by_hand(attention, name):
    given = dict(zip(("query", "key", "value"), inputs(), strict=True))
    edited = {**given, name: given[name] * 0.5} if name in given else given
    expected = F.scaled_dot_product_attention(**edited) * (0.5 if name == "output" else 1)
    with astcapture.edit(TARGET + f"{name}@sdpa", lambda value: value * 0.5):
        assert torch.equal(attention(*given.values()), expected)


def test_what_is_captured_is_what_the_program_went_on_with(attention):
    q, k, v = inputs()
    weights, _ = written_out(q, k, v)
    edit = astcapture.edit(TARGET + "weights@sdpa", zero_head)
    with astcapture.install([TARGET + "weights@sdpa,output@sdpa"]), astcapture.recording() as cache:
        output = attention(q, k, v)
    edit.uninstall()
    torch.testing.assert_close(cache.select(label="weights")[0], zero_head(weights).detach())
    assert torch.equal(cache.select(label="output")[0], output)


def test_weights_under_dropout_are_refused(attention):
    edit = astcapture.edit(TARGET + "weights@sdpa", zero_head)
    with pytest.raises(EditError, match="cannot be edited under dropout"), edit:
        attention(*inputs(), dropout_p=0.5)
