"""What capturing adds to a model's forward, against the same model edited by hand.

    python benchmarks/model_forward.py

A 12-layer ViT-tiny on 17 tokens, one thread, without gradients; the attention map of every layer is
taken, named by layer and model; and that of one layer alone, ``layers="11.attn"``. The variants run in
turn; quoted are the median over the rounds of the ratio to the hand-edited model and to the plain one,
and the range from the 10th to the 90th percentile.
"""

from __future__ import annotations

import importlib
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

import astcapture
from astcapture.record import draining

ROUNDS = 60
FORWARDS = 5

MODEL = """
import torch
from torch import nn

kept = []


class Attention(nn.Module):
    def __init__(self, dim=192, heads=3):
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x):
        batch, tokens, dim = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attn = (q @ k.mT * self.scale).softmax(-1)
        EDIT
        return self.proj((attn @ v).transpose(1, 2).reshape(batch, tokens, dim))


class Block(nn.Module):
    def __init__(self, dim=192):
        super().__init__()
        self.norm1, self.attn, self.norm2 = nn.LayerNorm(dim), Attention(dim), nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Sequential):
    def __init__(self):
        super().__init__(*[Block() for _ in range(12)])
"""

EDITS = {"plain": "pass", "by_hand": "kept.append(attn.detach().clone())", "captured": "pass", "one_layer": "pass"}


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        sys.path.insert(0, folder)
        for name, edit in EDITS.items():
            Path(folder, f"vit_{name}.py").write_text(MODEL.replace("EDIT", edit))
        astcapture.install(["vit_captured:Attention.forward=attn"])
        astcapture.install(["vit_one_layer:Attention.forward=attn"], layers="11.attn")
        modules = {name: importlib.import_module(f"vit_{name}") for name in EDITS}
        models = {name: module.ViT().eval() for name, module in modules.items()}
        x = torch.randn(1, 17, 192)
        times: dict[str, list[float]] = {name: [] for name in EDITS}
        with torch.no_grad():
            for number in range(ROUNDS + 1):
                for name, model in models.items():
                    start = time.perf_counter()
                    for _ in range(FORWARDS):
                        model(x)
                    if number:
                        times[name].append((time.perf_counter() - start) / FORWARDS)
                modules["by_hand"].kept.clear()
                draining.drain()
    print(f"torch {torch.__version__}, {ROUNDS} rounds of {FORWARDS} forwards\n")
    for name, seconds in times.items():
        against = "   ".join(f"against {other} {_ratio(seconds, times[other])}" for other in ("by_hand", "plain"))
        print(f"{name:<10}{1000 * statistics.median(seconds):7.2f} ms   {against}")


def _ratio(seconds: list[float], others: list[float]) -> str:
    ratios = [one / other for one, other in zip(seconds, others, strict=True)]
    deciles = statistics.quantiles(ratios, n=10)
    return f"{statistics.median(ratios):.3f} ({deciles[0]:.3f} to {deciles[-1]:.3f})"


if __name__ == "__main__":
    main()
