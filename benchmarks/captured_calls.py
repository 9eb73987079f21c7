"""What capturing the results of calls costs: ``python benchmarks/captured_calls.py``.

1. What a captured call adds, against what a captured return of the same value adds.
2. A 12-layer ViT-tiny whose attention has every call captured (``*@call``), against the same appends by hand.

The variants run in turn, one thread; quoted are the median over the rounds and the range from the 10th to the 90th
percentile. Needs torch.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import time
from pathlib import Path

import torch
from capture_cost import ROUNDS, calls, interleave, ratios, row, spread, temporary_module

import astcapture
from astcapture.record import draining

SMALL = """
def g(x):
    return x

def plain(x):
    y = g(x)
    return y

def by_hand(x):
    y = g(x)
    return y

def captured(x):
    y = g(x)
    return y
"""

MODEL = """
import torch
from torch import nn

kept = []


class Attention(nn.Module):
    def __init__(self, dim=192, heads=3):
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.qkv, self.proj, self.drop = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim), nn.Dropout(0.0)

    def forward(self, x):
        batch, tokens, dim = x.shape
EDIT


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
PLAIN = """
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attn = self.drop((q @ k.mT * self.scale).softmax(-1))
        return self.proj((attn @ v).transpose(1, 2).reshape(batch, tokens, dim))
"""
BY_HAND = """
        r = self.qkv(x)
        kept.append(r.detach().clone())
        r = r.reshape(batch, tokens, 3, self.heads, -1)
        kept.append(r.detach().clone())
        r = r.permute(2, 0, 3, 1, 4)
        kept.append(r.detach().clone())
        q, k, v = r
        s = (q @ k.mT * self.scale).softmax(-1)
        kept.append(s.detach().clone())
        attn = self.drop(s)
        kept.append(attn.detach().clone())
        r = (attn @ v).transpose(1, 2)
        kept.append(r.detach().clone())
        r = r.reshape(batch, tokens, dim)
        kept.append(r.detach().clone())
        r = self.proj(r)
        kept.append(r.detach().clone())
        return r
"""


def one_call() -> None:
    tensor = torch.randn(1, 3, 17, 17)
    graph = torch.randn(1, 3, 17, 17, requires_grad=True) * 1
    values = (("a small object", 7, 50_000), ("a tensor", tensor, 5_000), ("a tensor with a graph", graph, 5_000))
    for what, value, number in values:
        with temporary_module(SMALL) as path:
            targets = [f"{path.stem}:by_hand=y", f"{path.stem}:captured=g@call"]
            with astcapture.install(targets):
                module = importlib.import_module(path.stem)
                module.value = value
                times = interleave(calls(module, "f(value)", number, lambda: None))
        figure = spread(ratios(times["captured"], times["by_hand"], times["plain"]))
        row(f"added by a captured call, against a captured return: {what}", figure, "1.1", "1.0")


def every_call() -> None:
    with tempfile.TemporaryDirectory() as folder:
        sys.path.insert(0, folder)
        for name, body in {"plain": PLAIN, "by_hand": BY_HAND, "captured": PLAIN}.items():
            Path(folder, f"calls_{name}.py").write_text(MODEL.replace("EDIT", body))
        astcapture.install(["calls_captured:Attention.forward=*@call"])
        modules = {name: importlib.import_module(f"calls_{name}") for name in ("plain", "by_hand", "captured")}
        models = {name: module.ViT().eval() for name, module in modules.items()}
        for tokens in (17, 197):
            x = torch.randn(1, tokens, 192)

            def variant(name: str, x: torch.Tensor = x) -> float:
                start = time.perf_counter()
                for _ in range(5):
                    models[name](x)
                seconds = time.perf_counter() - start
                modules["by_hand"].kept.clear()
                draining.drain()
                astcapture.cache.clear()
                return seconds

            with torch.no_grad():
                times = interleave({name: lambda name=name: variant(name) for name in models}, 2 * ROUNDS)
            figure = spread(ratios(times["captured"], times["by_hand"]))
            row(f"ViT-tiny, {tokens} tokens, *@call, against the same appends by hand", figure, "1.15", "1.03")


def main() -> None:
    torch.set_num_threads(1)
    print(f"Python {sys.version.split()[0]}, torch {torch.__version__}, {ROUNDS} rounds\n")
    row("what", "measured", "must", "aim")
    one_call()
    every_call()


if __name__ == "__main__":
    main()
