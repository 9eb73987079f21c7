"""CPython's tests of a few modules pass captured as they do plainly."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import pytest
import standard_library

pytestmark = pytest.mark.slow

PYTHON = Path(sys.executable)
TESTS = Path(sysconfig.get_path("stdlib"), "test", "test_shlex.py")


@pytest.mark.skipif(not TESTS.exists(), reason="CPython's own tests are not installed")
@pytest.mark.parametrize("at", ["*", "*@assign"])
@pytest.mark.parametrize("module", ["textwrap", "shlex"])
def test_what_cpython_tests_of_a_module_passes_captured(module: str, at: str) -> None:
    plain = standard_library._run(PYTHON, f"test_{module}", "", 0, 60)
    captured = standard_library._run(PYTHON, f"test_{module}", f"{module}:*={at}", 0, 60)
    assert len(plain["cases"]) > 10, plain["output"]
    assert captured["cases"] == plain["cases"]
    assert standard_library.new_failures(plain, captured) == {}
    assert f"{module}:" in captured["output"], "the summary at exit shows what was captured"


def test_a_case_that_fails_or_is_not_run_is_a_new_failure() -> None:
    plain = {
        "status": "finished",
        "exit status": 0,
        "cases": {"one": "passed", "two": "skipped", "three": "failure: no"},
    }
    captured = {**plain, "cases": {"one": "failure: yes"}}
    assert standard_library.new_failures(plain, captured) == {"one": "failure: yes", "two": "not run"}
    assert standard_library.new_failures(plain, {**plain, "status": "timed out"}) == {"the file": "timed out"}
    assert standard_library.new_failures(plain, {**plain, "exit status": 1}) == {"the file": "exit status 1"}
