"""Small changes of the rewriter and the recorder, which some test is to notice.

    python proof/mutants.py make MUTANTS.jsonl MODULE...           # needs mutmut and cosmic-ray
    python proof/mutants.py learn TESTS.json MUTANTS.jsonl TEST...
    python proof/mutants.py try RESULTS.jsonl TESTS.json MUTANTS.jsonl      # goes on where it stopped
    python proof/mutants.py report RESULTS.jsonl MUTANTS.jsonl

`make` writes the mutants of modules, by the operators of mutmut and cosmic-ray. `learn` runs tests in copies of the
project, to know how long each takes and which lines it runs. `try` writes each mutant into a copy, and runs the tests
that run its line, those first that killed others and that are quick, until one fails. Each run of tests is a fork of a
process that has imported pytest and the libraries, not the project; the processes that a test starts find the mutant
too. Killed is a mutant by a test that fails, by an import that does, or by taking five times as long and ten seconds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from mutating import counting, mutant
from mutating.copies import Copy
from mutating.known_tests import KnownTests, learn
from mutating.trying import drawn, try_all

ROOT = Path(__file__).parents[1]


def main() -> None:
    options = _options()
    if options.command == "make":
        make(options.mutants, options.modules)
        return
    mutants = mutant.load(options.mutants)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        if options.command == "learn":
            modules = sorted({one.module for one in mutants})
            learn(ROOT, Path(folder), modules, options.files).save(options.tests)
        elif options.command == "try":
            try_(options, mutants, Path(folder))
        else:
            report(options, mutants)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    make_ = commands.add_parser("make", help="write the mutants of modules")
    make_.add_argument("mutants", type=Path)
    make_.add_argument("modules", nargs="+")
    learn_ = commands.add_parser("learn", help="run tests, to know their seconds and lines")
    learn_.add_argument("tests", type=Path)
    learn_.add_argument("mutants", type=Path)
    learn_.add_argument("files", nargs="+")
    try__ = commands.add_parser("try", help="try the mutants that are not tried yet")
    report_ = commands.add_parser("report", help="print a table and the survivors")
    for one in (try__, report_):
        one.add_argument("results", type=Path)
    try__.add_argument("tests", type=Path)
    for one in (try__, report_):
        one.add_argument("mutants", type=Path)
        one.add_argument("--only", nargs="*", default=[""], help="modules whose path starts so")
    try__.add_argument("--workers", type=int, default=2)
    try__.add_argument("--most", type=int, help="of each module, a sample of so many")
    try__.add_argument("--seed", type=int, default=1)
    try__.add_argument("--minutes", type=float, help="begin no mutant after so many")
    try__.add_argument("--survivors", action="store_true", help="those again that survived")
    try__.add_argument("--whole", action="store_true", help="run every other test too, before a mutant survives")
    try__.add_argument("--quick", type=float, help="only tests that take at most so many seconds, for a first look")
    try__.add_argument("--quiet-file", type=Path, help="wait while this file exists")
    return parser.parse_args()


def make(path: Path, modules: list[str]) -> None:
    from mutating.making import mutants_of

    made: list[mutant.Mutant] = []
    left_out: Counter[str] = Counter()
    for module in modules:
        of_module, not_made = mutants_of(ROOT, module)
        made += of_module
        left_out += not_made
    mutant.save(path, made)
    print(f"{len(made)} mutants of {len(modules)} modules")
    for reason, number in left_out.items():
        print(f"left out: {number} ({reason})")


def try_(options: argparse.Namespace, mutants: list[mutant.Mutant], folder: Path) -> None:
    outcomes = counting.read_outcomes(options.results)
    again = {one.name for one in counting.survivors(mutants, outcomes)} if options.survivors else set()
    chosen = [
        one
        for one in drawn(mutants, options.seed, options.most)
        if one.module.startswith(tuple(options.only))
        and (one.name in again if options.survivors else one.name not in outcomes)
    ]
    print(f"{len(chosen)} mutants to try", file=sys.stderr)
    texts = {one.module: (ROOT / one.module).read_text(encoding="utf-8") for one in chosen}
    if changed := sorted({one.module for one in chosen if mutant.digest_of(texts[one.module]) != one.digest}):
        sys.exit(f"changed since their mutants were made, make them again: {', '.join(changed)}")
    until = None if options.minutes is None else time.time() + 60 * options.minutes
    known = KnownTests.load(options.tests)
    with ExitStack() as stack:
        copies = [
            stack.enter_context(Copy(ROOT, folder / str(number), known.files)) for number in range(options.workers)
        ]
        known = KnownTests.load(options.tests)
        try_all(chosen, copies, known, options.results, options.quiet_file, options.whole, options.quick, until)


def report(options: argparse.Namespace, mutants: list[mutant.Mutant]) -> None:
    mutants = [one for one in mutants if one.module.startswith(tuple(options.only))]
    outcomes = counting.read_outcomes(options.results)
    print(counting.table(mutants, outcomes))
    print()
    for one in counting.survivors(mutants, outcomes):
        print(f"{outcomes[one.name]['outcome']}: {counting.shown(one)}")


if __name__ == "__main__":
    main()
