"""What capturing adds to a compiled model's forward, against the same compiled model edited by hand.

    python benchmarks/compiled_forward.py [--backend inductor]

A 12-layer ViT-tiny, one thread, without gradients; the attention map of every layer is taken. By hand, each
layer hands its map on and the model returns them all: what a full graph allows. Then every local of every function
(``*``), against a model that appends a copy of each tensor to a list that it is given. Needs a C++ compiler. The
variants run in turn; quoted are the median over the rounds of the ratio to the model edited by hand, and
the range from the 10th to the 90th percentile.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

import astcapture

MODEL = """
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim=192, heads=3):
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x):
        batch, tokens, dim = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attn = (q @ k.mT * self.scale).softmax(-1)
        out = self.proj((attn @ v).transpose(1, 2).reshape(batch, tokens, dim))
        return RETURNED


class Block(nn.Module):
    def __init__(self, dim=192):
        super().__init__()
        self.norm1, self.attn, self.norm2 = nn.LayerNorm(dim), Attention(dim), nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x):
        FIRST = self.attn(self.norm1(x))
        x = x + out
        x = x + self.mlp(self.norm2(x))
        return BLOCK


class ViT(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(12))

    def forward(self, x):
        maps = []
        for block in self.blocks:
            STEP
        return LAST
"""
AS_IT_IS = {"RETURNED": "out", "FIRST": "out", "BLOCK": "x", "STEP": "x = block(x)", "LAST": "x"}
BY_HAND = {
    "RETURNED": "out, attn.detach().clone()",
    "FIRST": "out, attn",
    "BLOCK": "x, attn",
    "STEP": "x, attn = block(x); maps.append(attn)",
    "LAST": "x, maps",
}
KEEP = "kept.extend([one.detach().clone() for one in ({})])\n        return"
ALL_BY_HAND = {
    "def forward(self, x):": "def forward(self, x, kept):",
    "return RETURNED": KEEP.format("x, q, k, v, attn, out") + " out",
    "FIRST = self.attn(self.norm1(x))": "out = self.attn(self.norm1(x), kept)",
    "return BLOCK": KEEP.format("x, out") + " x",
    "STEP": "x = block(x, kept)",
    "return LAST": KEEP.format("x,") + " x",
}
VARIANTS = {
    "plain": AS_IT_IS, "by_hand": BY_HAND, "captured": AS_IT_IS, "all_by_hand": ALL_BY_HAND, "all_captured": AS_IT_IS,
}  # fmt: skip
#: What each is compared with.
AGAINST = {"plain": "by_hand", "captured": "by_hand", "all_captured": "all_by_hand"}
TENSORS = 12 * (6 + 2) + 1


def source(edits: dict[str, str]) -> str:
    text = MODEL
    for word, edit in edits.items():
        text = text.replace(word, edit)
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--backend", default="inductor")
    parser.add_argument("--tokens", type=int, default=197)
    parser.add_argument("--rounds", type=int, default=41)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        sys.path.insert(0, folder)
        for name, edits in VARIANTS.items():
            Path(folder, f"compiled_{name}.py").write_text(source(edits))
        astcapture.install(["compiled_captured:Attention.forward=attn", "compiled_all_captured:*=*"], limit=None)
        modules = {name: importlib.import_module(f"compiled_{name}") for name in VARIANTS}
        x = torch.randn(1, options.tokens, 192)
        models = {
            name: torch.compile(module.ViT().eval(), fullgraph=True, backend=options.backend)
            for name, module in modules.items()
        }
        astcapture.cache.clear()  # of what made the models
        times: dict[str, list[float]] = {name: [] for name in VARIANTS}
        with torch.no_grad():
            for number in range(options.rounds + 3):
                for name, model in models.items():
                    kept: list[torch.Tensor] = []
                    given = (x, kept) if name == "all_by_hand" else (x,)
                    start = time.perf_counter()
                    model(*given)
                    taken = time.perf_counter() - start
                    if number >= 3:
                        times[name].append(taken)
                    assert len(kept) == (TENSORS if name == "all_by_hand" else 0)
                    check(name)
                    astcapture.cache.clear()
    print(f"torch {torch.__version__}, {options.backend}, {options.tokens} tokens, {options.rounds} rounds")
    for name, taken in times.items():
        told = ""
        if name in AGAINST:
            ratios = sorted(one / other for one, other in zip(taken, times[AGAINST[name]], strict=True))
            low, high = ratios[len(ratios) // 10], ratios[-1 - len(ratios) // 10]
            told = f"against {AGAINST[name]} {statistics.median(ratios):.3f} ({low:.3f} to {high:.3f})"
        print(f"{name:12} {statistics.median(taken) * 1e3:8.2f} ms   {told}".rstrip())


def check(name: str) -> None:
    """What was captured in one forward is all there."""
    records = astcapture.cache.select().records
    if name == "captured":
        assert [record.layer for record in records] == [f"blocks.{index}.attn" for index in range(12)]
    elif name == "all_captured":
        assert sum(isinstance(record.value, torch.Tensor) for record in records) == TENSORS
    else:
        assert not records


if __name__ == "__main__":
    main()
