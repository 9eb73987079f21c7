"""The example that finds an induction head: it runs from any folder, prints what each head does, and draws it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ASTCAPTURE")}
    return subprocess.run(
        [sys.executable, str(EXAMPLES / "induction.py"), *arguments],
        cwd=cwd,
        env=environ | {"PYTHONPATH": str(EXAMPLES.parent), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder in which the example was run, and what it printed."""
    folder = tmp_path_factory.mktemp("example")
    done = run("--out", "pictures", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return folder, done.stdout


@pytest.mark.long
def test_it_prints_what_each_head_attends_to_and_the_loss_without_it(finished: tuple[Path, str]) -> None:
    lines = finished[1].splitlines()
    assert lines[0].startswith("trained in ") and "% right, loss 0." in lines[0]
    assert float(lines[0].partition(": ")[2].partition("%")[0]) >= 99
    heads = [line.split() for line in lines[3:5]]
    assert [head[:2] for head in heads] == [["0", "0"], ["1", "0"]]
    assert int(heads[0][2].rstrip("%")) >= 85 and int(heads[1][3].rstrip("%")) >= 90
    assert all(float(head[4]) > 4 for head in heads)


@pytest.mark.long
def test_it_prints_the_two_places_at_which_the_answer_comes_back(finished: tuple[Path, str]) -> None:
    places = [line.split("% from ") for line in finished[1].splitlines() if "% from " in line]
    assert {where for _, where in places[:2]} == {"layer 0, position 8", "layer 1, position 27"}
    assert [abs(float(share) - 100) < 2 for share, _ in places] == [True, True, False, False]
    assert all(abs(float(share)) < 2 for share, _ in places[2:])


@pytest.mark.long
@pytest.mark.parametrize("name", ["induction_heads.png", "induction_put_back.png"])
def test_it_draws_pictures_that_are_not_blank(finished: tuple[Path, str], name: str) -> None:
    pixels = matplotlib.image.imread(finished[0] / "pictures" / name)[..., :3]
    assert min(pixels.shape[:2]) > 200
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50


@pytest.mark.long
def test_it_draws_nothing_else(finished: tuple[Path, str]) -> None:
    names = sorted(path.name for path in (finished[0] / "pictures").iterdir())
    assert names == ["induction_heads.png", "induction_put_back.png"]


def test_quick_trains_a_few_steps_and_goes_through_all_the_same(tmp_path: Path) -> None:
    assert run("--quick", cwd=tmp_path).returncode == 0
