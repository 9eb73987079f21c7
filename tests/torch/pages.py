"""Runs the code blocks of a page, and compares what it says is printed with what is printed.

The comment before a block says what it is: a file to write, a command line to run, one that fails, the output of the
last command, about its output (other machines round differently), a cell of a notebook, or what is checked elsewhere.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"(?:<!-- (?P<kind>\w+)(?:: (?P<name>\S+))? -->\n)?```(?P<language>\w*)\n(?P<text>.*?)```", re.S)


def blocks(page: str) -> Iterator[re.Match[str]]:
    return BLOCK.finditer(page)


def cookbook() -> tuple[str, list[str]]:
    """The page of recipes: what is before the first, and the recipes."""
    before, *recipes = re.split(r"^(?=## )", (ROOT / "docs" / "cookbook.md").read_text(encoding="utf-8"), flags=re.M)
    return before, recipes


def needs_a_library(recipe: str) -> bool:
    """Whether a recipe runs in tests/models, where transformers and timm are."""
    return re.search(r"^(import|from) (timm|transformers)\b", recipe, re.M) is not None


def run_page(page: str, folder: Path, elsewhere: Callable[[str, str, str], None]) -> int:
    """Run a page in `folder`, and give back how many commands ran.

    `elsewhere` is called with the kind, the name and the text of each block that is not run here, and fails
    where it does not know what to do with it.
    """
    said = ""
    ran = 0
    cells: list[str] = []
    not_run = False
    for block in blocks(page):
        kind, name, text = block["kind"], block["name"], block["text"]
        if kind == "file":
            (folder / name).write_text(text, encoding="utf-8")
        elif kind in ("run", "fails"):
            said = run(text, folder, fails=kind == "fails")
            ran += 1
        elif kind == "cell":
            cells.append(text)
            not_run = True
        elif kind == "output":
            if not_run:
                said, not_run = run_notebook(cells, folder), False
            assert text in said, f"the page promises\n{text}\nand what came is\n{said}"
        elif kind == "about":
            assert_about(text, said)
        else:
            elsewhere(kind, name, text)
    if not_run:
        run_notebook(cells, folder)
    return ran


NUMBER = re.compile(r"\d+\.\d+|\d+(?=%)")


def assert_about(promised: str, said: str) -> None:
    """The promised lines come in this order; fractions and percentages may differ by 10 %, or by 0.03 or 3 %."""
    place = 0
    for line in promised.splitlines():
        words = [re.escape(part) for part in NUMBER.split(line)]
        found = re.compile(rf"({NUMBER.pattern})".join(words)).search(said, place)
        assert found is not None, f"the page promises the line\n{line}\nand what came is\n{said}"
        for expected, number in zip(NUMBER.findall(line), found.groups(), strict=True):
            least = 0.03 if "." in expected else 3
            within = max(least, 0.1 * float(expected))
            assert abs(float(number) - float(expected)) <= within, f"the page promises\n{line}\nnot\n{found[0]}"
        place = found.end()


def run_notebook(cells: list[str], folder: Path) -> str:
    """What a notebook of these cells shows as text, run by a kernel; a cell that fails is an error."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    # The kernel chooses matplotlib's backend itself.
    environ = {name: text for name, text in os.environ.items() if name != "MPLBACKEND"}
    environ["IPYTHONDIR"] = str(folder / ".ipython")
    place = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(notebook, kernel_name="python3", timeout=300, resources=place).execute(env=environ)
    outputs = [output for cell in notebook.cells for output in cell.outputs]
    texts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs]
    return "".join(f"{text}\n" for text in texts)


def run(command: str, folder: Path, *, fails: bool = False) -> str:
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
    assert (done.returncode != 0) == fails, f"{command}{done.stdout}"
    return done.stdout
