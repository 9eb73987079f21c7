"""Capturing in what torch's own backend compiles: same outputs, same captures, whatever its caches hold."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import astcapture
from astcapture.record.torch import graph_copy

pytestmark = pytest.mark.slow

MODEL = """\
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, -1)
        attn = q @ k.mT
        attn *= 8**-0.5
        attn = attn.softmax(-1)
        return attn @ v


class Model(nn.Sequential):
    def __init__(self):
        torch.manual_seed(0)
        super().__init__(Attention(), Attention())
"""

# Prints a digest of the outputs, of the gradients, and the layers and sums of what was captured.
SCRIPT = """\
import json, sys, torch
import astcapture
from inductor_model import Model

torch.set_num_threads(1)
model = Model()
compiled = torch.compile(model, fullgraph=True)
x = torch.linspace(-1, 1, 80).reshape(2, 5, 8)
said = {}
output = compiled(x)
output.square().sum().backward()
said["output"] = output.double().sum().item()
said["gradient"] = sum(one.grad.double().abs().sum().item() for one in model.parameters())
records = astcapture.cache.select().records
said["layers"] = [record.layer for record in records]
said["sums"] = [round(record.value.double().sum().item(), 4) for record in records]
print(json.dumps(said))
"""


def run(folder: Path, targets: str) -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ASTCAPTURE")}
    environment |= {
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        "TORCHINDUCTOR_FX_GRAPH_CACHE": "1",
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(Path(astcapture.__file__).parents[1]), str(folder)]),
    }
    command = [sys.executable, "-m", "astcapture", "run", "-c", targets, "script.py"] if targets else ["script.py"]
    done = subprocess.run(
        command if targets else [sys.executable, *command],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor compiles C++, and no compiler is here")
def test_inductors_caches_serve_neither_code_without_the_records_nor_code_with_them_to_a_plain_run(
    tmp_path: Path,
) -> None:
    (tmp_path / "inductor_model.py").write_text(MODEL)
    (tmp_path / "script.py").write_text(SCRIPT)
    target = "inductor_model:Attention.forward=attn@assign"
    # The caches are filled by a plain run first, then by a captured one.
    plain, captured, plain_again = run(tmp_path, ""), run(tmp_path, target), run(tmp_path, "")
    assert plain["layers"] == plain_again["layers"] == []
    # Three bindings in each of two layers; the second scales the first in place.
    assert captured["layers"] == ["0", "0", "0", "1", "1", "1"]
    for scores, scaled, weights in zip(*[iter(captured["sums"])] * 3, strict=True):
        assert scaled == pytest.approx(scores * 8**-0.5, abs=1e-3)
        assert weights == 10.0
    for one in (captured, plain_again):
        assert one["output"] == pytest.approx(plain["output"], rel=1e-6)
        assert one["gradient"] == pytest.approx(plain["gradient"], rel=1e-6)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_the_copy_for_replayed_graphs_is_a_copy_and_breaks_no_graph(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "replayed_model.py").write_text(MODEL)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(graph_copy, "REPLAYED", frozenset({"cpu"}))
    torch._dynamo.reset()
    with astcapture.install("replayed_model:Attention.forward=attn@assign"):
        import replayed_model

        model = replayed_model.Model()
        compiled = torch.compile(model, fullgraph=True, backend=backend)
        x = torch.randn(2, 5, 8)
        with astcapture.recording() as eager:
            expected = model(x)
        with astcapture.recording() as rec:
            output = compiled(x)
            output.sum().backward()
    torch._dynamo.reset()
    torch.testing.assert_close(output, expected)
    assert [record.layer for record in rec.select().records] == ["0", "0", "0", "1", "1", "1"]
    for one, other in zip(rec.select(), eager.select(), strict=True):
        torch.testing.assert_close(one, other)
        assert not one.requires_grad


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_what_a_replayed_graph_leaves_is_kept_when_it_is_replayed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "graphed_model.py").write_text(MODEL)
    monkeypatch.syspath_prepend(str(tmp_path))
    with astcapture.install("graphed_model:Attention.forward=attn@assign"):
        import graphed_model

        model = graphed_model.Model().cuda()
        compiled = torch.compile(model, fullgraph=True, mode="reduce-overhead")
        inputs = [torch.randn(2, 5, 8, device="cuda") for _ in range(6)]
        with torch.no_grad():
            with astcapture.recording() as eager:
                expected = [model(x) for x in inputs]
            with astcapture.recording() as rec:
                outputs = [compiled(x).clone() for x in inputs]
    for one, other in zip(outputs, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    for one, other in zip(rec.select(), eager.select(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
