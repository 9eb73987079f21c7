"""What the tests of notebooks share: cells run in a real IPython shell, each in an interpreter of its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# Run in the test's folder, where cells.json holds the cells.
_SHELL = """\
import json, sys, warnings
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

with open("cells.json", encoding="utf-8") as file:
    given = json.load(file)
InteractiveShell.colors = "nocolor" if sys.version_info >= (3, 11) else "NoColor"
shell = InteractiveShell.instance()
if given["extension"]:
    shell.extension_manager.load_extension("astcapture")
outcomes = []
for cell in given["cells"]:
    with capture_output(display=False) as captured:
        done = shell.run_cell(cell, store_history=True)
    error = done.error_before_exec or done.error_in_exec
    outcomes.append({
        "value": repr(done.result) if done.result is not None else None,
        "error": type(error).__name__ if error else None,
        "out": captured.stdout,
        "err": captured.stderr,
    })
with open("outcomes.json", "w", encoding="utf-8") as file:
    json.dump(outcomes, file)
"""


@dataclass(frozen=True)
class Outcome:
    """What came of one cell: the repr of what it displayed, the name of its error, and what it wrote."""

    value: str | None
    error: str | None
    out: str
    err: str


@pytest.fixture
def private_ipython(tmp_path: Path) -> Mapping[str, str]:
    """Environment variables that keep IPython and Jupyter away from what the user has set up."""
    folders = {
        "IPYTHONDIR": "ipython",
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
    }
    (tmp_path / "jupyter").mkdir()
    return {name: str(tmp_path / "jupyter" / folder) for name, folder in folders.items()}


@pytest.fixture
def run_cells(
    tmp_path: Path, run_python: Callable[..., subprocess.CompletedProcess[str]], private_ipython: Mapping[str, str]
) -> Callable[..., list[Outcome]]:
    """Run cells one after the other in a new shell; the extension is loaded before the first, unless told otherwise."""

    def run(*cells: str, extension: bool = True) -> list[Outcome]:
        (tmp_path / "cells.json").write_text(json.dumps({"cells": cells, "extension": extension}), encoding="utf-8")
        (tmp_path / "shell.py").write_text(_SHELL, encoding="utf-8")
        run_python("shell.py", env=private_ipython)
        outcomes = json.loads((tmp_path / "outcomes.json").read_text(encoding="utf-8"))
        return [Outcome(**outcome) for outcome in outcomes]

    return run


@pytest.fixture
def execute(
    tmp_path: Path, private_ipython: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[Any]]:
    """Run cells in a new kernel, one after the other also past an error; they come back with their outputs."""
    pytest.importorskip("ipykernel")
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    for name in list(os.environ):
        if name.startswith("ASTCAPTURE") or name == "MPLBACKEND":
            monkeypatch.delenv(name)
    for name, folder in private_ipython.items():
        monkeypatch.setenv(name, folder)

    def run(*cells: str) -> list[Any]:
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        client = nbclient.NotebookClient(
            notebook,
            kernel_name="python3",
            allow_errors=True,
            timeout=60,
            record_timing=False,
            resources={"metadata": {"path": str(tmp_path)}},
        )
        client.execute()
        done: list[Any] = notebook.cells
        return done

    return run
