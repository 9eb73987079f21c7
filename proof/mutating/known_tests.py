"""What is known of the tests without a mutant: which pass, how long they take, and which lines they run."""

from __future__ import annotations

import ast
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

from mutating.copies import Copy
from mutating.lines import is_run_at_import, statement_at, tell
from mutating.mutant import Mutant


@dataclass
class KnownTests:
    """The tests that pass, their seconds, and their lines as ``MODULE:LINE``; None where the lines are not known."""

    seconds: dict[str, float]
    lines: dict[str, list[str] | None]
    kills: Counter[tuple[str, str]] = field(default_factory=Counter)

    @cached_property
    def of_line(self) -> dict[str, set[str]]:
        """The tests that run a line; under a module's name, those that run any line of it."""
        found: dict[str, set[str]] = {}
        for test, lines in self.lines.items():
            for line in lines or ():
                found.setdefault(line, set()).add(test)
                found.setdefault(line.rpartition(":")[0], set()).add(test)
        return found

    @cached_property
    def of_unknown_lines(self) -> set[str]:
        return {test for test, lines in self.lines.items() if lines is None}

    def for_(self, mutant: Mutant, text: str) -> list[str]:
        """The tests that run what a mutant changes, those first that are likely to notice soon.

        What runs as the module is imported shows anywhere in it: there, the tests that run any line of it.
        """
        tree = ast.parse(text)
        statement = statement_at(tree, mutant.line)
        place = mutant.module
        if statement is not None and not is_run_at_import(tree, statement):
            place = f"{mutant.module}:{statement.lineno}"
        # Tests that fail where lines are told, torch's compiler cannot follow that, run what no other runs.
        tests = self.of_line.get(place) or self.of_unknown_lines
        return sorted(tests, key=lambda test: (-self.kills[mutant.module, test], self.seconds[test], test))

    @property
    def files(self) -> list[str]:
        return sorted(set(map(file_of, self.seconds)))

    def others(self, tests: Sequence[str]) -> list[str]:
        """All other tests, the quickest first."""
        return sorted(self.seconds.keys() - set(tests), key=lambda test: (self.seconds[test], test))

    def save(self, path: Path) -> None:
        told = asdict(self)
        del told["kills"]
        path.write_text(json.dumps(told, indent=0), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> KnownTests:
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def file_of(test: str) -> str:
    return test.partition("::")[0]


def learn(root: Path, folder: Path, modules: Sequence[str], files: Sequence[str]) -> KnownTests:
    """Run the tests twice: plainly, and in a copy whose modules tell which of their lines run."""
    with Copy(root, folder / "plain", files) as copy:
        plain = copy.run(files, stop=False)
    passed = {one["test"]: one["seconds"] for one in plain["outcomes"] if one["outcome"] == "passed"}
    with Copy(root, folder / "lines", files, lines=True) as copy:
        tell(copy.folder, modules)
        told = copy.run(files, stop=False)
    # A test that is called otherwise in each run, by an address say, cannot be asked for.
    lines = {
        one["test"]: one["lines"] if one["outcome"] == "passed" else None
        for one in told["outcomes"]
        if one["test"] in passed
    }
    return KnownTests({test: passed[test] for test in lines}, lines)
