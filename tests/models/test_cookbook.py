"""The recipes of docs/cookbook.md that need transformers or timm. Without what would be downloaded."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import astcapture

sys.path.append(str(Path(__file__).parents[1] / "torch"))  # where pages are run

from pages import blocks, cookbook, needs_a_library, run_page

RUN = Path(__file__).parent / "run_declared.py"
RECIPES = [recipe for recipe in cookbook()[1] if needs_a_library(recipe)]
IMAGES = 200
LAYERS = 12


def titled(title: str) -> str:
    (found,) = (recipe for recipe in RECIPES if recipe.startswith(f"## {title}\n"))
    return found


def offline(recipe: str, minilm: str) -> str:
    """A recipe that downloads nothing, run by the launcher that declares torchvision's operators."""
    recipe = recipe.replace("pretrained=True", "pretrained=False")
    recipe = recipe.replace('"sentence-transformers/all-MiniLM-L6-v2"', repr(minilm))
    return re.sub(r"^python (?=\w+\.py$)", f"python {RUN} ", recipe, flags=re.M)


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of images, as the recipe has one."""
    import numpy as np
    from PIL import Image

    folder = tmp_path / "images"
    folder.mkdir()
    pixels = np.random.default_rng(0)
    for number in range(IMAGES):
        Image.fromarray(pixels.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(folder / f"{number:03}.png")
    return folder


def nothing_else(kind: str, name: str, text: str) -> None:
    raise AssertionError(f"nothing says how to run this block:\n{text}")


@pytest.mark.cases(3)
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.partition("\n")[0])
def test_every_recipe_prints_what_the_page_says(recipe: str, tmp_path: Path, images: Path, minilm: str) -> None:
    assert run_page(offline(recipe, minilm), tmp_path, nothing_else) >= 1


@pytest.mark.long
def test_a_data_set_is_complete_after_the_run_was_killed_and_started_again(
    tmp_path: Path, images: Path, minilm: str
) -> None:
    recipe = offline(titled("The maps of a data set on disk"), minilm)
    (script,) = (block for block in blocks(recipe) if block["name"] == "store_maps.py")
    (tmp_path / "store_maps.py").write_text(script["text"], encoding="utf-8")
    command = [sys.executable, str(RUN), "store_maps.py"]

    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        for _ in first.stdout:
            if any((tmp_path / "maps").rglob("*.safetensors")):
                break
        first.kill()
    stored = complete(tmp_path)
    assert 0 < len(stored) < IMAGES

    second = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    printed = set(second.stdout.split())
    assert not printed & stored and printed | stored == {path.name for path in images.iterdir()}
    assert complete(tmp_path) == printed | stored
    # The later reading counts: no image is missing, and none is there twice in the last layer.
    last = astcapture.load(tmp_path / "maps").select(layer="blocks.11.attn")
    assert len(last) == len({record.tags["image"] for record in last.records}) == IMAGES


def complete(folder: Path) -> set[str]:
    """The images of which every layer is stored."""
    layers: dict[str, set[str | None]] = {}
    for record in astcapture.load(folder / "maps").select(label="weights").records:
        layers.setdefault(record.tags["image"], set()).add(record.layer)
    return {image for image, found in layers.items() if len(found) == LAYERS}
