"""A handful of changes of the rewriter, tried: what is bad is killed, and what is no change for the tests survives."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from mutating import counting, trying
from mutating.copies import Copy
from mutating.known_tests import learn
from mutating.mutant import Mutant, between, digest_of, executed

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[2]
TESTS = "tests/rewrite/test_transformed_source.py"
CHANGES = {
    "a test fails": ("exits.py", "return value.id in self.bound", "return value.id not in self.bound", "killed"),
    "nothing can be imported": ("nodes.py", "import ast\n", "import ast_\n", "killed"),
    "it takes for ever": ("transform.py", "return tree\n", "__import__('time').sleep(60)\n", "timed out"),
    "the same in other words": ("transform.py", "if not at_return:", "if len(at_return) == 0:", "survived"),
    "a message that these tests do not see": ("plan.py", "write each label", "leave each label", "not run"),
}


def mutant(module: str, old: str, new: str) -> Mutant:
    path = f"astcapture/rewrite/{module}"
    text = (PROJECT / path).read_text(encoding="utf-8")
    at = text.index(old)
    return Mutant(path, digest_of(text), text.count("\n", 0, at) + 1, "by hand", at, old, new)


def test_bad_changes_are_killed_and_others_survive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(trying, "PATIENCE", 4)
    mutants = {name: mutant(*change) for name, (*change, _) in CHANGES.items()}
    known = learn(PROJECT, tmp_path, sorted({one.module for one in mutants.values()}), [TESTS])
    assert len(known.seconds) > 20
    with Copy(PROJECT, tmp_path / "copy", known.files) as copy:
        trying.try_all(list(mutants.values()), [copy], known, tmp_path / "results.jsonl")
    outcomes = counting.read_outcomes(tmp_path / "results.jsonl")
    assert {name: outcomes[one.name]["outcome"] for name, one in mutants.items()} == {
        name: outcome for name, (*_, outcome) in CHANGES.items()
    }
    assert counting.table(mutants.values(), outcomes).splitlines()[2] == (
        "| `astcapture/rewrite/` | 5 | 5 | 2 | 1 | 1 | 1 | 60.0 |"
    )
    alive = [counting.shown(one).partition(" ")[2] for one in counting.survivors(mutants.values(), outcomes)]
    assert alive == [
        "by hand: write each label → leave each label",
        "by hand: if not at_return: → if len(at_return) == 0:",
    ]


def test_a_mutant_of_another_text_is_refused():
    one = Mutant("m.py", digest_of("x = 1"), 1, "number", 4, "1", "2")
    assert one.text("x = 1") == "x = 2"
    with pytest.raises(ValueError, match=r"m\.py has changed since its mutants were made"):
        one.text("x = 1 + 1")


@pytest.mark.parametrize(
    ("plain", "changed"),
    [
        ("def f():\n    'Text.'", "def f():\n    'Other.'"),
        ("def f(x: int) -> str: ...", "def f(x: float) -> bytes: ..."),
        ("x: int = 1", "x: float = 1"),
        ("if TYPE_CHECKING:\n    import a", "if not TYPE_CHECKING:\n    import b"),
        ("__all__ = ['a']", "__all__ = None"),
        ("y = cast(int, x)", "y = cast(None, x)"),
    ],
)
def test_what_is_not_run_is_no_change(plain: str, changed: str):
    assert executed(ast.parse(plain)) == executed(ast.parse(changed))


@pytest.mark.parametrize(
    ("plain", "changed"),
    [
        ("def f(x=1): ...", "def f(x=2): ..."),
        ("x: int = 1", "x: int = 2"),
        ("y = cast(int, x)", "y = cast(int, z)"),
        ("if x:\n    import a", "if not x:\n    import a"),
    ],
)
def test_what_is_run_is_a_change(plain: str, changed: str):
    assert executed(ast.parse(plain)) != executed(ast.parse(changed))


def test_a_change_is_told_in_whole_words():
    assert between("if recorded in x:", "if recorder in x:") == (3, "recorded", "recorder")


def test_of_each_module_as_large_a_part_is_tried_at_any_time():
    mutants = [Mutant(module, "", 1, "", at, "", "") for module, many in (("a", 100), ("b", 50)) for at in range(many)]
    first = trying.drawn(mutants, seed=1, most=None)[:60]
    assert [sum(one.module == module for one in first) for module in "ab"] == [40, 20]
    assert trying.drawn(mutants, seed=2, most=None)[:60] != first
    assert len(trying.drawn(mutants, seed=1, most=7)) == 14
