"""The first example of the documentation, a timm model. Without trained weights, which would be downloaded."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

HOME = Path(__file__).parents[2] / "docs" / "index.md"
#: Where torch has no CUDA, importing torchvision fails, and timm imports it.
START = (
    "import sys, runpy; sys.path.insert(0, {tests!r}); import declare_torchvision; declare_torchvision.declare(); "
    "runpy.run_path({script!r}, run_name='__main__')"
)


def test_the_first_example_prints_what_its_comments_say_and_draws_the_map(tmp_path):
    block = re.search(r"<!-- file: timm_maps.py -->\n```python\n(.*?)```", HOME.read_text(encoding="utf-8"), re.S)
    assert block is not None and block[1].count("pretrained=True") == 1
    script = tmp_path / "timm_maps.py"
    script.write_text(block[1].replace("pretrained=True", "pretrained=False"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", START.format(tests=str(Path(__file__).parent), script=str(script))],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    promised = re.findall(r"^print\(.*  # (.+)$", block[1], re.M)
    assert len(promised) == 2
    assert done.stdout.splitlines() == promised
    assert (tmp_path / "cls.png").stat().st_size > 10_000
