"""Runs a script of examples/ in a process of its own, as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"

#: Where torch has no CUDA, importing torchvision fails, and transformers imports it where it is installed.
START = (
    "import sys, runpy; sys.path[:0] = [{tests!r}, {examples!r}]; import declare_torchvision; "
    "declare_torchvision.declare(); runpy.run_path(sys.argv.pop(1), run_name='__main__')"
)


def run(script: str, *arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a folder, without what the environment says to capture, and fail where it fails."""
    start = START.format(tests=str(Path(__file__).parent), examples=str(EXAMPLES))
    command = [sys.executable, "-c", start, str(EXAMPLES / script), *arguments]
    kept = {name: text for name, text in os.environ.items() if not name.startswith("ASTCAPTURE")}
    done = subprocess.run(
        command, cwd=folder, env={**kept, "MPLBACKEND": "Agg", **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done
