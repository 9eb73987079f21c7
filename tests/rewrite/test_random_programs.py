"""Random control flow, rewritten: the analysis of what is bound must never be wrong, and nothing may change."""

from __future__ import annotations

import random
import warnings
from typing import Any

import pytest
from plain_and_rewritten import function_code, plain_code, recorded, rewritten_code
from random_programs import NAMES, Program

FAST = 250


def check(seed: int) -> int:
    """Compare a program's plain, probed and rewritten runs for several inputs; return how many values were captured."""
    program = Program(seed)
    path = f"/source/random{seed}.py"
    bound = [name for name in NAMES if binds(program.source, name)]
    plain = plain_code(program.source, path)
    probed = plain_code(program.probed, path)
    captures = [*bound, "t", "mixed:=(a, t.steps[:0])", "in_lambda:=[a for _ in 'x']"]
    rewritten = rewritten_code(program.source, path, f"m:f={','.join(captures)}")
    values = 0
    for number in range(6):
        steps = random.Random(seed * 10 + number).choices([0, 1, 1, 1, 2, 3, 7, 8], k=30)
        seen: list[dict[str, Any]] = []
        expected = outcome(plain, steps, number, None)
        assert outcome(probed, steps, number, seen) == expected, f"the probe changes program {seed}"
        with recorded() as cache:
            assert outcome(rewritten, steps, number, None) == expected, (
                f"program {seed}, input {number}\n{program.source}"
            )
        captured = [(record.label, show(record.value)) for record in cache.select().records if record.label in NAMES]
        wanted = [(name, show(names[name])) for names in seen for name in bound if name in names]
        assert captured == wanted, f"program {seed}, input {number}\n{program.source}"
        missed = sum(count.missed for (_, label), count in cache.counts.items() if label in NAMES)
        assert missed == sum(name not in names for names in seen for name in bound)
        values += len(captured)
    return values


def binds(source: str, name: str) -> bool:
    code = function_code(plain_code(source, ""), "f")
    return name in code.co_varnames or name in code.co_cellvars


def outcome(code: Any, steps: list[int], number: int, seen: list[dict[str, Any]] | None) -> Any:
    names: dict[str, Any] = {"__name__": "m"}

    def probe(value: Any, local: dict[str, Any]) -> Any:
        if seen is not None:
            seen.append(dict(local))
        return value

    names["probe"] = probe
    exec(code, names)
    flaky = names["Flaky"](list(steps))
    try:
        result = names["f"](flaky, number)
        if hasattr(result, "send"):
            result = [*result, "exhausted"]
    except Exception as error:
        return type(error).__name__, str(error), lines_of(error), len(flaky.steps)
    return show(result), len(flaky.steps)


def lines_of(error: BaseException | None) -> list[int]:
    lines = []
    at = error.__traceback__ if error else None
    while at is not None:
        if at.tb_frame.f_code.co_name == "f":
            lines.append(at.tb_lineno)
        at = at.tb_next
    return lines


def show(value: Any) -> str:
    """A value as text that is the same in two runs."""
    return repr(value).partition(" at 0x")[0]


def run_many(seeds: range) -> int:
    values = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in seeds:
            values += check(seed)
    return values


@pytest.mark.slow
def test_random_programs_are_captured_as_their_locals_say():
    assert run_many(range(FAST)) > 1000


if __name__ == "__main__":
    import sys

    print(run_many(range(int(sys.argv[1]), int(sys.argv[2]))), "values")
