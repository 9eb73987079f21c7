"""A sample of the random programs shows nothing else when captured, and a difference is noticed and cut down."""

from __future__ import annotations

import differential
import drawn_by_hypothesis
import pytest
from differential import Difference, Totals, check, program_of
from wider_programs import WiderProgram

pytestmark = pytest.mark.slow


def test_random_programs_of_every_kind_do_not_differ() -> None:
    totals = Totals()
    for seed in range(200):
        check(seed, program_of(seed), totals)
    assert totals.programs > 190
    assert totals.values > 4000
    assert totals.returns > 100


def test_programs_that_hypothesis_draws_do_not_differ() -> None:
    told = drawn_by_hypothesis.run_programs(60, derandomize=True)
    programs, runs, returns = (int(part.split()[0]) for part in told.split(", "))
    assert programs > 50
    assert runs == 6 * programs
    assert returns > 10


# What was found, as the seed that found it.
@pytest.mark.parametrize("seed", [750, 3348, 3726, 7493, 10386])
def test_programs_that_once_differed_do_not(seed: int) -> None:
    check(seed, WiderProgram(seed), Totals())


def test_a_change_of_what_a_program_does_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    rewritten = differential.rewritten_code

    def with_another_text(source: str, path: str, target: str) -> object:
        return rewritten(source.replace("'at'", "'off'"), path, target)

    monkeypatch.setattr(differential, "rewritten_code", with_another_text)
    prints = next(seed for seed in range(100) if _prints(seed))
    with pytest.raises(Difference, match="printed"):
        check(prints, program_of(prints), Totals())
    text = differential.minimised(prints)
    assert "print('at'" in text
    assert len(text.rpartition("---\n")[2].splitlines()) < 12, "of the program itself little is left"


def _prints(seed: int) -> bool:
    """Whether the first run of a program prints."""
    program = program_of(seed)
    code = differential.plain_code(program.source, "/source/prints.py")
    return "at" in differential.run(code, [1] * 40, 5).printed and "'at'" in program.source


def test_a_value_that_is_not_the_local_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    show = differential.show
    seen = 0
    program = WiderProgram(5, leaves_at_once=True)
    totals = Totals()
    check(5, program, totals)

    def wrong_once(value: object) -> str:
        nonlocal seen
        seen += value == "b"
        return show("c" if value == "b" and seen % 3 == 0 else value)

    monkeypatch.setattr(differential, "show", wrong_once)
    differing = 0
    for seed in range(0, 100, 5):
        try:
            check(seed, WiderProgram(seed, leaves_at_once=True), totals)
        except Difference:
            differing += 1
    assert differing > 0
