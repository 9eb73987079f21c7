"""A function with several parameters that may be the module: it is recorded for the first that is one."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import astcapture
from astcapture.edits import scale

SOURCE = """\
import torch
from torch.nn.functional import relu, scaled_dot_product_attention


class Processor:
    def __call__(self, first, attn, last, x):
        y = relu(x) * first.scale * attn.scale * last.scale
        if y is None:
            z = y
        return scaled_dot_product_attention(y, x, x)


class Attention(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = 2.0
        self.processor = Processor()

    def forward(self, x):
        return self.processor(Settings, self, Settings, x)


class Settings:
    scale = 1.0


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.attn = Attention()

    def forward(self, x):
        return self.attn(x)
"""
CAPTURES = ["y", "y@assign", "x@enter", "relu@call", "relu@input", "double:=y * 2"]
OF_ATTENTION = ["weights@sdpa", "query@sdpa", "output@sdpa"]
TARGET = "several_owners:Processor.__call__"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "several_owners", raising=False)
    (tmp_path / "several_owners.py").write_text(SOURCE)
    importlib.invalidate_caches()
    with astcapture.install({TARGET: [*CAPTURES, *OF_ATTENTION, "z"]}):
        yield importlib.import_module("several_owners")
    torch._dynamo.reset()


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("edited", [False, True], ids=["captured", "captured and edited"])
def test_every_point_has_the_layer_of_the_parameter_that_is_a_module(module: Any, compiled: bool, edited: bool) -> None:
    model, x = module.Model(), torch.randn(1, 2, 3, 4)
    forward: Any = torch.compile(model, backend="eager", fullgraph=True) if compiled else model
    y = x.relu() * 2
    query = y * 3 if edited else y
    weights = (query @ x.mT / 2).softmax(-1)
    with astcapture.recording() as rec:
        if edited:
            with astcapture.edit(f"{TARGET}=query@sdpa", scale(3.0)):
                found = forward(x)
        else:
            found = forward(x)
        torch.testing.assert_close(found, weights @ x)
        records = rec.select().records
    assert {record.layer for record in records} == {"attn"}
    values = {record.label: record.value for record in records}
    expected = {"y": y, "x": x, "double": y * 2, "weights": weights, "query": query, "output": weights @ x}
    for label, value in expected.items():
        torch.testing.assert_close(values[label], value, msg=label)
    assert len(records) == len(CAPTURES) + len(OF_ATTENTION)
    assert dict(rec.counts)[TARGET, "z"].missed == 1
    assert not any(count.failed for count in dict(rec.counts).values())
