"""Every code block of the README is run, and what it says is printed is printed.

A block is told what it is by the comment before it: a file to write, a command line to run, the
output that the last command leaves, a cell of a notebook, or a command that
`.ci/run` itself runs in an empty environment.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"(?:<!-- (?P<kind>\w+)(?:: (?P<name>\S+))? -->\n)?```(?P<language>\w*)\n(?P<text>.*?)```", re.S)


def test_every_block_of_the_readme_runs_and_prints_what_it_says(tmp_path: Path) -> None:
    said = ""
    ran = 0
    cells: list[str] = []
    for block in BLOCK.finditer(README):
        kind, name, text = block["kind"], block["name"], block["text"]
        if kind == "file":
            (tmp_path / name).write_text(text, encoding="utf-8")
        elif kind == "run":
            said = run(text, tmp_path)
            ran += 1
        elif kind == "cell":
            cells.append(text)
            said = run_notebook(cells, tmp_path)
        elif kind == "output":
            assert text in said, f"the README promises\n{text}\nand what came is\n{said}"
        else:
            assert kind == "command", f"nothing says how to run this block:\n{text}"
            assert f'step "README\'s {name} command"' in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert ran >= 7
    assert (tmp_path / "heads.png").stat().st_size > 5_000


def run_notebook(cells: list[str], folder: Path) -> str:
    """What a notebook of these cells prints, run by IPython."""
    notebook = {
        "cells": [
            {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "source": cell}
            for cell in cells
        ],
        "metadata": {},
        "nbformat": 4,
        "nbformat_minor": 4,
    }
    (folder / "readme.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    return run("python -m IPython --colors=NoColor readme.ipynb", folder)


def run(command: str, folder: Path) -> str:
    """Both streams of a command line, run in `folder` with this interpreter as ``python``."""
    executable = Path(sys.executable)
    environ = {
        **os.environ,
        "PATH": f"{executable.parent}{os.pathsep}{os.environ['PATH']}",
        "MPLBACKEND": "Agg",
    }
    done = subprocess.run(
        ["bash", "-euc", command.replace("python ", f"{executable.name} ")],
        cwd=folder,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}{done.stdout}"
    return done.stdout


@pytest.mark.parametrize("path", re.findall(r"\]\(([^)#:]+)\)", README))
def test_every_file_that_the_readme_points_to_is_there(path: str) -> None:
    assert (ROOT / path).exists()
