"""What the page of the docs on drawing says: its blocks run, and it names every function that draws."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from astcapture import plot

PAGE = (Path(__file__).parents[2] / "docs" / "plots.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"<!-- run -->\n```python\n(.*?)```", PAGE, re.S)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_block_of_the_page_runs(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(BLOCKS[number], f"block {number} of plots.md", "exec"), {})
    for picture in tmp_path.iterdir():
        assert picture.stat().st_size > 3_000


def test_the_page_has_blocks_and_names_every_function_that_draws():
    assert len(BLOCKS) == 3
    table = PAGE.partition("| to see |")[2].partition("\n\n")[0]
    named = set(re.findall(r"`(\w+)\(", table))
    assert named == set(plot.__all__) - {"formulas", "paper"}
    assert "plot.paper()" in PAGE
