"""The recipes of docs/cookbook.md that need torch alone; tests/models runs the others."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import ROOT, blocks, cookbook, needs_a_library, run_page

#: The most lines that a recipe's block may have.
LINES = 35


@pytest.mark.slow
def test_every_recipe_prints_what_the_page_says_and_draws_its_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before, recipes = cookbook()
    here = [recipe for recipe in recipes if not needs_a_library(recipe)]
    assert len(here) == 3
    # In one folder, as a reader has them: the later recipes use what the first one writes.
    assert run_page("".join([before, *here]), tmp_path, nothing_else) == 3
    assert (tmp_path / "changed.png").stat().st_size > 10_000
    assert (ROOT / "docs" / "pictures" / "checkpoints.png").stat().st_size > 10_000


def nothing_else(kind: str, name: str, text: str) -> None:
    raise AssertionError(f"nothing says how to run this block:\n{text}")


def test_every_recipe_is_short_and_shows_what_it_prints() -> None:
    _, recipes = cookbook()
    assert len(recipes) == 9
    for recipe in recipes:
        kinds = [block["kind"] for block in blocks(recipe)]
        assert {"file", "run"} <= set(kinds) and {"output", "about"} & set(kinds), recipe
        for block in blocks(recipe):
            assert block["text"].count("\n") <= LINES, block["text"]
