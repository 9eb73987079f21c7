"""A debugger stops at the same lines of a captured program, and coverage.py measures the same."""

from __future__ import annotations

import importlib
import sys
import sysconfig
from pathlib import Path

import coverage_and_debuggers
import pytest

pytestmark = pytest.mark.slow

PYTHON = Path(sys.executable)
TESTS = Path(sysconfig.get_path("stdlib"), "test", "test_textwrap.py")


def test_a_session_with_pdb_is_written_the_same() -> None:
    assert coverage_and_debuggers.compare_pdb(PYTHON) == ""


def test_a_debugger_stops_at_the_same_lines_of_random_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    # The end after an ``except*`` is on another line on Python 3.11, see `rewrite.transform`.
    programs = importlib.import_module("wider_programs")  # found in the folder that the harness puts on the path
    monkeypatch.setattr(programs.WiderProgram, "make_group", _no_group)
    assert coverage_and_debuggers.compare_steps(0, 25) == 0


def _no_group(self: object, depth: int, in_loop: bool, nested: int) -> None:
    self.make_try(depth, in_loop, nested)  # type: ignore[attr-defined]


@pytest.mark.skipif(not TESTS.exists(), reason="CPython's own tests are not installed")
def test_coverage_of_a_module_under_its_own_tests_is_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    coverage_and_debuggers.compare_coverage(PYTHON, ["textwrap"], "*")
    assert "textwrap, *: 1 files" in (written := capsys.readouterr().out)
    assert " 0 differences" in written
