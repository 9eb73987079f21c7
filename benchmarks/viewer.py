"""How large a viewer's file is, how long building it takes against reading the same run, and how much memory.

    python benchmarks/viewer.py [FOLDER]

Two stored runs of float32 maps, as a causal language model has them: 12 layers × 12 heads × 2,048 tokens (2.4 GB on
disk, in FOLDER or a temporary one), and 4 layers × 4 heads × 17 tokens. Reading is loading the run and reading every
value once, which verifies its checksum. Each measurement is a process of its own; reading and building take turns,
first with the files on disk, then in the page cache, where reading is as fast as memory. Quoted are the medians
over the rounds, with the processor time of all threads, and the largest resident memory. The exit status is 1 where a
figure is not reached.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import astcapture
from astcapture.values.record import Record
from astcapture.values.saving import save

ROUNDS = 3
#: Layers, heads, tokens; and the most that is accepted: bytes of the file, ratio to reading, bytes of memory.
RUNS = {
    "large": ((12, 12, 2048), 25e6, 2.0, 500e6),
    "small": ((4, 4, 17), 400e3, None, 500e6),
}

READ = """
import sys, time, json
start = time.perf_counter()
import astcapture
for record in astcapture.load(sys.argv[1]).select().records:
    record.value
seconds = time.perf_counter() - start
# Of this program alone: what getrusage tells includes the process that started it.
memory = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps([seconds, memory, time.process_time()]))
"""
BUILD = """
import sys, time, json
start = time.perf_counter()
import astcapture
astcapture.load(sys.argv[1]).view().save(sys.argv[2])
seconds = time.perf_counter() - start
# Of this program alone: what getrusage tells includes the process that started it.
memory = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps([seconds, memory, time.process_time()]))
"""


def attention(heads: int, tokens: int, seed: int) -> np.ndarray:
    """Causal maps with a sink, a diagonal, a band and noise, in different parts for each head."""
    random = np.random.default_rng(seed)
    scores = random.normal(size=(1, heads, tokens, tokens)).astype(np.float32) * 2
    apart = np.arange(tokens, dtype=np.float32)[:, None] - np.arange(tokens, dtype=np.float32)
    for head in range(heads):
        sink, near, width = random.uniform(0, 8), random.uniform(0, 6), random.uniform(1, 200)
        scores[0, head, :, 0] += sink
        scores[0, head] += near * np.exp(-apart / width, where=apart >= 0, out=np.zeros_like(apart))
        scores[0, head][apart < 0] = -np.inf
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    return scores / scores.sum(axis=-1, keepdims=True)


def write(folder: Path, layers: int, heads: int, tokens: int) -> None:
    def records() -> Iterator[Record]:
        for layer in range(layers):
            value = attention(heads, tokens, layer)
            yield Record(value, "attn", "model", "Attention.forward", 12, f"blocks.{layer}.attn", 0, model="LM")

    for record in records():
        save([record], astcapture.Cache().notes(), folder)


def measured(program: str, *arguments: str) -> tuple[float, float, float]:
    """Seconds, bytes of memory, and seconds of processor time, of all threads."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], env=env, check=True, capture_output=True, text=True
    )
    seconds, memory, processor = json.loads(done.stdout)
    return seconds, memory, processor


def forget(folder: Path) -> None:
    """Take the files out of the page cache, where the system offers it."""
    for path in folder.rglob("*.safetensors"):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> int:
    failed = False
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as name:
        for run, ((layers, heads, tokens), most_size, most_ratio, most_memory) in RUNS.items():
            folder, out = Path(name, run), Path(name, f"{run}.html")
            write(folder, layers, heads, tokens)
            results: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
            for _ in range(ROUNDS):
                for what, program in (("reading", READ), ("building", BUILD)):
                    forget(folder)
                    for files in ("disk", "page cache"):
                        results.setdefault((files, what), []).append(measured(program, str(folder), str(out)))
            memory = max(one[1] for (_, what), found in results.items() if what == "building" for one in found)
            size = out.stat().st_size
            print(f"{layers} layers × {heads} heads × {tokens:,} tokens")
            print(f"  file                      {size / 1e6:8.2f} MB  (at most {most_size / 1e6:g})")
            print(f"  memory while building     {memory / 1e6:8.0f} MB  (at most {most_memory / 1e6:g})")
            for files in ("disk", "page cache"):
                reading, building = (
                    statistics.median(one[0] for one in results[files, what]) for what in ("reading", "building")
                )
                accepted = f"(at most {most_ratio:g})" if most_ratio else "(mostly imports)"
                print(
                    f"  from the {files:<12} reading {reading:.2f} s, building {building:.2f} s: "
                    f"{building / reading:.2f} times {accepted}"
                )
                used = [statistics.median(one[2] for one in results[files, what]) for what in ("reading", "building")]
                # Other programs make a computer slower, and hardly change this.
                print(f"{'':28}processor time {used[0]:.2f} s and {used[1]:.2f} s: {used[1] / used[0]:.2f} times")
                failed |= most_ratio is not None and building / reading > most_ratio
            failed |= size > most_size or memory > most_memory
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
