"""The row of docs/compatibility.md that needs torch: the processes that torchrun starts are captured, each apart."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import astcapture

sys.path.insert(0, str(Path(__file__).parents[1] / "matrix"))
from compatibility_page import rows_under

pytestmark = pytest.mark.slow

ROW = next(row[1:] for row in rows_under("Ways to start Python") if row[0] == "torchrun")
MODEL = "from astcapture import capture\n\n@capture('y')\ndef f(x):\n    y = x + 1\n    return y * 2\n"
# torch itself is not needed here: what torchrun does is to start processes.
SCRIPT = "import os, model\nprint(model.f(int(os.environ['RANK'])))\n"


@pytest.mark.torch
@pytest.mark.parametrize("launched", [False, True])
def test_pitfall_42_the_processes_that_torchrun_starts_are_captured_each_under_its_rank(tmp_path, launched):
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "script.py").write_text(SCRIPT)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ASTCAPTURE")}
    how = ["-m", "astcapture", "run", "-c", "model", "-o", "runs"] if launched else []
    if not launched:
        environ |= {"ASTCAPTURE": "model", "ASTCAPTURE_STORE": "runs"}
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "script.py"]
    done = subprocess.run(
        [sys.executable, *how, *torchrun],
        cwd=tmp_path,
        env=environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == ["2", "4"]
    assert ROW[launched] == "yes"
    records = astcapture.load(tmp_path / "runs")["model:f"].records
    assert sorted((record.rank, record.value) for record in records) == [(0, 1), (1, 2)]
    assert "2 values of 2 processes stored in" in done.stderr
