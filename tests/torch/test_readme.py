"""Every code block of the README and of the tutorials is run, and what they say is printed is printed."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest
from pages import ROOT, run_page

pytestmark = pytest.mark.slow

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_block_of_the_readme_runs_and_prints_what_it_says(tmp_path: Path) -> None:
    assert run_page(README, tmp_path, run_by_ci) >= 1


def test_the_readme_is_at_most_150_lines() -> None:
    assert len(README.splitlines()) <= 150


def run_by_ci(kind: str, name: str, text: str) -> None:
    """A command that `.ci/run` itself runs in an empty environment, or one that installs."""
    if kind == "install":
        is_an_install(kind, name, text)
        return
    assert kind == "command", f"nothing says how to run this block:\n{text}"
    assert f'step "README\'s {name} command"' in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", re.findall(r"\]\(([^)#:]+)\)", README))
def test_every_file_that_the_readme_points_to_is_there(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize(
    ("name", "commands"), [("index", 1), ("own-model", 7), ("others-models", 8), ("patching", 4), ("editing", 1)]
)
def test_every_block_of_a_page_runs_and_prints_what_it_says(name: str, commands: int, tmp_path: Path) -> None:
    page = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    assert run_page(page, tmp_path, is_an_install) >= commands
    for picture in tmp_path.rglob("*.png"):
        assert picture.stat().st_size > 3_000, picture


def is_an_install(kind: str, name: str, text: str) -> None:
    """A command that installs, as CI does it, with extras that there are."""
    assert kind == "install", f"nothing says how to run this block:\n{text}"
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = re.search(r'pip install (?:-q )?-c constraints\.txt -e "\.\[([\w,-]+)\]"', text)
    assert extras is not None, text
    assert set(extras[1].split(",")) <= set(config["options.extras_require"])
