"""How long the pictures of long sequences take, drawn and written as PNG.

    python benchmarks/plots.py

Maps of 2,048 tokens, float32, one thread; seconds of processor time, which others on the machine do not lengthen
much. The pictures take turns; quoted are the median over the rounds, the range from the 10th to the 90th
percentile, and the median of the ratio to matplotlib's own `imshow` of one map, written in the same round. A
picture of more than two seconds is marked, and the exit status is 1 then.
"""

from __future__ import annotations

import io
import os
import statistics
import sys
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from astcapture import plot

TOKENS, HEADS, LAYERS = 2048, 12, 2
ROUNDS = 9
MOST_SECONDS = 2.0


def attention(*shape: int) -> np.ndarray:
    weights = np.random.default_rng(0).random(shape, dtype=np.float32)
    return weights / weights.sum(axis=-1, keepdims=True)


def imshow(weights: np.ndarray) -> Figure:
    figure, ax = plt.subplots()
    ax.imshow(weights)
    return figure


def main() -> int:
    maps = attention(LAYERS, HEADS, TOKENS, TOKENS)
    grid, image = (32, 64), np.zeros((320, 640, 3))
    words = [f"w{number}" for number in range(TOKENS)]
    pictures: dict[str, Callable[[], Figure]] = {
        "imshow": lambda: imshow(maps[0, 0]),
        "head": lambda: plot.head(maps[0, 0]).figure,
        "head, named tokens": lambda: plot.head(maps[0, 0], tokens=words).figure,
        "heads (12)": lambda: plot.heads(maps[0]),
        "layers (2 × 12)": lambda: plot.layers(maps).figure,
        "tokens": lambda: plot.tokens(maps[0, :1], words).figure,
        "patch_to_patch": lambda: plot.patch_to_patch(maps[0], image, (3, 5), grid=grid),
        "rollout (2 × 1)": lambda: plot.rollout(maps[:, :1], image, grid=grid).figure,
        "distance (2 × 1)": lambda: plot.distance(maps[:, :1], grid=grid).figure,
        "entropy (2 × 1)": lambda: plot.entropy(maps[:, :1]).figure,
    }
    seconds: dict[str, list[float]] = {name: [] for name in pictures}
    for number in range(ROUNDS + 1):
        for name, draw in pictures.items():
            start = time.process_time()
            draw().savefig(io.BytesIO(), format="png")
            took = time.process_time() - start
            plt.close("all")
            if number:  # the first round loads fonts
                seconds[name].append(took)
    print(f"matplotlib {mpl.__version__}, {TOKENS} tokens, {ROUNDS} rounds\n")
    slow = False
    for name, took in seconds.items():
        deciles = statistics.quantiles(took, n=10)
        ratios = [one / other for one, other in zip(took, seconds["imshow"], strict=True)]
        slow |= (too_slow := statistics.median(took) > MOST_SECONDS)
        print(
            f"{name:<20}{statistics.median(took):6.2f} s  ({deciles[0]:.2f} to {deciles[-1]:.2f})"
            f"{statistics.median(ratios):7.1f} × imshow{'   SLOW' * too_slow}"
        )
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
