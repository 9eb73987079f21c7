"""What the summary says of captures that are empty: the reason, and what to write instead."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import astcapture

SOURCE = """\
import torch
from torch.nn import functional as F


class Attention(torch.nn.Module):
    fused = True

    def forward(self, x):
        if self.fused:
            x = F.scaled_dot_product_attention(x, x, x)
        else:
            attn = (x @ x.mT).softmax(-1)
            x = attn @ x
        return x
"""


@pytest.fixture
def fused_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "empty_map_model.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("empty_map_model", None)


def run(*targets: str) -> tuple[Any, str]:
    with astcapture.install(list(targets), strict=True):
        model = importlib.import_module("empty_map_model").Attention()
        with astcapture.recording() as rec:
            model(torch.ones(1, 3, 4))
            return rec["empty_map_model:Attention.forward"], rec.summary()


@pytest.mark.usefixtures("fused_module")
def test_a_map_that_the_fused_branch_does_not_bind_is_told_with_what_to_capture_instead() -> None:
    records, summary = run("empty_map_model:Attention.forward=attn")
    assert len(records) == 0
    assert (
        "empty_map_model:Attention.forward: 'attn' is empty because it was not bound at the one return that ran: "
        "the branch that calls torch's fused attention was taken, which makes no map; "
        "capture weights@sdpa there, or have the model not use fused attention" in summary
    )


@pytest.mark.usefixtures("fused_module")
def test_what_it_says_to_capture_instead_is_there() -> None:
    records, summary = run("empty_map_model:Attention.forward=weights@sdpa")
    assert torch.allclose(records["weights"][0].sum(-1), torch.ones(1, 3))
    assert "is empty because" not in summary
