"""What capturing costs, as ratios measured in one run: ``python benchmarks/capture_cost.py``.

The variants of each row are run in turn, round after round, so that a machine that slows down slows
all of them. Quoted are the median over the rounds and the range from the 10th to the 90th percentile.
Times of single events are differences: a function with a record less the same function without.

Needs the package installed; the tensor rows need torch.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import astcapture
from astcapture import capture
from astcapture.record.events import events as waiting

ROUNDS = 21
Variant = Callable[[], float]


def interleave(variants: dict[str, Variant], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Seconds of each variant in each round; one round more is run first and thrown away."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds + 1):
        for name, variant in variants.items():
            seconds = variant()
            if number:
                times[name].append(seconds)
    return times


def spread(values: list[float]) -> str:
    deciles = statistics.quantiles(values, n=10)
    return f"{statistics.median(values):.3g} ({deciles[0]:.3g} to {deciles[-1]:.3g})"


def ratios(over: list[float], under: list[float], base: list[float] | None = None) -> list[float]:
    """Round by round; with `base`, of what each adds to it."""
    zero = base or [0.0] * len(over)
    return [(one - nought) / (other - nought) for one, other, nought in zip(over, under, zero, strict=True)]


def row(what: str, figure: str, must: str, aim: str) -> None:
    print(f"{what:<66}  {figure:<28}  {must:<8}  {aim}")


# --- switched off -----------------------------------------------------------------------------------------------


def switched_off() -> None:
    def function(x: int) -> int:
        return x

    source = "from astcapture import capture\n@capture('y')\ndef f(x):\n    y = x\n    return y\n"
    with temporary_module(source) as path:
        plain = compile(source, str(path), "exec", dont_inherit=True)
        module = importlib.import_module(path.stem)
        same = module.f.__code__ == next(one for one in plain.co_consts if hasattr(one, "co_code"))
        loader = type(module.__spec__.loader) is SourceFileLoader
    yes = capture("x")(function) is function and same and loader
    row("off: the function is the one that was written, its bytecode plain", "yes" if yes else "NO", "yes", "yes")


IMPORT = """
import sys, time
start = time.perf_counter()
import astcapture
print(time.perf_counter() - start)
assert not {"numpy", "torch", "astor", "click", "matplotlib"} & set(sys.modules)
"""


def light_import() -> None:
    # As a user's: bytecode is cached, which some machines switch off.
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    times = interleave({"import": lambda: float(run([sys.executable, "-c", IMPORT], environ))})
    row("import astcapture, ms", spread([1000 * one for one in times["import"]]), "5", "1")


START = """
import site, sys, time
start = time.perf_counter()
site.addpackage({folder!r}, {name!r}, set())
print(time.perf_counter() - start)
"""


def start_up_file() -> None:
    pth = Path(__file__).resolve().parents[1] / "astcapture.pth"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ASTCAPTURE")}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "empty.pth").write_text("")
        Path(folder, "astcapture.pth").write_text(pth.read_text())
        times = interleave(
            {
                name: lambda name=name: float(
                    run([sys.executable, "-c", START.format(folder=folder, name=name)], environ)
                )
                for name in ("empty.pth", "astcapture.pth")
            }
        )
    added = [1000 * (one - other) for one, other in zip(times["astcapture.pth"], times["empty.pth"], strict=True)]
    row("an interpreter started without ASTCAPTURE, ms added", spread(added), "0.5", "0.1")


def run(command: list[str], environ: dict[str, str]) -> str:
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout


# --- recording --------------------------------------------------------------------------------------------------

SMALL = """
from _thread import get_ident
events = []
append = events.append

def plain(x):
    y = x
    return y

def by_hand(x):
    y = x
    append((("small", "by_hand", "y", 11), y, get_ident(), None))
    return y

def captured(x):
    y = x
    return y
"""

TENSOR = """
kept = []

def plain(x):
    attn = x
    return attn

def by_hand(x):
    attn = x
    kept.append(attn.detach().clone())
    return attn

def captured(x):
    attn = x
    return attn
