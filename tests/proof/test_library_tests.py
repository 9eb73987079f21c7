"""A tiny library's tests run plainly and captured alike, and a capture that changes a value is found."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import library_tests
import pytest
from libraries import comparing
from libraries.library import LIBRARIES, Library
from libraries.running import Setting

pytestmark = pytest.mark.slow

TINY = Library(file="test_{name}.py", modules=("tiny.{name}",), recipes=(), names=("lists",), torch=False)
FILES = {
    "tiny/__init__.py": "",
    "tiny/lists.py": """
        def running_sums(values):
            sums = []
            total = 0
            for value in values:
                total += value
                sums = [*sums, total]
            return sums

        def names(first):
            second = first
            return list(locals())
        """,
    "test_lists.py": """
        import random

        import pytest
        from tiny import lists

        def test_sums():
            assert lists.running_sums([1, 2, 3]) == [1, 3, 6]

        def test_names():
            assert lists.names(1) == ["first", "second"]

        def test_chance():
            assert len(lists.running_sums([random.random()])) == 1
            pytest.skip("it has no more to say")
        """,
}
#: What the test's own conftest.py holds to break capturing: it reverses the lists that it captures.
BREAKS = """
    import os

    if os.environ.get("ASTCAPTURE"):
        from astcapture.record import recorder

        record = recorder.record

        def reversing(result, site, value, *owner):
            if isinstance(value, list):
                value.reverse()
            return record(result, site, value, *owner)

        recorder.record = reversing
    """
#: A test that fails when capturing is on, and one that passes or fails by turns.
DIFFERS = """
    import os, pathlib

    def test_differs():
        assert not os.environ.get("ASTCAPTURE"), "it is captured"

    def test_by_turns():
        seen = pathlib.Path(__file__).with_name("seen")
        turn = len(seen.read_text()) if seen.exists() else 0
        seen.write_text("x" * (turn + 1))
        assert turn % 2 == 0
    """


def setting_of(folder: Path) -> Setting:
    return Setting(Path(sys.executable), folder, TINY, limit=60, memory="100MB", layers=False, options=())


@pytest.mark.parametrize("mode", ["all", "assign"])
def test_what_passes_plainly_passes_captured_and_is_counted(
    mode: str, tmp_path: Path, make_package: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    make_package(FILES)
    results = tmp_path / "results.jsonl"
    assert library_tests.run_all(setting_of(tmp_path), TINY.names, mode, results) == 0
    assert f"lists, {mode}: 3 cases, 2 passed plainly, 2 captured, 1 skipped, 0 differ, " in capsys.readouterr().out
    plain, captured = map(json.loads, results.read_text().splitlines())
    assert (plain["records"], captured["records"]) == (0, {"all": 4 * 2 + 2, "assign": 2 + 3 * 3 + 2 + 3 + 1}[mode])
    assert {case.partition("::")[2]: one["outcome"] for case, one in captured["cases"].items()} == {
        "test_sums": "passed",
        "test_names": "passed",
        "test_chance": "skipped",
    }
    # What is in the results is not run again, and printed again.
    assert library_tests.run_all(setting_of(tmp_path), TINY.names, mode, results) == 0
    assert "lists                               3      2        2      0" in capsys.readouterr().out
    assert len(results.read_text().splitlines()) == 2


@pytest.mark.parametrize("mode", ["all", "assign"])
def test_a_capture_that_changes_what_it_captures_is_found(
    mode: str,
    make_package: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(comparing, "AGAIN", 1)
    make_package({**FILES, "conftest.py": BREAKS})
    assert library_tests.run_all(setting_of(tmp_path), TINY.names, mode, tmp_path / "results.jsonl") == 1
    told = capsys.readouterr().out
    assert "    1 of 1 times: test_lists.py::test_sums: passed, captured failed: assert [" in told
    assert "test_names" not in told


def test_chance_is_told_from_what_capturing_changes(
    make_package: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_package({**FILES, "test_lists.py": DIFFERS})
    assert library_tests.run_all(setting_of(tmp_path), TINY.names, "all", tmp_path / "results.jsonl") == 1
    told = capsys.readouterr().out
    assert (
        "    3 of 3 times: test_lists.py::test_differs: passed, captured failed: AssertionError: it is captured" in told
    )
    assert "    by chance: test_lists.py::test_by_turns: passed, captured failed: " in told
    assert "NOTHING WAS CAPTURED" in told


CASE = {"outcome": "passed", "why": "", "subtests": {}, "random": 1}
OTHERS = {
    "another outcome": {"outcome": "failed", "why": "no"},
    "skipped": {"outcome": "skipped", "why": "no torch"},
    "a subtest": {"subtests": {"failed": 1}},
    "a random number": {"random": 2},
}


@pytest.mark.parametrize("other", OTHERS)
def test_each_way_to_differ_is_told(other: str) -> None:
    assert comparing.difference(CASE, CASE) == ""
    assert comparing.difference(CASE, {**CASE, **OTHERS[other]})
    assert comparing.difference(CASE, None)


def test_reasons_are_compared_without_what_changes_from_run_to_run() -> None:
    failed = {**CASE, "outcome": "failed", "why": "a <object at 0x7f1> in /tmp/library-tests-ab/c is 0.25"}
    again = {**failed, "why": "a <object at 0x80a> in /tmp/library-tests-cd/c is 1e-05"}
    assert comparing.difference(failed, again) == ""
    assert comparing.difference(failed, {**failed, "why": "another"})


def test_a_file_that_does_not_end_as_it_does_plainly_differs() -> None:
    run = {"status": "finished", "cases": {"one": CASE}}
    assert comparing.differences(run, run) == {}
    assert comparing.differences(run, {**run, "status": "timed out"}) == {"the file": "finished, captured timed out"}


def test_the_default_list_is_long_enough_and_targets_name_the_model() -> None:
    transformers = LIBRARIES["transformers"]
    assert len(set(transformers.names)) == len(transformers.names) >= 30
    assert transformers.targets("bert", "assign") == "transformers.models.bert.modeling_*:*=*@assign"
    assert transformers.targets("bert", "recipes") == "@hf-attention;@hf-attention-eager"
