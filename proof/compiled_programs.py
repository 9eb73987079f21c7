"""Random programs over tensors under torch.compile, plain and captured: nothing may differ, and nothing goes missing.

    python proof/compiled_programs.py FIRST LAST [--backend eager|aot_eager|inductor]
    python proof/compiled_programs.py --minimise SEED [--backend …]

Each program runs with three inputs, of which two ask for gradients, compiled once; every fourth with
``fullgraph=True``. Compared are, plain beside captured, both compiled: results, gradients, exceptions, what is printed
and warned of, what was stored in objects, the modes that torch is left in, and what the compiler counts: frames,
graphs, graph breaks with their reasons, recompilations.

What is recorded is held against the same program captured and not compiled: each value that it records is recorded
with compiled code as well, in the same order, or counted with a reason.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import gc
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "rewrite"))

import torch
from compiled.program import TensorProgram
from compiled.running import Records, Seen, Way, code_of, equal, run
from differential import Difference, without_needless

from astcapture.errors import CaptureError

TARGETS = (
    *("M:*=*", "M:*=*@assign", "M:*=*,*@assign", "M:*=weights@sdpa,*"),
    *("M:f=twice:=x * 2,a,*@assign;M:Model.forward=both:=(x, flag),a,*@assign", "M:*=*,late:=[x * i for i in (1, 2)]"),
    "M:*=*@assign,shape:=x.shape,missing:=x.missing",
    "M:*=*,failing:=x.view(7, 9),number:=x.sum().item(),choice:=x if x.sum() else ();M:f=late:=a if x.dim() else d,*",
)
#: With those, from this seed on, so that the programs before it stay what they were.
AT_CALLS, FROM = ("M:*=*@call", "M:*=*@input,*@enter,*@call", "M:*=*@yield,*@call,*"), 2_000_000
#: A fault of torch 2.13's: where a function has so many names that the first instruction of a ``try`` has an argument
#: over 255, and the graph breaks. With the names of what records there are some more.
TOO_MANY_NAMES = "exception table entry start instruction has no offset"
BACKENDS = ("eager", "aot_eager", "inductor")


@dataclass
class Totals:
    programs: int = 0
    graphs: int = 0
    breaks: int = 0
    recompilations: int = 0
    values: int = 0
    counted: int = 0
    #: Programs of which the compiler's counts were compared too.
    counts: int = 0
    #: Programs that differ from themselves where nothing is captured.
    unsteady: int = 0
    #: Programs that the compiler ends with a fault of its own.
    faults: int = 0
    differences: list[int] = field(default_factory=list)


def targets_of(seed: int) -> str:
    """What is captured of the program of a seed."""
    targets = TARGETS if seed < FROM else (*TARGETS, *AT_CALLS)
    return targets[seed % len(targets)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("seeds", type=int, nargs="*")
    parser.add_argument("--backend", choices=BACKENDS, default="eager")
    parser.add_argument("--minimise", type=int)
    parser.add_argument("--keep-going", action="store_true", help="count the differences instead of stopping at one")
    options = parser.parse_args()
    torch.set_num_threads(1)
    # Nothing but time: what torch would log, and a collection after each compilation.
    torch._dynamo.config.run_gc_after_compile = False
    torch._dynamo.config.side_effect_replay_policy = "silent"
    gc.set_threshold(20_000, 50, 100)
    if options.minimise is not None:
        print(minimised(options.minimise, options.backend))
        return
    began = time.monotonic()
    totals = Totals()
    seed = 0
    try:
        for seed in range(*options.seeds):
            try:
                check(seed, TensorProgram(seed).source, options.backend, totals)
            except Difference as difference:
                totals.differences.append(seed)
                print(difference if not options.keep_going else str(difference).partition("\nimport")[0], flush=True)
                if not options.keep_going:
                    break
    except KeyboardInterrupt:
        print(f"interrupted at seed {seed}")
    print(
        f"torch {torch.__version__}, {options.backend}: {totals.programs} programs, of {totals.counts} of them the "
        f"compiler's counts too, {totals.graphs} graphs, "
        f"{totals.breaks} graph breaks, {totals.recompilations} recompilations; {totals.values} values recorded, "
        f"{totals.counted} counted with a reason; {len(totals.differences)} differences"
        + (f", {totals.unsteady} differ plainly too" if totals.unsteady else "")
        + (f", {totals.faults} end with a fault of the compiler's" if totals.faults else "")
        + f"; {time.monotonic() - began:.0f} s"
    )
    sys.exit(bool(totals.differences))


def check(seed: int, source: str, backend: str, totals: Totals) -> None:
    """Run a program compiled, plainly and captured, and captured without the compiler.

    Raises:
        Difference: two runs differ that should not.
    """
    target = fitting_target(source, targets_of(seed))
    if target is None:
        return
    way = Way(backend, fullgraph=seed % 4 == 0)
    expected, _ = run(source, None, seed, way)
    seen, records = run(source, target, seed, way)
    by_count = is_tensors_all_through(expected)
    if not by_count:
        expected.compiler = seen.compiler
    what = first_unequal(expected, seen, way.tolerance)
    if what:
        again, _ = run(source, None, seed, way)
        if not by_count:
            again.compiler = expected.compiler
        if first_unequal(expected, again, way.tolerance):
            totals.unsteady += 1
            return
        if TOO_MANY_NAMES in str(seen.results):
            totals.faults += 1
            return
        raise Difference(seed, f"{target}, fullgraph={way.fullgraph}: {what}", source)
    eager, by_eager = run(source, target, seed, Way(None))
    if not _stopped(seen) and _results_alike(eager, seen, way):
        what = first_lost(by_eager, records, max(way.tolerance, 1e-5))
        if what:
            raise Difference(seed, f"{target}, fullgraph={way.fullgraph}: {what}", source)
    totals.programs += 1
    totals.counts += by_count
    totals.graphs += seen.compiler["graphs"]
    totals.breaks += sum(seen.compiler["graph breaks"].values())
    totals.recompilations += seen.compiler["recompilations"]
    totals.values += sum(map(len, records.values.values()))
    totals.counted += sum(count for count, _ in records.failed.values())


def fitting_target(source: str, target: str) -> str | None:
    """The target, or another where it does not fit the program; None where the program is none."""
    for one in (target, "M:*=*"):
        with contextlib.suppress(CaptureError, AssertionError):
            try:
                code_of(source, "/source/tensors.py", "m", one)
            except SyntaxError:
                return None
            return one
    return None


def is_tensors_all_through(plain: Seen) -> bool:
    """Whether each piece that the compiler made of the plain program computes with tensors.

    One that does not is left to Python, and is run anew for other tensors without being compiled anew. Where it is
    captured, it has tensors to hand out, and counts.
    """
    frames, graphs = plain.compiler["frames"], plain.compiler["graphs"]
    return bool(graphs) and (not frames or frames["total"] == frames.get("ok") == graphs)


def _stopped(seen: Seen) -> bool:
    """Whether some call ended with an exception: of what led to it, compiled code need not have run anything."""
    return any(one and one[0] == "raised" for one in seen.results if isinstance(one, list))


def _results_alike(eager: Seen, seen: Seen, way: Way) -> bool:
    """Whether the program does the same when it is not compiled; the compiler's own faults are not ours to find."""
    return equal([eager.results, eager.printed], [seen.results, seen.printed], max(way.tolerance, 1e-5))


