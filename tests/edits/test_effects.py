"""`effects` compares a number with and without each of many edits, and `heads` makes one for each head."""

from __future__ import annotations

import functools
import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import astcapture
from astcapture import Edit, EditError
from astcapture.edits import Effects, heads, mean, patch, replace, scale, zero

SOURCE = """
import torch
from torch import nn

class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(12, 36)
        self.switched_off = None

    def forward(self, x):
        batch, tokens, _ = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, 3, 4).permute(2, 0, 3, 1, 4)
        attn = (q @ k.mT / 2).softmax(-1)
        if self.switched_off is not None:
            attn = attn.clone()
            attn[:, self.switched_off] = 0
        z = attn @ v
        return x + z.transpose(1, 2).reshape(batch, tokens, 12)

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(*(Attention() for _ in range(4)))

    def forward(self, x):
        return self.blocks(x)
"""
TARGET = "effects_model:Attention.forward=z"


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / "effects_model.py").write_text(textwrap.dedent(SOURCE))
    monkeypatch.syspath_prepend(tmp_path)
    import effects_model

    torch.manual_seed(0)
    with torch.no_grad():
        yield effects_model.Model()
    del sys.modules["effects_model"]


X = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(1))


def loss(output: torch.Tensor) -> torch.Tensor:
    return output.square().mean()


def test_heads_are_switched_off_as_in_the_model_by_hand(model: Any) -> None:
    expected = np.zeros((4, 3))
    plain = float(loss(model(X)))
    for layer in range(4):
        for head in range(3):
            model.blocks[layer].switched_off = head
            expected[layer, head] = float(loss(model(X))) - plain
        model.blocks[layer].switched_off = None
    found = astcapture.effects(lambda: model(X), heads(TARGET, 4, 3), loss)
    assert found.plain == plain and len(found) == 12 and found.metric == "loss"
    np.testing.assert_array_equal(found.array(), expected)
    assert found.layers == [f"blocks.{layer}" for layer in range(4)]
    assert (found.column, found.numbers) == ("head", [0, 1, 2])
    assert (found[4].layer, found[4].head, found[4].value) == ("blocks.1", 1, found.plain + found[4].change)
    assert found[4].name == f"edit('{TARGET}', zero(heads=[1]), layer=1)"
    ((receipts),) = found[4].receipts
    assert [*receipts] == ["blocks.1"] and receipts["blocks.1"].fired == 1 and receipts["blocks.1"].changed
    assert float(loss(model(X))) == plain, "an edit is left behind"


def test_the_function_is_the_one_of_the_source_afterwards(model: Any) -> None:
    import effects_model

    before = effects_model.Attention.forward.__code__
    astcapture.effects(lambda: model(X), heads(TARGET, [0], 2), loss)
    with pytest.raises(EditError):
        astcapture.effects(lambda: model(X), [Edit(TARGET, zero(), layer="nowhere")], loss)
    assert effects_model.Attention.forward.__code__ == before


def test_other_changes_of_heads_and_layers_by_pattern(model: Any) -> None:
    halves = heads(TARGET, ["blocks.0", "blocks.3"], 2, functools.partial(scale, 0.5))
    assert [edit.change.describe() for edit in halves] == ["scale(0.5, heads=[0])", "scale(0.5, heads=[1])"] * 2
    found = astcapture.effects(lambda: model(X), halves, loss)
    assert found.layers == ["blocks.0", "blocks.3"] and found.array().shape == (2, 2)
    assert len(heads(TARGET, "blocks.1", 3, mean)) == 3


def test_edits_that_apply_together_and_names(model: Any) -> None:
    def off(head: int) -> Edit:
        return Edit(TARGET, zero(heads=[head]), layer=0)

    found = astcapture.effects(
        lambda: model(X),
        {"both": [off(0), off(1)], "one": off(0), "other": off(1)},
        lambda y: float(y.sum()),
        name="sum",
    )
    assert [one.name for one in found] == ["both", "one", "other"] and found.metric == "sum"
    assert found[0].change == pytest.approx(found[1].change + found[2].change, abs=0.2) and found[0].change != 0
    assert len(found[0].receipts) == 2 and (found[0].layer, found[0].head) == ("blocks.0", None)
    assert isinstance(found[1:], Effects) and [one.name for one in found[1:]] == ["one", "other"]
    with pytest.raises(EditError, match="not one head or token of one layer each"):
        found.array()


