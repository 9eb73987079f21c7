"""What capturing adds to the import of real modules, cold and from the bytecode cache.

    python benchmarks/import_cost.py

`torch.nn.functional` is imported as a copy, in a process that has torch: the real one cannot be imported
twice. transformers' BERT is imported with all that it brings, in a process of its own each time, if
transformers is installed. The variants run in turn; quoted are the median over the rounds of the ratio to
the plain import, and the range from the 10th to the 90th percentile.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import astcapture

#: Seconds. A source that was written within the last two is not known again by its times; a library's is older.
AGE = 2.5
COPY = "functional_copy"
TARGET = f"{COPY}:multi_head_attention_forward=attn_output_weights"


def once(folder: Path, target: str | None, cold: bool) -> float:
    """Seconds that one import of the copy takes."""
    if cold:
        shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    importlib.invalidate_caches()
    hook = astcapture.install([target]) if target else None
    start = time.perf_counter()
    importlib.import_module(COPY)
    taken = time.perf_counter() - start
    del sys.modules[COPY]
    if hook is not None:
        hook.uninstall()
    return taken


def functional(rounds: int) -> None:
    import torch.nn.functional

    sys.dont_write_bytecode = False
    source = Path(torch.nn.functional.__file__).read_text()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # What it does to functions of C happens once in a process.
        (folder / f"{COPY}.py").write_text(source.replace("_add_docstr(", "(lambda function, text: function)("))
        sys.path.insert(0, name)
        time.sleep(AGE)
        for cold, must in ((True, 2.0), (False, 1.05)):
            once(folder, None, cold), once(folder, TARGET, cold)
            # A warm import takes a few milliseconds, and other processes as much.
            times = rounds if cold else 10 * rounds
            found = [(once(folder, None, cold), once(folder, TARGET, cold)) for _ in range(times)]
            kind = "cold" if cold else "warm"
            show(
                f"torch.nn.functional, {kind} ({statistics.median(one for one, _ in found) * 1e3:.1f} ms)", found, must
            )


def process(target: str | None) -> float:
    """Seconds that a process takes that imports BERT."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ASTCAPTURE")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    lines = "import astcapture; astcapture.install(%r)\n" % target if target else ""  # noqa: UP031
    code = lines + "import transformers.models.bert.modeling_bert"
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def bert(rounds: int) -> None:
    if importlib.util.find_spec("transformers") is None:
        print("transformers is not installed: BERT is left out")
        return
    for target in ("transformers.models.bert.modeling_bert:eager_attention_forward=attn_weights", "@hf-attention"):
        process(None), process(target)
        found = [(process(None), process(target)) for _ in range(rounds)]
        show(f"a process with BERT, warm, {target.partition(':')[0]}", found, None)


def show(what: str, found: list[tuple[float, float]], must: float | None) -> None:
    ratios = sorted(captured / plain for plain, captured in found)
    low, high = ratios[len(ratios) // 10], ratios[-1 - len(ratios) // 10]
    bound = f"   must {must}" if must else ""
    print(f"{what:70} {statistics.median(ratios):.3f} ({low:.3f} to {high:.3f}){bound}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    print(f"Python {sys.version.split()[0]}, {rounds} rounds: median (10th to 90th percentile)")
    functional(rounds)
    bert(max(9, rounds // 2))


if __name__ == "__main__":
    main()
