"""What capturing the weights of fused attention takes: memory in shares of a map, and time once recording has stopped.

    python benchmarks/fused_memory.py [TOKENS]

One layer of 8 heads, float32, on the CPU with one thread. Memory is the most that torch has allocated at once, as its
profiler sees it, less that of the same forward without capturing. For the time, a model of four layers runs plainly and
with a limit that stops recording at the first map; both run in turn in each round, and quoted are the median of the
ratios and the range from the 10th to the 90th percentile.
"""

from __future__ import annotations

import importlib
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

import astcapture

ROUNDS = 15
HEADS = 8

MODEL = """
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(256, 768)

    def forward(self, x):
        q, k, v = self.qkv(x).view(*x.shape[:2], 3, 8, 32).permute(2, 0, 3, 1, 4)
        return x + F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class Net(nn.Sequential):
    def __init__(self, depth):
        super().__init__(*(Attention() for _ in range(depth)))
"""
TARGET = "fused_captured:Attention.forward=weights@sdpa"

REDUCTIONS: dict[str, Any] = {
    "the whole map": None,
    "w.mean(1)[:, 0]": lambda w: w.mean(1)[:, 0],
    "w.mean((1, 2))": lambda w: w.mean((1, 2)),
    "w.topk(8)": lambda w: w.topk(8),
    "w.argmax(-1)": lambda w: w.argmax(-1),
    "w[:, 3, 5]": lambda w: w[:, 3, 5],
    "entropy": lambda w: -(w * w.clamp_min(1e-12).log()).sum(-1),
    "w.mean(1), an eighth of it": lambda w: w.mean(1),
    "w.flatten(1), the whole map": lambda w: w.flatten(1).sum(),
}


def peak(call: Callable[[], Any]) -> int:
    """The most bytes that torch has had allocated at once."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        call()
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    most = held = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def memory(tokens: int, plain: Any, captured: Any) -> None:
    x = torch.randn(1, tokens, 256)
    whole = HEADS * tokens * tokens * 4
    without = peak(lambda: plain(x))
    print(f"one map of {tokens} tokens: {whole / 1e6:.0f} MB; the forward itself: {without / whole:.3f} of it")
    for name, reduce in REDUCTIONS.items():
        with astcapture.install(TARGET, reduce=reduce, limit=None):
            used = peak(lambda: captured(x)) - without
            astcapture.cache.clear()
        print(f"  {name:28} {used / whole:6.3f} of the map")
    for name in ("the whole map", "w.flatten(1), the whole map"):
        with astcapture.install(TARGET, reduce=REDUCTIONS[name], limit="1MB"):
            used = peak(lambda: captured(x)) - without
            astcapture.cache.clear()
        print(f"  {name:28} {used / whole:6.3f} of the map, with no room for it")


def stopped(tokens: int, plain: Any, captured: Any) -> None:
    x = torch.randn(1, tokens, 256)

    def seconds(net: Any) -> float:
        start = time.perf_counter()
        net(x)
        return time.perf_counter() - start

    with astcapture.install(TARGET, limit="1MB"):
        captured(x), plain(x)
        ratios = []
        for number in range(ROUNDS):
            order = (plain, captured) if number % 2 else (captured, plain)
            times = {id(net): seconds(net) for net in order}
            ratios.append(times[id(captured)] / times[id(plain)])
        values = len(astcapture.cache.select())
    ratios.sort()
    low, high = ratios[len(ratios) // 10], ratios[-1 - len(ratios) // 10]
    print(f"recording has stopped ({values} values): {statistics.median(ratios):.3f} of the plain forward")
    print(f"  from {low:.3f} to {high:.3f}, {ROUNDS} rounds of {tokens} tokens, four layers")


@torch.no_grad()
def main() -> None:
    tokens = int(sys.argv[1]) if len(sys.argv) > 1 else 4096
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", astcapture.CaptureWarning)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("fused_plain", "fused_captured"):
            Path(folder, f"{name}.py").write_text(MODEL)
        sys.path.insert(0, folder)
        plain, captured = map(importlib.import_module, ("fused_plain", "fused_captured"))
        memory(tokens, plain.Net(1).eval(), captured.Net(1).eval())
        stopped(tokens, plain.Net(4).eval(), captured.Net(4).eval())


if __name__ == "__main__":
    main()
