"""What the store costs and gives, as ratios measured in one run: ``python benchmarks/store.py``.

Variants of a row are run in turn, round after round; quoted are the median and the range from the 10th to the
90th percentile. Needs the package installed, torch, and some gigabytes of disk where temporary files go.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch
from safetensors.torch import save_file

import astcapture
from astcapture.record.events import events as waiting
from astcapture.values import open_store as stores

ROUNDS = 11
#: One layer's attention of a ViT-B/16, and of a small model on small images.
LARGE, SMALL = (12, 197, 197), (3, 17, 17)

MODEL = """
import torch

def plain(q, k):
    attn = (q @ k.mT).softmax(-1)
    return attn

def in_memory(q, k):
    attn = (q @ k.mT).softmax(-1)
    return attn

def stored(q, k):
    attn = (q @ k.mT).softmax(-1)
    return attn

def number(x):
    y = x
    return y
"""


def row(what: str, figure: str, must: str, aim: str) -> None:
    print(f"{what:<76}  {figure:<28}  {must:<8}  {aim}", flush=True)


def spread(values: list[float]) -> str:
    deciles = statistics.quantiles(values, n=10)
    return f"{statistics.median(values):.3g} ({deciles[0]:.3g} to {deciles[-1]:.3g})"


def interleave(variants: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Seconds of each variant in each round; one round more is run first and thrown away."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(ROUNDS + 1):
        for name, variant in variants.items():
            seconds = variant()
            if number:
                times[name].append(seconds)
    return times


class Folder:
    """A folder under the temporary one, emptied on request."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="astcapture-benchmark-"))
        self._numbers = itertools.count()

    def fresh(self) -> Path:
        for old in self.path.iterdir():
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        os.sync()  # what the round before left to be written is not this one's
        return self.path / str(next(self._numbers))


def load_model(folder: Folder) -> ModuleType:
    Path(folder.path.parent, "astcapture_benchmark_model.py").write_text(textwrap.dedent(MODEL))
    sys.path.insert(0, str(folder.path.parent))
    return importlib.import_module("astcapture_benchmark_model")


# --- writing ----------------------------------------------------------------------------------------------------


def throughput(folder: Folder, model: ModuleType, shape: tuple[int, ...], count: int) -> None:
    """From records in memory to shards on disk, against one file of the same tensors."""
    tensors = {f"{number:06}": torch.randn(shape) for number in range(count)}

    def ours() -> float:
        path = folder.fresh()
        with astcapture.install(f"{model.__name__}:number=y", store=path, limit=None):
            stream = stores.current()
            assert stream is not None
            stream.background.stop()
            for tensor in tensors.values():
                model.number(tensor)
            kept = [event[1] for event in waiting]  # freeing memory is no part of writing: save_file frees none
            start = time.perf_counter()
            stream.flush(final=True)
            seconds = time.perf_counter() - start
            assert len(kept) == count
        astcapture.cache.clear()
        return seconds

    def theirs() -> float:
        path = folder.fresh()
        path.mkdir()
        start = time.perf_counter()
        save_file(tensors, path / "all.safetensors")
        return time.perf_counter() - start

    times = interleave({"ours": ours, "theirs": theirs})
    figure = spread([other / one for one, other in zip(times["ours"], times["theirs"], strict=True)])
    size = count * tensors["000000"].nbytes
    row(f"throughput, {count} tensors of {named(shape)}, against save_file", figure, "0.6", "0.9")
    speeds = [size / statistics.median(times[name]) / 1e6 for name in ("ours", "theirs")]
    row("    the same in MB/s: ours, save_file", ", ".join(f"{one:.0f}" for one in speeds), "", "")


def model_thread(folder: Folder, model: ModuleType, shape: tuple[int, ...], number: int) -> None:
    """What a captured tensor adds to the thread of a model that computes it."""
    heads, tokens, _ = shape
    q, k = torch.randn(heads, tokens, 64), torch.randn(heads, tokens, 64)

    def loop(function: Callable[..., object]) -> float:
        start = time.perf_counter()
        for _ in range(number):
            function(q, k)
        return time.perf_counter() - start

    def in_memory() -> float:
        with astcapture.install(f"{model.__name__}:in_memory=attn", limit=None):
            seconds = loop(model.in_memory)
        astcapture.cache.clear()
        return seconds

    def stored() -> float:
        with astcapture.install(f"{model.__name__}:stored=attn", store=folder.fresh(), limit=None):
            seconds = loop(model.stored)
        astcapture.cache.clear()
        return seconds

    times = interleave({"plain": lambda: loop(model.plain), "in_memory": in_memory, "stored": stored})
    added = {
        name: [1e6 * (one - none) / number for one, none in zip(times[name], times["plain"], strict=True)]
        for name in ("in_memory", "stored")
    }
    figure = spread([one / other for one, other in zip(added["stored"], added["in_memory"], strict=True)])
    row(f"time added to the model's thread per tensor of {named(shape)}, against in memory", figure, "1.3", "1.05")
    row(
        "    the same in µs: plain; added in memory, with the store",
        "; ".join(
            [f"{1e6 * statistics.median(times['plain']) / number:.0f}"]
            + [f"{statistics.median(added[name]):.1f}" for name in ("in_memory", "stored")]
        ),
        "",
        "",
    )


