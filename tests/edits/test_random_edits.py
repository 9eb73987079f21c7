"""Edits that give back their value, in random programs: nothing that can be seen of the program changes."""

from __future__ import annotations

import ast
import random
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from astcapture.errors import CaptureError
from astcapture.record import editing
from astcapture.rewrite.plan import plan_module
from astcapture.rewrite.transform import rewrite
from astcapture.targets.edit_target import parse_edit_target

sys.path.insert(0, str(Path(__file__).parents[1] / "rewrite"))

from plain_and_rewritten import plain_code, run, write_down
from random_programs import NAMES
from wider_programs import WiderProgram

POINTS = [*(f"{name}@assign" for name in NAMES), "t@enter", "a@enter", "t@call", "t@input", "@return"]


def edited_code(source: str, path: str) -> tuple[Any, int]:
    """The code with an edit at every point that there is, and how many of them."""
    targets = []
    for point in POINTS:
        try:
            # Named with a wildcard: where the program has no such point, it is left alone.
            target = parse_edit_target(f"[m]:f={point}")
            if plan_module(ast.parse(source), "m", path, [target]).functions:
                targets.append(target)
        except CaptureError:
            continue
    tree = ast.parse(source)
    plan = plan_module(tree, "m", path, targets)
    return compile(rewrite(tree, plan), path, "exec", dont_inherit=True), len(targets)


def check(seed: int, monkeypatch: pytest.MonkeyPatch) -> int:
    program = WiderProgram(seed)
    source, path = write_down(program.source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            plain = plain_code(source, path)
        except SyntaxError:
            return 0
        edited, points = edited_code(source, path)
    fired: list[Any] = []
    monkeypatch.setattr(editing, "change", lambda value, site, owners: fired.append(site) or value)
    for number in range(3):
        steps = random.Random(seed * 10 + number).choices([0, 1, 1, 1, 2, 3, 7, 8], k=40)

        def call(names: dict[str, Any], steps: list[int] = steps, number: int = number) -> Any:
            result = names["f"](names["Flaky"](list(steps)), number)
            return repr([*result]) if hasattr(result, "__next__") else type(result).__name__

        assert run(edited, call).seen == run(plain, call).seen, f"program {seed}, input {number}\n{source}"
    return len(fired) if points else 0


def run_many(seeds: range, monkeypatch: pytest.MonkeyPatch) -> int:
    return sum(check(seed, monkeypatch) for seed in seeds)


@pytest.mark.slow
def test_edits_that_give_back_their_value_change_no_random_program(monkeypatch):
    assert run_many(range(300), monkeypatch) > 1000


if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as context:
        print(run_many(range(int(sys.argv[1]), int(sys.argv[2])), context), "values given to edits")
