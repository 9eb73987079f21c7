"""astcapture beside what one would otherwise pick: time, memory, import, and the lines to write, in one run.

    pip install -c constraints.txt -r benchmarks/peers_requirements.txt -e ".[plot]"
    git clone https://github.com/luo3300612/Visualizer ../Visualizer
    python benchmarks/peers.py --visualizer ../Visualizer --plot peers.png

In an environment of its own: anycapture's wheel holds an old `timm`. The model is transformers' `ViTModel`, 12 layers,
192 wide, 3 heads, 17 tokens, eager attention, random weights; wanted are the attention maps of all layers. Each
variant has a process of its own with one thread and without gradients, forked from one that has imported torch and
transformers, since some of them change torch for all others. The processes take turns, in an order shuffled anew for
each round. Quoted are medians over the rounds, and ranges from the 10th to the 90th percentile; ratios are of times of
the same round. Nothing is timed before its maps equal those of `output_attentions` bit by bit, and its model's output
that of the plain model. A forward's time includes dropping its maps. Linux only: memory is read from /proc.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from peers import picture, table, worker
from peers.table import Measured
from peers.variants import PLAIN, VARIANTS, Variant

ROUNDS, FEWER_ROUNDS = 31, 11
FORWARDS, MOST_SECONDS = 10, 0.5

_TIMED_IMPORT = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--visualizer", metavar="FOLDER", help="a clone of github.com/luo3300612/Visualizer")
    parser.add_argument("--plot", metavar="FILE", help="draw the times into this file")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of timing ({ROUNDS})")
    parser.add_argument(
        "--fewer", type=int, default=FEWER_ROUNDS, help=f"rounds of imports and of memory ({FEWER_ROUNDS})"
    )
    given = parser.parse_args(arguments)
    if min(given.rounds, given.fewer) < 2:
        parser.error("a spread needs at least two rounds")
    started = time.monotonic()
    paths = [os.path.abspath(given.visualizer)] if given.visualizer else []
    sys.path[:0] = paths
    measured = {variant.name: Measured(variant.name, variant.lines, missing(variant)) for variant in VARIANTS}
    sys.path[: len(paths)] = []
    for one in measured.values():
        if one.problem:
            print(f"left out: {one.name}: {one.problem}")
    with tempfile.TemporaryDirectory() as folder:
        measure(measured, folder, paths, given.rounds, given.fewer)
    print(f"\n{versions(given.visualizer)}; {given.rounds} rounds of timing, {given.fewer} of imports and memory")
    if sys.dont_write_bytecode:
        print("without cached bytecode (PYTHONDONTWRITEBYTECODE): imports are slower than they would be")
    size = worker.MEMORY_FORWARDS * worker.MEMORY_BATCH * worker.LAYERS * worker.HEADS * worker.TOKENS**2 * 4
    print(
        f"memory: {worker.MEMORY_FORWARDS} forwards of {worker.MEMORY_BATCH} images, all maps kept: {size / 1e6:.1f} MB"
    )
    print(f"\n{table.per_forward(measured)}\n\n{table.besides(measured)}\n\n{table.places(measured)}")
    if given.plot:
        picture.draw(measured, given.plot)
    print(f"\n{time.monotonic() - started:.0f} s")
    return 0


def missing(variant: Variant) -> str:
    """Why the variant cannot take part, or nothing."""
    if variant.module and importlib.util.find_spec(variant.module) is None:
        return f"not installed: {variant.missing}"
    return ""


def measure(measured: dict[str, Measured], folder: str, paths: list[str], rounds: int, fewer: int) -> None:
    _import_in_common()
    variants = {variant.name: variant for variant in VARIANTS if not measured[variant.name].problem}
    workers = {name: worker.Worker(variant, folder, paths) for name, variant in variants.items()}
    try:
        _check(workers, measured)
        going = [name for name in workers if not measured[name].problem]
        forwards = {name: _forwards(workers[name]) for name in going}
        order = random.Random(0)
        for _ in range(rounds):
            for name in order.sample(going, len(going)):
                measured[name].seconds.append(workers[name]("timing", forwards[name]))
        for number in range(fewer + 1):
            for name in order.sample(going, len(going)):
                held, most = workers[name]("memory")
                if number:  # the first time, a process grows by what it never gives back
                    measured[name].held.append(held)
                    measured[name].most.append(most)
    finally:
        for one in workers.values():
            one.close()
    for number in range(fewer + 1):
        for name in order.sample(going, len(going)):
            beside, first = worker.ask(worker.first_maps, variants[name], folder, paths)
            alone = _import_alone(variants[name], paths)
            if number:  # the first time writes bytecode
                measured[name].first_maps.append(first)
                if variants[name].module:
                    measured[name].import_beside.append(beside)
                    measured[name].import_alone.append(alone)


def _import_in_common() -> None:
    """What every variant needs, for the forked processes: torch, transformers, but not the model's own module."""
    import torch

    importlib.import_module("transformers.models.deit.modeling_deit")  # imports all that the module of ViT does
    torch.set_num_threads(1)


def _check(workers: dict[str, worker.Worker], measured: dict[str, Measured]) -> None:
    import numpy as np

    answers: dict[str, Any] = {name: one("check") for name, one in workers.items()}
    for name in (PLAIN, "output_attentions"):
        if isinstance(answers[name], str):
            raise SystemExit(f"{name}, which the others are compared with: {answers[name]}")
    wanted, output = answers["output_attentions"][0], answers[PLAIN][1]
    for name, answer in answers.items():
        if isinstance(answer, str):
            measured[name].problem = f"fails: {answer}"
            continue
        maps, its_output, own_copy = answer
        if not np.array_equal(its_output, output):
            measured[name].problem = "changes the model's output"
        elif name != PLAIN:
            right = sum(np.array_equal(one, other) for one, other in zip(maps, wanted, strict=False))
            if right < len(wanted) or len(maps) != len(wanted):
                measured[name].problem = f"wrong maps: {right} of {len(wanted)} right, {len(maps)} given"
            measured[name].own_copy = own_copy


def _forwards(one: worker.Worker) -> int:
    """How many in one round: fewer of those that take long."""
    one("timing", 1)
    return max(1, min(FORWARDS, int(MOST_SECONDS / one("timing", 1))))


def _import_alone(variant: Variant, paths: list[str]) -> float:
    """Seconds of the variant's import in a fresh interpreter, with all that it imports in turn."""
    if not variant.module:
        return 0.0
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-c", _TIMED_IMPORT.format(variant.module)]
    return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def versions(visualizer: str | None) -> str:
    named = dict.fromkeys(["torch", *(variant.distribution for variant in VARIANTS if variant.distribution)])
    found = [f"Python {platform.python_version()}"]
    for name in named:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    if visualizer:
        command = ["git", "-C", visualizer, "rev-parse", "--short", "HEAD"]
        commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        found.append(f"Visualizer {commit or 'of an unknown commit'}")
    return ", ".join(found)


if __name__ == "__main__":
    sys.exit(main())
