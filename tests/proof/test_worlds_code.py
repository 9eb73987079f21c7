"""A sample of the standard library, compiled captured, has the same code objects; and a change is noticed."""

from __future__ import annotations

import random
import sysconfig
from pathlib import Path

import pytest
import worlds_code

pytestmark = pytest.mark.slow

STDLIB = Path(sysconfig.get_path("stdlib"))
SKIPPED = {"site-packages", "lib2to3", "__pycache__"}


@pytest.mark.parametrize("at", worlds_code.CAPTURES)
def test_a_sample_of_the_standard_library_compiles_to_the_same_code_objects(at: str) -> None:
    files = sorted(
        path for path in STDLIB.rglob("*.py") if not SKIPPED & set(path.parts) and path.stat().st_size < 60_000
    )
    captured = 0
    for path in random.Random(f"{at} 1").sample(files, 40):
        outcome = worlds_code.compare_source(path.read_bytes(), str(path), at)
        assert outcome["differences"] == [], path
        captured += outcome["captured"]
    assert captured > 60


SOURCE = b"""
class C(object):
    x: int = 1
    def f(self, y=2, *, z=3):
        "Doc."
        def g(a=y): return a
        return (
            g(), y)
"""
CHANGES = {
    "a default": (b"y=2", b"y=9"),
    "a keyword's default": (b"z=3", b"z=9"),
    "a parameter": (b"self, y", b"self, w, y"),
    "an annotation": (b"x: int", b"x: str"),
    "a base": (b"object", b"list"),
    "a docstring": (b"Doc.", b"Dec."),
    "a line": (b'        "Doc."\n', b'        "Doc."\n\n'),
    "a name": (b"def f", b"def h"),
    "what makes an inner function": (b"def g(a=y)", b"def g(a=y, b=y)"),
    "a generator": (b"return (", b"yield ("),
    "a closure": (b"return a", b"return self"),
    "an inner code object": (b"return a", b"return lambda: a"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_noticed(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert worlds_code.compare_source(SOURCE, "m.py", "return")["differences"] == []
    rewritten = worlds_code._rewritten
    changed = SOURCE.replace(*CHANGES[change])
    monkeypatch.setattr(worlds_code, "_rewritten", lambda source, path, at: rewritten(changed, path, at))
    assert changed != SOURCE
    assert worlds_code.compare_source(SOURCE, "m.py", "return")["differences"]


def test_a_function_that_is_never_reached_is_no_difference() -> None:
    source = (
        b"def f(x):\n    try:\n        y = x\n    except E:\n        return\n        def never(): pass\n    return y\n"
    )
    assert worlds_code.compare_source(source, "m.py", "return")["differences"] == []


def test_a_file_that_python_refuses_is_counted_and_skipped() -> None:
    assert worlds_code.compare_source(b"def f(:\n", "m.py", "return")["status"] == "not compiled plainly"


def test_results_are_taken_up_where_they_stopped_and_a_text_counts_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in (("one", SOURCE), ("copy", SOURCE), ("two", SOURCE + b"\n# another")):
        (tmp_path / f"{name}.py").write_bytes(text)
    results = tmp_path / "results.jsonl"
    worlds_code.run(results, [tmp_path / "one.py"], "return")
    worlds_code.run(results, [tmp_path / f"{name}.py" for name in ("one", "copy", "two")], "return")
    assert [Path(one["path"]).name for one in worlds_code.read(results)] == ["one.py", "two.py"]
    worlds_code.report(results)
    assert "in all" in capsys.readouterr().out
