"""The tables of docs/compatibility.md: every row of them is a test, and every test has its row."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"


def rows_under(heading: str) -> list[tuple[str, ...]]:
    """The cells of the table under a heading of the page, row by row, as they are written but for the backquotes."""
    _, _, section = PAGE.read_text(encoding="utf-8").partition(f"\n## {heading}\n")
    lines = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("|")]
    cells = [tuple(cell.strip().replace("`", "") for cell in line.strip("|").split("|")) for line in lines]
    assert len(cells) > 2, f"no table under {heading!r} in {PAGE}"
    return cells[2:]
