"""The page's own modules: decoding against NumPy under Node, types and lint where their tools are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

WEB = Path(__file__).parent / "web"
ROOT = WEB.parents[2]


def run(*command: str, cwd: Path = WEB) -> None:
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | {"PYTHON": sys.executable}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr


def node() -> str:
    path = shutil.which("node")
    version = subprocess.run([path, "--version"], capture_output=True, text=True).stdout if path else ""
    if not path or int(version.strip().lstrip("v").split(".")[0] or 0) < 20:
        pytest.skip("needs Node 20 or newer")
    return path


def tool(name: str) -> str:
    path = WEB / "node_modules" / ".bin" / name
    if not path.exists():
        pytest.skip(f"{name} is not installed: run npm ci in tests/view/web")
    return str(path)


def test_node_reads_what_numpy_wrote() -> None:
    run(node(), "--test")


@pytest.mark.slow
def test_the_modules_types_hold() -> None:
    run(tool("tsc"), "-p", "tsconfig.json")


@pytest.mark.slow
def test_the_modules_are_without_lint() -> None:
    run(
        tool("eslint"),
        "--max-warnings",
        "0",
        "-c",
        "tests/view/web/eslint.config.js",
        "astcapture/view/web",
        "tests/view/web",
        cwd=ROOT,
    )