def first_unequal(expected: Seen, seen: Seen, tolerance: float) -> str:
    for name, value in vars(expected).items():
        other = getattr(seen, name)
        if not equal([value], [other], tolerance):
            return f"{name}\n--- plain\n{value}\n--- captured\n{other}\n---"
    return ""


def first_lost(eager: Records, compiled: Records, tolerance: float) -> str:
    """The first value that is recorded without the compiler, and with it neither recorded nor counted."""
    for key in eager.values | compiled.values:
        expected, found = eager.values.get(key, []), compiled.values.get(key, [])
        failed, reason = compiled.failed.get(key, (0, None))
        missed = compiled.missed.get(key, 0)
        if "allow no side effects" in str(reason):
            continue  # counted once for each time that it is compiled, not for each run
        counted = eager.missed.get(key, 0) + eager.failed.get(key, (0, None))[0]
        if len(found) + failed + missed != len(expected) + counted:
            return (
                f"{key}: {len(expected)} values are recorded without the compiler, {counted} counted, with it "
                f"{len(found)}, {failed} counted ({reason}), {missed} missed"
            )
        rest = iter(expected)
        for number, value in enumerate(found):
            if not any(equal([value], [one], tolerance) for one in rest):
                return f"{key}: value {number} is {value}, which is not among {expected}"
    return ""


def minimised(seed: int, backend: str) -> str:
    """The source of a program that differs, without what can be left out of it."""
    program = TensorProgram(seed)

    def differs(lines: list[str]) -> str:
        program.lines = lines
        try:
            ast.parse(program.source)
            check(seed, program.source, backend, Totals())
        except Difference as difference:
            return difference.what
        except Exception:
            return ""
        return ""

    lines = list(program.lines)
    what = differs(lines)
    if not what:
        return f"program {seed} does not differ"
    lines = without_needless(lines, lambda shorter: bool(differs(shorter)))
    return "\n".join([differs(lines), *lines])


if __name__ == "__main__":
    main()