"""


def small_object() -> None:
    with temporary_module(SMALL) as path, astcapture.install([f"{path.stem}:captured=y"]):
        module = importlib.import_module(path.stem)
        times = interleave(calls(module, "f(7)", 50_000, module.events.clear))
        figure = spread(ratios(times["captured"], times["by_hand"], times["plain"]))
        row("added per record of a small object, against the same tuple by hand", figure, "2", "1.6")
        added = (statistics.median(times[name]) - statistics.median(times["plain"]) for name in ("by_hand", "captured"))
        row("    the same in ns: by hand, captured", ", ".join(f"{1e9 * one / 50_000:.0f}" for one in added), "", "")


def tensors() -> None:
    import torch

    torch.set_num_threads(1)
    for heads, tokens, grad in ((3, 17, False), (3, 17, True), (12, 197, False)):
        with temporary_module(TENSOR) as path, astcapture.install([f"{path.stem}:captured=attn"]):
            module = importlib.import_module(path.stem)
            # With a graph behind it where the model trains.
            module.x = torch.randn(1, heads, tokens, tokens, requires_grad=grad) * 1
            # Enough of the large ones that fresh pages of memory are no longer what is measured.
            number = 2_000 if tokens < 100 else 200
            times = interleave(calls(module, "f(x)", number, module.kept.clear))
            shape = f"{heads}×{tokens}×{tokens}{', with a graph' if grad else ''}"
            figure = spread(ratios(times["captured"], times["by_hand"], times["plain"]))
            row(f"added per captured tensor ({shape}), against append by hand", figure, "1.1", "1.03")


def calls(module: ModuleType, call: str, number: int, forget: Callable[[], object]) -> dict[str, Variant]:
    """Variants that time a call in a loop; what was recorded is thrown away between the rounds."""
    from timeit import Timer

    def variant(name: str) -> Variant:
        timer = Timer(call, globals={**vars(module), "f": getattr(module, name)})

        def timed() -> float:
            forget()
            del waiting[:]
            return timer.timeit(number)

        return timed

    return {name: variant(name) for name in ("plain", "by_hand", "captured")}


# --- importing --------------------------------------------------------------------------------------------------

FUNCTION = '''
def function_{index}(first, second=None, *rest, **options):
    """Work on the arguments as modules of this size do."""
    if second is None:
        second = [first, {{"name": "{index}", "options": options}}]
    total = 0
    for number, item in enumerate(rest):
        if isinstance(item, (int, float)) and item > {index}:
            total += item * number
        elif item in second:
            try:
                total -= len(item)
            except TypeError as error:
                raise ValueError(f"no length: {{item!r}}") from error
    result = [value ** 2 for value in range(total) if value % 3]
    return result, total
'''


def imports(lines: int = 6_000) -> None:
    count = lines // len(FUNCTION.strip().splitlines()) + 1
    source = "\n".join(textwrap.dedent(FUNCTION.format(index=index)) for index in range(count))
    with temporary_module(source) as path:
        target = f"{path.stem}:function_{count // 2}=total"
        written = len(source.splitlines())
        cold = interleave({"plain": importing(path, None, cold=True), "captured": importing(path, target, cold=True)})
        figure = spread(ratios(cold["captured"], cold["plain"]))
        row(f"cold import of {written:,} lines, one function captured, against plain", figure, "2", "1.6")
        # A source that was written within the last two seconds is not known again by its times; most are older.
        time.sleep(2.5)
        importing(path, target, cold=True)()
        warm = interleave({"plain": importing(path, None), "captured": importing(path, target)}, 51)
        figure = spread(ratios(warm["captured"], warm["plain"]))
        row("warm import of it, against plain", figure, "1.15", "1.02")


def importing(path: Path, target: str | None, cold: bool = False) -> Variant:
    def once() -> float:
        caches = path.parent / "__pycache__"
        if cold and caches.is_dir():
            for cached in caches.iterdir():
                cached.unlink()
        sys.modules.pop(path.stem, None)
        importlib.invalidate_caches()
        written, sys.dont_write_bytecode = sys.dont_write_bytecode, False
        hook = astcapture.install([target]) if target else None
        try:
            start = time.perf_counter()
            importlib.import_module(path.stem)
            return time.perf_counter() - start
        finally:
            sys.dont_write_bytecode = written
            sys.modules.pop(path.stem, None)
            if hook is not None:
                hook.uninstall()

    return once


@contextmanager
def temporary_module(source: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"benchmarked_{abs(hash(source)) % 10**8}.py"
        path.write_text(source)
        sys.path.insert(0, folder)
        importlib.invalidate_caches()
        try:
            yield path
        finally:
            sys.path.remove(folder)
            sys.modules.pop(path.stem, None)


def main() -> None:
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    print(f"Python {sys.version.split()[0]}, {ROUNDS} rounds: median (10th to 90th percentile)\n")
    row("what", "measured", "must", "aim")
    switched_off()
    light_import()
    start_up_file()
    small_object()
    if importlib.util.find_spec("torch"):
        tensors()
    else:
        print("torch is not installed: the tensor rows are left out")
    imports()


if __name__ == "__main__":
    main()
