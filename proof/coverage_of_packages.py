"""A package's own tests under coverage.py, plainly and captured: lines, arcs, outcomes, tracebacks to the character.

    python proof/standard_library.py prepare PYTHON                     # values are counted and dropped from then on
    python proof/coverage_of_packages.py PYTHON PACKAGE FOLDER [--core sysmon] [--lines] [-- PYTEST'S OPTIONS]

PYTHON has this package, PACKAGE, pytest and coverage.py installed; FOLDER is the package's unpacked source
distribution, with its tests (for tests that are installed with the package, an empty folder, and
``-- --pyargs PACKAGE``). Plugins of pytest that the tests need are named, ``-- -p NAME``. The tests run in a
copy of the folder without the package, so that what is tested is what is installed. They run four times,
each in the same place: twice plainly, to tell chance apart; with every local of every function of the
package captured at its returns; and with every assignment captured. Capturing is switched on by
``ASTCAPTURE`` and the installed start-up file, as a user's would be.

Compared are, for each file of the package, the lines that ran, those that did not, the arcs that were taken
and the branches that were not; for each test its outcome; and every traceback that `tracebacks` keeps of it.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
#: How the tests are run, by the target's right side.
WAYS = {"plain": "", "plain again": "", "captured": "*", "captured at assignments": "*@assign"}
#: Reads what coverage.py stored: its data, and the report made of it.
READ = """
import json, sys
import coverage
measured = coverage.Coverage(data_file=".coverage", config_file=False)
measured.load()
data = measured.get_data()
measured.json_report(outfile="report.json")
files = json.load(open("report.json"))["files"]
print(json.dumps({
    path: {
        "lines": one["executed_lines"],
        "missing lines": one["missing_lines"],
        "excluded lines": one["excluded_lines"],
        "arcs": data.arcs(path) or [],
        "branches": one.get("executed_branches", []),
        "missing branches": one.get("missing_branches", []),
    }
    for path, one in ((path, files[path]) for path in data.measured_files() if path in files)
}))
"""
KINDS = ("lines", "missing lines", "excluded lines", "arcs", "branches", "missing branches")


@dataclass(frozen=True)
class Run:
    """What one run of a package's tests told."""

    #: By file and kind; an arc is a pair of lines.
    coverage: dict[str, dict[str, frozenset[Any]]]
    #: The outcomes of set-up, test and end, by test.
    outcomes: dict[str, list[str]]
    #: The names of tracebacks in the order they came, by test and kind.
    tracebacks: dict[tuple[str, str], list[str]]
    #: Their texts, by name.
    texts: dict[str, str]
    functions: int
    events: int
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("python", type=Path)
    parser.add_argument("package")
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--core", choices=["ctrace", "sysmon", "none"], default="ctrace",
        help="coverage.py's; none for tracebacks alone, which before Python 3.12 take a trace function to see all",
    )  # fmt: skip
    parser.add_argument("--lines", action="store_true", help="no branches: coverage.py's sysmon has none before 3.14")
    parser.add_argument("--show", type=int, default=5, help="how many differences of a kind are printed")
    parser.add_argument("options", nargs="*", help="pytest's options")
    given = parser.parse_args()
    differences = compare_package(
        given.python.absolute(), given.package, given.folder, given.options,
        core=given.core, branches=not given.lines, show=given.show,
    )  # fmt: skip
    sys.exit(bool(differences))


def compare_package(
    python: Path, package: str, folder: Path, options: list[str], *, core: str = "ctrace", branches: bool = True,
    ways: tuple[str, ...] = tuple(WAYS), show: int = 5,
) -> int:  # fmt: skip
    """Run a package's tests in each way and print what differs from the first; return how much of it is not chance."""
    with tempfile.TemporaryDirectory(prefix="proof-") as root:
        runs = {way: _run(python, package, folder, options, WAYS[way], core, branches, Path(root)) for way in ways}
    plain = runs["plain"]
    if not plain.outcomes:
        raise SystemExit(f"{package}: no test ran")
    count = {kind: sum(len(one[kind]) for one in plain.coverage.values()) for kind in KINDS}
    kept = sum(map(len, plain.tracebacks.values()))
    print(
        f"{package}, {core}: {len(plain.outcomes)} tests, {len(plain.coverage)} files, {count['lines']} lines run, "
        f"{count['missing lines']} not, {count['arcs']} arcs, {count['missing branches']} branches not taken, "
        f"{kept} tracebacks ({len(plain.texts)} different), {plain.seconds:.0f} s"
    )
    by_chance = differences(plain, runs["plain again"]) if "plain again" in runs else {}
    found = 0
    for way, run in runs.items():
        if way == "plain":
            continue
        differing = differences(plain, run)
        kinds = Counter(kind for kind, _ in differing)
        told = f"{len(differing)} differences" + "".join(f", {n} {kind}" for kind, n in kinds.items())
        chance = by_chance.keys() & differing.keys()
        if WAYS[way]:
            found += len(differing) - len(chance)
            told += f"; {len(chance)} of them plainly too; {run.functions} functions rewritten, {run.events} events"
            if not run.functions:
                found += 1
                told += "; NOTHING WAS CAPTURED"
        print(f"  {way}: {told}, {run.seconds:.0f} s", flush=True)
        shown: Counter[str] = Counter()
        # What is chance is shown once, where it is seen.
        for kind, where in sorted(differing.keys() - chance if WAYS[way] else differing.keys()):
            shown[kind] += 1
            if shown[kind] <= show:
                print("    " + f"{kind} {where}: {differing[kind, where]}".replace("\n", "\n    "), flush=True)
    return found


