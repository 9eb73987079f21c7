"""What a program prints as it ends: at most a screen, and where the rest is."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from astcapture.values import screen
from astcapture.values.screen import LINES, on_a_screen

Run = Callable[..., Any]
Make = Callable[..., Path]


def test_what_a_screen_holds_is_printed_whole() -> None:
    lines = [f"line {number}" for number in range(LINES)]
    assert on_a_screen(lines, "summary") == lines


def test_of_more_the_first_lines_are_printed_and_the_whole_is_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    lines = [f"line {number}" for number in range(12_345)]
    *shown, last = on_a_screen(lines, "summary")
    assert shown == lines[: LINES - 1]
    (file,) = tmp_path.iterdir()
    assert last == f"… and {12_345 - LINES + 1:,} lines more: all of them are in {file}"
    assert file.name.startswith("astcapture-summary-")
    assert file.read_text(encoding="utf-8").splitlines() == lines


def test_where_no_file_can_be_written_the_reason_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(screen, "_write", full)
    shown = on_a_screen([""] * 100, "summary")
    assert len(shown) == LINES
    assert shown[-1].endswith("could not be written to a file: [Errno 28] No space left on device")


MANY = """
{functions}

for number in range(3):
    for name in sorted(name for name in globals() if name.startswith("f")):
        globals()[name](number)
"""


def test_a_run_with_many_functions_ends_with_a_screen(make_package: Make, run_python: Run, tmp_path: Path) -> None:
    functions = "\n".join(f"def f{number}(x):\n    y = x + 1\n    return y\n" for number in range(500))
    folder = make_package({"many.py": MANY.format(functions=functions), "main.py": "import many\n"})
    written = tmp_path / "temporary"
    written.mkdir()
    end = run_python("main.py", env={"ASTCAPTURE": "many:*=x,y", "TMPDIR": str(written)}, cwd=folder).stderr
    assert len(end.splitlines()) == LINES
    found = re.search(r"… and (\d+) lines more: all of them are in (\S+)$", end)
    assert found is not None
    whole = Path(found[2]).read_text(encoding="utf-8").splitlines()
    assert len(whole) == 2 + 1000
    assert [line.strip() for line in end.splitlines()[: LINES - 1]] == [line.strip() for line in whole[: LINES - 1]]


def test_many_targets_that_came_to_nothing_end_with_a_screen(make_package: Make, run_python: Run) -> None:
    make_package({"main.py": "pass\n"})
    targets = ";".join(f"missing{number}:f=y" for number in range(200))
    end = run_python("main.py", env={"ASTCAPTURE": targets}).stderr
    assert len(end.splitlines()) <= LINES + 3
    assert "lines more: all of them are in" in end
