"""The harness's own way to find where a module stands: through all objects, by a call of any part of a model."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "proof" / "libraries" / "plugin"))

import proof_layers
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x)


class Special(Block):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block()])
        self.last = self.blocks[1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.blocks[1](self.blocks[0](x))


KEY = f"{__name__}:Block.forward"


def records(*layers: str | None, label: str = "x") -> list[SimpleNamespace]:
    return [SimpleNamespace(layer=layer, label=label) for layer in layers]


@pytest.fixture
def watch() -> Iterator[proof_layers.Watch]:
    watch = proof_layers.Watch()
    watch.start()
    yield watch
    watch.stop()


def test_a_part_that_is_called_by_itself_has_its_path_in_the_topmost_module(watch: proof_layers.Watch) -> None:
    model = Model()
    model.blocks[0](torch.zeros(1, 2))
    assert watch.ran[KEY] == [{"blocks.0"}]
    holder = nn.ModuleDict({"student": model})
    model.last(torch.zeros(1, 2))
    assert watch.ran[KEY][1] == {"student.blocks.1", "student.last"}
    assert "student.blocks.0.linear" in watch.paths
    del holder


def test_wrappers_drop_out_of_a_path(watch: proof_layers.Watch) -> None:
    model = Model()
    wrapped = torch.compile(model, backend="eager")
    model.blocks[0](torch.zeros(1, 2))
    assert watch.ran[KEY] == [{"blocks.0"}]
    assert "blocks.0" in watch.paths
    del wrapped


def test_layers_that_are_right_are_no_difference_and_others_are(watch: proof_layers.Watch) -> None:
    Model()(torch.zeros(1, 2))
    assert watch.compare({KEY: records("blocks.0", "last")}) == ([], 2)
    assert watch.compare({KEY: records("blocks.0", "blocks.0", "blocks.1", "blocks.1")})[0] == []
    for wrong in (["blocks.0"], ["blocks.1", "blocks.0"], ["0", "1"], ["blocks.0", "blocks.1", None]):
        assert watch.compare({KEY: records(*wrong)})[0], wrong
    # What is no forward of a module that ran is anywhere in the model, or nowhere.
    assert watch.compare({"m:f": records("blocks.0.linear", None, "")}) == ([], 0)
    assert watch.compare({"m:f": records("blocks.7")}) == (["m:f: 'blocks.7' is no path"], 0)


def test_an_inherited_forward_stands_where_the_module_does(watch: proof_layers.Watch) -> None:
    special = Special()
    special(torch.zeros(1, 2))
    assert watch.compare({KEY: records(""), KEY.replace("Block", "Special"): records("")}) == ([], 2)
    assert watch.compare({KEY: records("linear")})[0]