def differences(one: Run, other: Run) -> dict[tuple[str, str], str]:
    """What differs, by kind and file or test, and how."""
    found: dict[tuple[str, str], str] = {}
    for path in one.coverage.keys() | other.coverage.keys():
        for kind in KINDS:
            a, b = (run.coverage.get(path, {}).get(kind, frozenset()) for run in (one, other))
            if a != b:
                found[kind, path] = f"only plainly {sorted(a - b)}, only captured {sorted(b - a)}"
    for test in one.outcomes.keys() | other.outcomes.keys():
        a, b = (run.outcomes.get(test, []) for run in (one, other))
        if a != b:
            found["outcome", test] = f"{a}, captured {b}"
    for kind, test in one.tracebacks.keys() | other.tracebacks.keys():
        a, b = ([run.texts[name] for name in run.tracebacks.get((kind, test), [])] for run in (one, other))
        if a != b:
            found[kind, test] = _first_difference(a, b)
    return found


def _first_difference(one: list[str], other: list[str]) -> str:
    at = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    a, b = (texts[at].splitlines() if at < len(texts) else [] for texts in (one, other))
    lines = "\n".join(difflib.unified_diff(a, b, "plain", "captured", lineterm="", n=4))
    return f"traceback {at} of {len(one)} and {len(other)}\n{lines}"


def _run(
    python: Path, package: str, folder: Path, options: list[str], capture: str, core: str, branches: bool, root: Path
) -> Run:
    """Run the tests once; the same place each time, since its name is in the tracebacks."""
    work, home, outcomes, report = (root / name for name in ("work", "home", "outcomes.json", "report"))
    for one in (work, home):
        shutil.rmtree(one, ignore_errors=True)
    for one in (outcomes, report):
        one.unlink(missing_ok=True)
    shutil.copytree(folder, work, ignore=lambda where, _: [package, "src"] if Path(where) == folder else [])
    home.mkdir()
    plugins = root / "plugins"
    plugins.mkdir(exist_ok=True)
    shutil.copy(HERE / "tracebacks.py", plugins)
    find = (
        f"import sys, importlib.util as u; print(hasattr(sys, 'monitoring') or '')"
        f"; print(u.find_spec({package!r}).submodule_search_locations[0])"
    )
    # In an empty folder, since that stands first on the path: what is installed is what is tested.
    found = subprocess.run([python, "-c", find], cwd=home, capture_output=True, text=True, check=True)
    monitored, installed = found.stdout.splitlines()
    environment = {
        "PATH": os.defpath, "HOME": str(home), "TMPDIR": str(home), "LANG": "C.UTF-8", "PYTHONHASHSEED": "1",
        "PYTHONPATH": str(plugins), "COVERAGE_CORE": core, "COVERAGE_FILE": str(root / ".coverage"),
        "PROOF_OUTCOMES": str(outcomes), "PROOF_HANDLED": os.pathsep.join([installed, str(work)]),
        "PROOF_REPORT": str(report), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }  # fmt: skip
    reading = environment | {"ASTCAPTURE": ""}
    if capture:
        # A module that is named and holds no function is refused.
        own = [package] if "def " in Path(installed, "__init__.py").read_text() else []
        environment["ASTCAPTURE"] = ";".join(f"{module}:*={capture}" for module in (*own, f"{package}.*"))
    measuring = ["-m", "coverage", "run", "--rcfile=/dev/null", f"--source={package}"]
    if core == "none":
        measuring = []
        environment["PROOF_TRACED"] = "" if monitored else "1"
    command = [
        *(str(python), *measuring, *(["--branch"] if measuring and branches else [])),
        *("-m", "pytest", "-q", "-p", "tracebacks", "-p", "no:cacheprovider", "-o", "addopts=", *options),
        *(f"--rootdir={work}", f"--basetemp={root / 'basetemp'}"),
    ]
    began = time.monotonic()
    done = subprocess.run(
        command, cwd=work, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    seconds = time.monotonic() - began
    if not outcomes.exists():
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    if core == "sysmon" and "no-sysmon" in done.stderr:
        raise SystemExit(f"{core} measures no branches here:\n{done.stderr[-1000:]}")
    reader = [str(python), "-c", READ if measuring else "print({})"]
    files = subprocess.run(reader, cwd=root, env=reading, capture_output=True, text=True, check=False)
    if files.returncode:
        raise SystemExit(files.stderr[-2000:])
    told = json.loads(outcomes.read_text())
    written = report.read_text().splitlines() if report.exists() else []
    return Run(
        coverage={
            path: {kind: frozenset(tuple(at) if isinstance(at, list) else at for at in seen[kind]) for kind in KINDS}
            for path, seen in json.loads(files.stdout).items()
            if "/tests/" not in path
        },
        outcomes={test: kept["outcomes"] for test, kept in told["tests"].items() if "outcomes" in kept},
        tracebacks={
            (kind, test): names
            for test, kept in told["tests"].items()
            for kind, names in kept.items()
            if kind != "outcomes"
        },
        texts=told["texts"],
        functions=len(told["functions"]),
        events=sum(int(line.split()[3]) for line in written if line.startswith("process ")),
        seconds=seconds,
    )


if __name__ == "__main__":
    main()
