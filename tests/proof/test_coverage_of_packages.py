"""coverage.py, the outcomes and the tracebacks of a package's tests are the same captured: one small package."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import coverage_of_packages
import pytest

pytestmark = pytest.mark.slow

#: pytest's own requirement, so it is wherever these tests are; its distribution is without its tests.
TESTS = '''
import iniconfig
import pytest

TEXT = """
; a comment
[metadata]
name = one  # and another
classifiers =
    first
    second
[empty]
"""


def test_sections_and_values():
    config = iniconfig.IniConfig("setup.cfg", data=TEXT)
    assert [section.name for section in config] == ["metadata", "empty"]
    assert config["metadata"]["classifiers"].split() == ["first", "second"]
    assert config.lineof("metadata", "name") == 4
    assert config.get("metadata", "version", convert=int, default=4) == 4
    assert "version" not in config["metadata"]


@pytest.mark.parametrize("text", ["a=1", "[one]\\nname\\n", "[one\\n", "[one]\\n[one]", "[one]\\na=1\\na=2", " a"])
def test_a_mistake_is_told_with_its_line(text):
    with pytest.raises(iniconfig.ParseError, match="setup.cfg:[12345]:"):
        iniconfig.IniConfig("setup.cfg", data=text)


@pytest.mark.parametrize("name", ["nothing", "empty"])
def test_what_is_not_there(name):
    config = iniconfig.IniConfig("setup.cfg", data=TEXT)
    with pytest.raises(KeyError):
        config[name]["key"]


@pytest.mark.xfail(strict=True)
def test_a_number_that_is_none():
    config = iniconfig.IniConfig("setup.cfg", data=TEXT)
    config.get("metadata", "name", convert=int)
'''


def test_a_package_is_measured_the_same_and_fails_with_the_same_tracebacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "test_iniconfig.py").write_text(TESTS)
    ways = ("plain", "captured")
    assert coverage_of_packages.compare_package(Path(sys.executable), "iniconfig", tmp_path, [], ways=ways) == 0
    plain, captured = capsys.readouterr().out.splitlines()
    assert plain.startswith("iniconfig, ctrace: 10 tests, ")
    assert int(plain.partition(" tracebacks")[0].rpartition(" ")[2]) >= 9
    assert "captured: 0 differences" in captured


def test_a_line_an_outcome_and_an_anchor_that_differ_are_found() -> None:
    one = coverage_of_packages.Run(
        coverage={"m.py": dict.fromkeys(coverage_of_packages.KINDS, frozenset({1, 2}))},
        outcomes={"test_m": ["call passed"]},
        tracebacks={("expected", "test_m"): ["a"]},
        texts={"a": "    x / 0\n    ^^^^^\n"},
        functions=1,
        events=1,
        seconds=0.0,
    )
    other = replace(
        one,
        coverage={"m.py": one.coverage["m.py"] | {"arcs": frozenset({1})}},
        outcomes={"test_m": ["call failed"]},
        texts={"a": "    x / 0\n    ~~^~~\n"},
    )
    assert coverage_of_packages.differences(one, one) == {}
    assert coverage_of_packages.differences(one, other) == {
        ("arcs", "m.py"): "only plainly [2], only captured []",
        ("outcome", "test_m"): "['call passed'], captured ['call failed']",
        ("expected", "test_m"): "traceback 0 of 1 and 1\n--- plain\n+++ captured\n@@ -1,2 +1,2 @@\n     x / 0\n"
        "-    ^^^^^\n+    ~~^~~",
    }