def test_positions_are_columns_too(model: Any) -> None:
    with astcapture.install(TARGET), astcapture.recording() as clean:
        model(X)
    edits = [
        Edit(TARGET, patch(clean.select(), tokens=[token]), layer=layer) for layer in range(4) for token in range(5)
    ]
    other = X.clone()
    other[:, 2] += 1
    found = astcapture.effects(lambda: model(other), edits, loss, name="distance")
    assert (found.column, found.numbers, found.array().shape) == ("token", [0, 1, 2, 3, 4], (4, 5))


def test_a_place_without_an_edit_is_nan_and_two_edits_of_one_are_an_error(model: Any) -> None:
    edits = heads(TARGET, 2, 2)
    found = astcapture.effects(lambda: model(X), edits[:3], loss)
    assert np.isnan(found.array()).tolist() == [[False, False], [False, True]]
    twice = astcapture.effects(lambda: model(X), [edits[0], Edit(TARGET, replace(1, heads=0), layer=0)], loss)
    with pytest.raises(EditError, match=r"two edits of head 0 of layer 'blocks\.0'"):
        twice.array()


def test_it_is_shown_and_stored(model: Any) -> None:
    found = astcapture.effects(lambda: model(X), heads(TARGET, 1, 2), loss)
    stored = json.loads(found.to_json())
    assert stored["metric"] == "loss" and stored["plain"] == found.plain
    assert [one["change"] for one in stored["effects"]] == [one.change for one in found]
    assert stored["effects"][1]["head"] == 1
    assert stored["effects"][1]["receipts"] == [
        {"blocks.0": {"fired": 1, "changed": True, "shape": [2, 3, 5, 4], "dtype": "float32"}}
    ]
    assert repr(found) == f"<Effects on loss: {found.plain:.4g} plain, 2 edits>"
    page = found._repr_html_()
    assert page is not None and "zero(heads=[1])" in page and f"{found[1].change:+.4g}" in page
    nothing = astcapture.effects(lambda: model(X), heads(TARGET, 1, 1), lambda output: float("nan"))
    assert json.loads(nothing.to_json())["plain"] is None and nothing.metric == "metric"


def test_mistakes_say_what_to_write(model: Any) -> None:
    def of(edits: Any, metric: Any = loss) -> Any:
        return astcapture.effects(lambda: model(X), edits, metric)

    with pytest.raises(EditError, match=r"effects: zero\(\) is no Edit: write astcapture.Edit\("):
        of([zero()])
    with pytest.raises(EditError, match="effects: there are no edits"):
        of([])
    with pytest.raises(EditError, match="effects: loss returned Tensor, and not a number"):
        of(heads(TARGET, 1, 1), named_loss)
    with pytest.raises(EditError, match=r"heads\(layers=0, n=3\): there is no head to edit"):
        heads(TARGET, 0, 3)
    with astcapture.edit(TARGET, zero(heads=[0])) as installed:
        with pytest.raises(EditError, match=r"is installed already: make it with astcapture\.Edit, not edit"):
            of([installed])
        model(X)
    with pytest.raises(EditError, match="matches none of the layers that ran"):
        of([Edit(TARGET, zero(), layer="h.*")])


def named_loss(output: torch.Tensor) -> torch.Tensor:
    return output


named_loss.__name__ = "loss"


def test_the_function_is_rewritten_once_for_all_edits(model: Any) -> None:
    codes = set()

    def run() -> torch.Tensor:
        codes.add(type(model.blocks[0]).forward.__code__)
        return model(X)

    astcapture.effects(run, heads(TARGET, 4, 3), loss)
    assert len(codes) == 1
