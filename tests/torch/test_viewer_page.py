"""The blocks of docs/viewer.md run, and make the files that the page names."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import ROOT, run_page


@pytest.mark.slow
def test_the_page_of_the_viewer_makes_its_files(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "viewer.md").read_text(encoding="utf-8")
    assert run_page(page, tmp_path, nothing_else) == 2
    for name in ("map.html", "stored.html"):
        assert '"words":["the","cat","sat","on","the","mat"]' in (tmp_path / name).read_text(encoding="utf-8")


def nothing_else(kind: str, name: str, text: str) -> None:
    raise AssertionError(f"nothing says how to run this block:\n{text}")
