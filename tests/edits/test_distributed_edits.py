"""Edits of an unmodified training script under torchrun and DistributedDataParallel."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

MODEL = """
from torch import nn
class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q = nn.Linear(8, 8)
    def forward(self, x):
        attn = (self.q(x) @ x.mT).softmax(-1)
        EDIT
        return attn @ x
class Model(nn.Sequential):
    def __init__(self):
        super().__init__(Attention(), Attention())
"""
SCRIPT = """
import os, sys, torch
import torch.distributed as dist
from gloo_at_rest import gloo_at_rest
from torch.nn.parallel import DistributedDataParallel
from MODULE import Model
dist.init_process_group("gloo")
torch.manual_seed(0)
model = DistributedDataParallel(Model())
torch.manual_seed(dist.get_rank())
model(torch.randn(2, 3, 5, 8)).square().sum().backward()
total = sum(one.grad.abs().double().sum() for one in model.parameters())
with open(f"gradient.{dist.get_rank()}", "w") as file:
    file.write(f"{total.item():.12f}")
dist.destroy_process_group()
gloo_at_rest()
"""
#: Where gloo_at_rest.py is.
TORCH_TESTS = Path(__file__).parents[1] / "torch"


def run(folder: Path, module: str, **variables: str) -> tuple[list[str], str]:
    """The gradient of each process, and what was printed to stderr."""
    (folder / f"run_{module}.py").write_text(SCRIPT.replace("MODULE", module))
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ASTCAPTURE")}
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", f"run_{module}.py"]
    done = subprocess.run(
        [sys.executable, *torchrun],
        cwd=folder,
        env=environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(TORCH_TESTS)} | variables,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [(folder / f"gradient.{rank}").read_text() for rank in range(2)], done.stderr


@pytest.mark.long
@pytest.mark.torch
def test_each_process_is_edited_and_the_gradients_are_those_of_the_source_edited_by_hand(tmp_path):
    (tmp_path / "model.py").write_text(MODEL.replace("EDIT", "pass"))
    (tmp_path / "by_hand.py").write_text(MODEL.replace("EDIT", "attn = attn.clone(); attn[..., 0] = 0"))
    (plain, _), (by_hand, _) = run(tmp_path, "model"), run(tmp_path, "by_hand")
    edited, told = run(tmp_path, "model", ASTCAPTURE_EDIT="model:Attention.forward=attn=zero(columns=0)")
    assert edited == by_hand
    assert edited != plain
    assert told.count("zero(columns=0)): fired 2 times on 2 layers") == 2
    assert "EditError" not in told