GROWTH = """
import sys, threading, time
import torch
torch.set_num_threads(1)
import astcapture

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

hook = astcapture.install("astcapture_benchmark_model:number=y", store=sys.argv[1], limit="64MB")
import astcapture_benchmark_model as model
x = torch.randn(12, 197, 197)
model.number(x)
before, most, done = resident(), 0, False

def watch():
    global most
    while not done:
        most = max(most, resident())
        time.sleep(0.002)

watcher = threading.Thread(target=watch)
watcher.start()
count = int(4e9 // x.nbytes)
for _ in range(count):
    model.number(x)
hook.uninstall()
done = True
watcher.join()
run = astcapture.load(sys.argv[1])
assert len(run["number"]) == count + 1, len(run["number"])
print((most - before) / 1e6)
"""


def growth(folder: Folder) -> None:
    grown = []
    for _ in range(ROUNDS):
        done = subprocess.run(
            [sys.executable, "-c", GROWTH, str(folder.fresh())],
            env={**os.environ, "PYTHONPATH": str(folder.path.parent)},
            capture_output=True,
            text=True,
            check=True,
        )
        grown.append(float(done.stdout))
    row('growth of resident memory, 4 GB captured with limit="64MB", in MB', spread(grown), "200", "130")


# --- reading ----------------------------------------------------------------------------------------------------


def reading(folder: Folder, model: ModuleType, shape: tuple[int, ...], count: int, opening: bool) -> None:
    path = folder.fresh()
    with astcapture.install(f"{model.__name__}:number=y", store=path):
        x = torch.randn(shape)
        for _ in range(count):
            model.number(x)
    astcapture.cache.clear()
    if opening:

        def opened() -> float:
            start = time.perf_counter()
            run = astcapture.load(path)
            seconds = time.perf_counter() - start
            assert sum(len(shard) for one in run.processes for shard in one.shards) == count
            return seconds

        times = interleave({"load": opened})["load"]
        row(f"opening a run of {count:,} records, in seconds", spread(times), "1", "0.1")
    each = []
    for number in range(ROUNDS):
        records = astcapture.load(path)["number"]
        chosen = random.Random(number).sample(range(count), min(count, 300))
        start = time.perf_counter()
        for index in chosen:
            records[index]
        each.append(1000 * (time.perf_counter() - start) / len(chosen))
    row(f"reading one value of {named(shape)} at random, of {count:,}, in ms", spread(each), "1", "0.1")


# --- threads ----------------------------------------------------------------------------------------------------


def eight_threads(folder: Folder, model: ModuleType, count: int = 100_000) -> None:
    kept: list[tuple[object, ...]] = []
    append, get_ident, site = kept.append, threading.get_ident, ("m", "f", "y", 1)

    def by_hand(x: int) -> int:
        append((site, x, get_ident(), None))
        return x

    def together(function: Callable[[int], object]) -> float:
        def work() -> None:
            for one in range(count):
                function(one)

        threads = [threading.Thread(target=work) for _ in range(8)]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - start

    def captured() -> float:
        with astcapture.install(f"{model.__name__}:number=y", limit=None):
            seconds = together(model.number)
            assert len(astcapture.cache["number"]) == 8 * count
        astcapture.cache.clear()
        return seconds

    def stored() -> float:
        path = folder.fresh()
        with astcapture.install(f"{model.__name__}:number=y", store=path, limit=None):
            seconds = together(model.number)
        astcapture.cache.clear()
        run = astcapture.load(path)
        assert sum(len(shard) for one in run.processes for shard in one.shards) == 8 * count
        return seconds

    def appended() -> float:
        kept.clear()
        seconds = together(by_hand)
        assert len(kept) == 8 * count
        return seconds

    times = interleave({"captured": captured, "stored": stored, "appended": appended})
    for name in ("captured", "stored"):
        figure = spread([one / other for one, other in zip(times[name], times["appended"], strict=True)])
        row(f"8 threads × {count:,} records, none lost, {name}; time against append by hand", figure, "none lost", "1")


def named(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


ROWS = ("throughput", "thread", "growth", "reading", "threads")


def main() -> None:
    global ROUNDS
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], help="which to measure; all, if none is named")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often; the default is %(default)s")
    arguments = parser.parse_args()
    rows, ROUNDS = arguments.rows or ROWS, arguments.rounds
    torch.set_num_threads(1)
    folder = Folder()
    model = load_model(folder)
    row("", "median (10% to 90%)", "must", "aim")
    try:
        if "throughput" in rows:
            throughput(folder, model, LARGE, 140)
            throughput(folder, model, SMALL, 20_000)
        if "thread" in rows:
            model_thread(folder, model, LARGE, 150)
            model_thread(folder, model, SMALL, 5_000)
        if "growth" in rows:
            growth(folder)
        if "reading" in rows:
            reading(folder, model, SMALL, 100_000, opening=True)
            reading(folder, model, LARGE, 500, opening=False)
        if "threads" in rows:
            eight_threads(folder, model)
    finally:
        shutil.rmtree(folder.path)
        del waiting[:]


if __name__ == "__main__":
    main()
