"""The first examples of the README and of the home page. Without trained weights, which would be downloaded."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from matplotlib.cbook import get_sample_data
from PIL import Image

ROOT = Path(__file__).parents[2]
#: Where torch has no CUDA, importing torchvision fails, and timm imports it.
START = (
    "import sys, runpy; sys.path.insert(0, {tests!r}); import declare_torchvision; declare_torchvision.declare(); "
    "runpy.run_path({script!r}, run_name='__main__')"
)


def run_untrained(page: str, name: str, folder: Path) -> tuple[str, str]:
    """Run the block that a page calls `name`, without trained weights; its text, and what it prints."""
    text = (ROOT / page).read_text(encoding="utf-8")
    block = re.search(rf"<!-- file: {name} -->\n```python\n(.*?)```", text, re.S)
    assert block is not None and block[1].count("pretrained=True") == 1
    script = folder / name
    script.write_text(block[1].replace("pretrained=True", "pretrained=False"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", START.format(tests=str(Path(__file__).parent), script=str(script))],
        cwd=folder,
        env={**os.environ, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return block[1], done.stdout


def test_the_first_lines_of_the_readme_draw_what_a_model_attends_to_in_a_photograph(tmp_path):
    with Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)) as photograph:
        photograph.save(tmp_path / "cat.jpg")
    text, printed = run_untrained("README.md", "photo.py", tmp_path)
    assert printed == ""
    assert len([line for line in text.splitlines() if line]) <= 9
    with Image.open(tmp_path / "attention.png") as picture:
        assert min(picture.size) > 400


def test_the_first_example_of_the_home_page_prints_what_its_comments_say_and_draws_the_map(tmp_path):
    text, printed = run_untrained("docs/index.md", "timm_maps.py", tmp_path)
    promised = re.findall(r"^print\(.*  # (.+)$", text, re.M)
    assert len(promised) == 2
    assert printed.splitlines() == promised
    assert (tmp_path / "cls.png").stat().st_size > 10_000
