"""Mutants tried: each is written into a copy of the project, and the tests that run its line are to notice."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mutating.copies import Copy
from mutating.known_tests import KnownTests, file_of
from mutating.mutant import Mutant

#: So many tests of so many files are run first, for they are collected sooner than all.
FIRST, FILES = 30, 3
#: The seconds that a run may take besides five times as long as without a mutant.
PATIENCE = 10


def try_mutant(
    mutant: Mutant, copy: Copy, known: KnownTests, whole: bool = False, quick: float | None = None
) -> dict[str, Any]:
    """Whether a mutant is killed: ``killed``, ``timed out``, ``survived``, or ``not run`` where no test runs its line.

    With `whole`, every other test is run too before it is said to have survived; with `quick`, only the tests
    that take at most so many seconds are.
    """
    text = (copy.folder / mutant.module).read_text(encoding="utf-8")
    tests = known.for_(mutant, text)
    told: dict[str, Any] = {"outcome": "survived" if tests else "not run", "tests": len(tests), "seconds": 0.0}
    chosen = [test for test in tests if quick is None or known.seconds[test] <= quick]
    files = list(dict.fromkeys(map(file_of, chosen)))[:FILES]
    first = [test for test in chosen if file_of(test) in files][:FIRST]
    rest = [test for test in chosen if test not in first]
    parts = [first, rest, known.others(tests) if whole else []]
    with copy.changed(mutant.module, mutant.text(text)):
        for part in filter(None, parts):
            limit = 5 * sum(known.seconds[test] for test in part) + PATIENCE
            files = list(dict.fromkeys(map(file_of, part)))
            answer = copy.run(files, part, limit)
            told["seconds"] += answer["seconds"]
            if answer["status"] == 71:
                raise RuntimeError(f"none of the tests was found: {part[:3]}")
            if answer["status"] != 0:
                timed_out = answer["status"] == "timed out"
                failed = [one["test"] for one in answer["outcomes"] if one["outcome"] == "failed"]
                if failed:
                    known.kills[mutant.module, failed[0]] += 1
                return told | {
                    "outcome": "timed out" if timed_out and not failed else "killed",
                    # Where none of them failed, the project or the tests could not be imported.
                    "by": failed[0] if failed else str(answer["status"]),
                }
    return told


def drawn(mutants: Iterable[Mutant], seed: int, most: int | None) -> list[Mutant]:
    """The mutants in a random order, of each module as many at a time, so that whoever stops has a sample of each."""
    by_module: dict[str, list[Mutant]] = defaultdict(list)
    for mutant in mutants:
        by_module[mutant.module].append(mutant)
    for module, of_module in by_module.items():
        of_module.sort(key=lambda mutant: mutant.name)
        random.Random(f"{seed} {module}").shuffle(of_module)
    # The k-th of n comes at the time k / n.
    ordered = [
        (place / len(of_module), mutant.name, mutant)
        for of_module in by_module.values()
        for place, mutant in enumerate(of_module)
        if most is None or place < most
    ]
    return [mutant for *_, mutant in sorted(ordered, key=lambda one: one[:2])]


def try_all(
    mutants: Sequence[Mutant],
    copies: Sequence[Copy],
    known: KnownTests,
    results: Path,
    quiet: Path | None = None,
    whole: bool = False,
    quick: float | None = None,
    until: float | None = None,
) -> None:
    """Try mutants, one after another in each copy, and write what becomes of them. While `quiet` exists, wait."""
    waiting = list(reversed(mutants))
    lock = threading.Lock()

    def work(copy: Copy) -> None:
        while True:
            while quiet is not None and quiet.exists():
                time.sleep(1)
            with lock:
                if not waiting or (until is not None and time.time() > until):
                    return
                mutant = waiting.pop()
            told = {"mutant": mutant.name, **try_mutant(mutant, copy, known, whole, quick)}
            with lock, results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(told) + "\n")

    threads = [threading.Thread(target=work, args=(copy,)) for copy in copies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
