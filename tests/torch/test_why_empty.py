"""What the summary says of captures that are empty: the reason, and what to write instead."""

from __future__ import annotations

import importlib
import subprocess
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


class Plain(torch.nn.Module):
    def forward(self, x):
        return x * 2


class Attention(torch.nn.Module):
    fused = True

    def forward(self, x):
        if self.fused:
            x = F.scaled_dot_product_attention(x, x, x)
        else:
            q = x
            attn = (q @ x.mT).softmax(-1)
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
        "the branch with fused attention ran, which builds no map; "
        "capture weights@sdpa there, or turn off fused attention in the model" in summary
    )


@pytest.mark.usefixtures("fused_module")
def test_what_it_says_to_capture_instead_is_there() -> None:
    records, summary = run("empty_map_model:Attention.forward=weights@sdpa")
    assert torch.allclose(records["weights"][0].sum(-1), torch.ones(1, 3))
    assert "is empty because" not in summary


def at_exit(script: str, folder: Path) -> str:
    """What a process prints to standard error that runs `script` with `folder` on its path."""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, timeout=120, check=True
    )
    return done.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("fused_module")
def test_a_label_that_was_never_bound_is_told_at_exit_to_those_who_asked_for_no_summary(tmp_path: Path) -> None:
    script = (
        "import astcapture, torch\n"
        "astcapture.install('empty_map_model:Attention.forward=attn')\n"
        "import empty_map_model\n"
        "model = empty_map_model.Attention()\n"
        "model(torch.ones(1, 3, 4))\n"
    )
    told = "empty_map_model:Attention.forward: 'attn' is empty because it was not bound at the one return that ran"
    assert at_exit(script, tmp_path).count(told) == 1
    assert "attn" not in at_exit(script + "model.fused = False; model(torch.ones(1, 3, 4))", tmp_path)


@pytest.mark.usefixtures("fused_module")
@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")
def test_a_scripted_function_is_told_with_what_to_do() -> None:
    with astcapture.install(["empty_map_model:Plain.forward=x"], strict=True):
        module = importlib.import_module("empty_map_model")
        with astcapture.recording() as rec:
            torch.jit.script(module.Plain())(torch.ones(1, 3, 4))
            assert (
                "empty_map_model:Plain.forward: torch.jit.script compiled it from its source file, which contains no "
                "captures: run the model without torch.jit.script" in rec.summary()
            )
            module.Plain()(torch.ones(1, 3, 4))
            assert "jit" not in rec.summary()


@pytest.mark.all_objects
def test_the_path_in_c_of_torchs_own_attention_is_told_with_what_switches_it_off() -> None:
    target = "torch.nn.functional:multi_head_attention_forward=weights@sdpa"
    key = "torch.nn.functional:multi_head_attention_forward"
    layer = torch.nn.TransformerEncoderLayer(8, 2, batch_first=True).eval()
    with astcapture.install([target], strict=True):
        with astcapture.recording() as rec, torch.no_grad():
            layer(torch.ones(1, 3, 8))
            assert len(rec[key]) == 0
            assert f"{key}: in eval mode without gradients, nn.MultiheadAttention and" in rec.summary()
            assert "call torch.backends.mha.set_fastpath_enabled(False) first" in rec.summary()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            with astcapture.recording() as rec, torch.no_grad():
                layer(torch.ones(1, 3, 8))
                assert len(rec[key]) == 1
                assert "C++" not in rec.summary()
        finally:
            torch.backends.mha.set_fastpath_enabled(True)


@pytest.mark.all_objects
def test_layers_on_the_path_in_c_are_told_although_another_layer_left_its_values() -> None:
    key = "torch.nn.functional:multi_head_attention_forward"

    class Detector(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layer = torch.nn.TransformerEncoderLayer(8, 2, batch_first=True)
            self.encoder = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.cross = torch.nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: Any) -> Any:
            memory = self.encoder(x)
            self.cross.train()
            return self.cross(x, memory, memory)[0]

    model = Detector().eval()
    never_run = Detector().eval()
    with astcapture.install([f"{key}=attn_output_weights"], strict=True):
        with astcapture.recording() as rec, torch.no_grad():
            model(torch.ones(1, 3, 8))
        assert [record.layer for record in rec[key].records] == ["cross"]
        told = "no values from encoder.layers.0.self_attn, encoder.layers.1.self_attn: in eval mode"
        assert told in rec.summary()
        assert never_run is not None
        with astcapture.recording() as rec:
            model(torch.ones(1, 3, 8))  # with gradients the path is not taken
        assert "C++" not in rec.summary()


@pytest.mark.usefixtures("fresh_imports", "fused_module")
def test_layers_that_were_not_chosen_are_named() -> None:
    with astcapture.install(["empty_map_model:Attention.forward=weights@sdpa"], layers="blocks.*"):
        model = torch.nn.ModuleDict({"head": importlib.import_module("empty_map_model").Attention()})
        model["head"](torch.ones(1, 3, 4))
        assert "layers= matches none of the layers that ran: head" in astcapture.cache.summary()


@pytest.mark.usefixtures("fused_module")
def test_a_map_that_was_not_bound_has_no_row_where_another_label_of_the_function_holds_it() -> None:
    records, summary = run("empty_map_model:Attention.forward=attn,weights@sdpa")
    assert records.labels == ("weights",)
    own = "\n".join(line for line in summary.splitlines() if "empty_map_model" in line)
    assert "weights" in own and "attn" not in own and "is empty" not in own
    with astcapture.install("empty_map_model:Attention.forward=attn,weights@sdpa"), astcapture.recording() as rec:
        importlib.import_module("empty_map_model").Attention()(torch.ones(1, 3, 4))
        assert "'attn' is empty" in rec.summary(all=True)


@pytest.mark.usefixtures("fused_module")
def test_what_is_no_map_keeps_its_row_where_it_was_not_bound() -> None:
    with (
        astcapture.install({"empty_map_model:Attention.forward": ["q", "weights@sdpa"]}),
        astcapture.recording() as rec,
    ):
        importlib.import_module("empty_map_model").Attention()(torch.ones(1, 3, 4))
        assert "'q' is empty" in rec.summary()
