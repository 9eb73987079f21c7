"""A sample of the random programs over tensors does not differ compiled, and a difference is noticed and cut down."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("torch")

import compiled_programs
from compiled import running
from compiled.program import TensorProgram
from compiled_programs import Difference, Totals, check

from astcapture.record.torch import compiled

pytestmark = pytest.mark.slow


def test_random_programs_over_tensors_do_not_differ_when_they_are_compiled() -> None:
    totals = Totals()
    for seed in range(14):
        check(seed, TensorProgram(seed).source, "eager", totals)
    assert totals.programs > 11
    assert totals.counts > 5
    assert totals.values > 200
    assert totals.graphs > 15


# What was found, as the seed that found it.
@pytest.mark.parametrize("seed", [19, 30, 33, 45, 51, 54, 98])
def test_compiled_programs_that_once_differed_do_not(seed: int) -> None:
    check(seed, TensorProgram(seed).source, "eager", Totals())


def test_a_value_that_is_lost_in_compiled_code_is_noticed_and_the_program_is_cut_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put = compiled.put_copy

    def put_all_but_one(site, value, owner, others):
        if site[2] != "b":
            put(site, value, owner, others)

    monkeypatch.setattr(compiled, "put_copy", put_all_but_one)
    with pytest.raises(Difference, match="values are recorded without the compiler"):
        check(30, TensorProgram(30).source, "eager", Totals())
    text = compiled_programs.minimised(30, "eager")
    assert "b, c, d = " in text
    assert len(text.splitlines()) < 6, text


def test_a_change_of_what_a_compiled_program_does_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    rewritten = running.rewritten_code

    def with_another_number(source: str, path: str, target: str, module: str) -> object:
        return rewritten(source.replace("x @ x", "x @ x * 1.5"), path, target, module)

    monkeypatch.setattr(running, "rewritten_code", with_another_number)
    with pytest.raises(Difference, match="results"):
        check(30, TensorProgram(30).source, "eager", Totals())


def test_the_whole_is_run_from_the_command_line() -> None:
    command = [sys.executable, compiled_programs.__file__, "30", "32", "--keep-going"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "0 differences" in ended.stdout
