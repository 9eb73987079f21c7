"""pytest rewrites assertions as it imports: of which modules are the messages rewritten, and of which the functions?

The rows are those of docs/compatibility.md. One run of pytest for each order has a module of every kind.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from compatibility_page import rows_under

KINDS = {
    "pytest, a module that the tests import": "model",
    "pytest, a test module": "tests.test_it",
    "pytest, a conftest.py": "tests.conftest",
    "pytest, a module of register_assert_rewrite": "helping",
}
ROWS = [row for row in rows_under("Other import hooks") if row[0].startswith("pytest")]
TARGETS = [f"{name}:compute=total" for name in KINDS.values()]
COMPUTE = """
def compute(x):
    total = x + 1
    assert total == 5
    return total
"""
INSTALL = f"import astcapture\nhook = astcapture.install({TARGETS!r})\n"
TEST = """
import importlib, json
import astcapture, helping, model

def test_it():
    found = {}
    for name in %s:
        compute = importlib.import_module(name).compute
        assert compute(4) == 5
        try:
            compute(1)
        except AssertionError as error:
            message = str(error)
        found[name] = message, list(astcapture.cache.get(name + ":compute", ()))
    with open("found.json", "w") as file:
        json.dump(found, file)
"""


def run_pytest(
    make_package: Callable[..., Path], run_python: Callable[..., Any], order: str, *options: str
) -> tuple[dict[str, Any], str]:
    """What each module's assertion says and what was captured of it, and all that pytest printed."""
    folder = make_package(
        {
            "model.py": COMPUTE,
            "helping.py": COMPUTE,
            "conftest.py": "import pytest\npytest.register_assert_rewrite('helping')\n"
            + (INSTALL if order == "theirs" else ""),
            "tests/__init__.py": "",
            "tests/conftest.py": COMPUTE,
            "tests/test_it.py": COMPUTE + TEST % list(KINDS.values()),
            "start.py": (INSTALL if order == "ours" else "")
            + "import sys, pytest\nsys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', 'tests', *sys.argv[1:]]))\n",
        }
    )
    done: subprocess.CompletedProcess[str] = run_python("start.py", *options, cwd=folder)
    return json.loads((folder / "found.json").read_text(encoding="utf-8")), done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("order", ["theirs", "ours"])
def test_pytest_rewrites_its_assertions_and_what_is_not_captured_for_it_is_warned_of(make_package, run_python, order):
    rows = {row[0]: row for row in ROWS if row[1] == order}
    assert set(rows) == set(KINDS)
    for _ in range(2):  # compiled, and from the bytecode cache
        found, said = run_pytest(make_package, run_python, order)
        for kind, name in KINDS.items():
            message, captured = found[name]
            expected = {"yes": "assert 2 == 5", "no: pytest does not rewrite it": ""}[rows[kind][2]]
            assert message.partition("\n")[0] == expected, name
            warned = (
                f"{name} is imported without captures: AssertionRewritingHook loads it" in said
                or f"_pytest.assertion.rewrite.AssertionRewritingHook loaded {name}, but only modules that" in said
            )
            assert (captured, warned) == (([5], False) if rows[kind][3] == "captured" else ([], True)), (name, said)


def test_with_plain_assertions_every_module_of_the_tests_is_captured(make_package, run_python):
    found, said = run_pytest(make_package, run_python, "ours", "--assert=plain")
    assert found == {name: ["", [5]] for name in KINDS.values()}
    assert "CaptureWarning" not in said
