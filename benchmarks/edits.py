"""What an edit costs, against the source edited by hand: ``python benchmarks/edits.py``.

A 12-layer ViT-tiny without gradients, one thread. Measured are an edit that is installed and matches no layer, against
the plain model, and ``zero(heads=[2])`` on the weights of every layer, against the same line in the source; as it is,
and with torch.compile. What two modules with the same source differ by is measured beside it. Last, how long it takes
to install an edit and take it back.

Times are the processor's, so that other programs count less. The variants run in turn; quoted are the median over the
rounds and the range from the 10th to the 90th percentile.
Needs torch; ``--no-compile`` leaves out what needs a C++ compiler.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import torch
from capture_cost import interleave, ratios, row, spread
from model_forward import MODEL

import astcapture
from astcapture.edits import zero

ROUNDS = 101
NAMES = ("plain", "no_match", "by_hand", "again", "edited")
BY_HAND = "attn = attn.clone(); attn[:, 2] = 0"
SIZES = ((17, 4), (197, 1))  # tokens, and forwards in a round


def models(folder: str) -> dict[str, torch.nn.Module]:
    """The same model several times, each from a module of its own: an edit changes the functions of one."""
    sys.path.insert(0, folder)
    found = {}
    for name in NAMES:
        Path(folder, f"edits_{name}.py").write_text(
            MODEL.replace("EDIT", BY_HAND if name in ("by_hand", "again") else "pass")
        )
        found[name] = importlib.import_module(f"edits_{name}").ViT().eval()
        found[name].load_state_dict(found["plain"].state_dict())
    return found


def timed(model: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, forwards: int) -> float:
    start = time.process_time()
    for _ in range(forwards):
        model(x)
    return time.process_time() - start


def forwards(running: dict[str, Callable[[torch.Tensor], torch.Tensor]], what: str, at_most: str) -> None:
    for tokens, count in SIZES:
        x = torch.randn(1, tokens, 192)
        if not (torch.equal(running["no_match"](x), running["plain"](x))):
            raise SystemExit("an edit that matches nothing changes the output")
        if not (torch.equal(running["edited"](x), running["by_hand"](x))):
            raise SystemExit("the edit does not do what the line in the source does")
        variants = {name: lambda name=name, x=x, count=count: timed(running[name], x, count) for name in NAMES}
        times = interleave(variants, ROUNDS)
        figure = spread(ratios(times["no_match"], times["plain"]))
        row(f"{what}, {tokens} tokens: matches no layer, against plain", figure, "1.02", "1.00")
        added = {"no_match": "plain", "edited": "by_hand"}
        each = {
            one: [(a - b) / count / 12 for a, b in zip(times[one], times[other], strict=True)]
            for one, other in added.items()
        }
        figure = spread(ratios(times["edited"], times["by_hand"]))
        row(f"{what}, {tokens} tokens: zero(heads=[2]), against by hand", figure, at_most, "1.00")
        figure = spread(ratios(times["again"], times["by_hand"]))
        row("    another module with that line, against by hand", figure, "", "")
        both = ", ".join(f"{1e6 * statistics.median(one):.1f}" for one in each.values())
        row("    added to each layer in µs: matches no layer, zero", both, "", "")


def installing() -> None:
    def once() -> float:
        start = time.perf_counter()
        astcapture.edit("edits_plain:Attention.forward=attn", zero(heads=[2]), strict=False).uninstall()
        return time.perf_counter() - start

    times = interleave({"install": once}, 11)
    row("install an edit and take it back, ms", spread([1000 * one for one in times["install"]]), "", "")


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", astcapture.CaptureWarning)  # edits that match nothing are meant
    print(f"Python {sys.version.split()[0]}, torch {torch.__version__}, {ROUNDS} rounds\n")
    row("what", "measured", "must", "aim")
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        found = models(folder)
        with ExitStack() as stack:
            edit = astcapture.Edit("edits_edited:Attention.forward=attn", zero(heads=[2]))
            stack.enter_context(edit)
            other = astcapture.Edit("edits_no_match:Attention.forward=attn", zero(), layer="12.attn", strict=False)
            stack.enter_context(other)
            forwards(dict(found), "eager", "1.05")
            if not given.no_compile:
                # All models run through one function of torch, which keeps what was compiled for each.
                stack.enter_context(torch._dynamo.config.patch(recompile_limit=4 * len(NAMES)))
                compiled = {name: torch.compile(model, fullgraph=True, dynamic=False) for name, model in found.items()}
                forwards(compiled, "compiled", "1.02")
        installing()


if __name__ == "__main__":
    main()
