"""The example, run as a new user runs it: the pictures are there, and they show the attention of the trained model."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch

import astcapture

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
PICTURES = [
    "head.png",
    *(f"heads_layer_{layer}.png" for layer in range(4)),
    *(f"patch_to_patch_layer_{layer}.png" for layer in range(4)),
    "vit_digits.png",
]


def child_environ() -> dict[str, str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ASTCAPTURE")}
    # One thread: on a busy machine several that wait for each other are many times slower.
    return environ | {"PYTHONPATH": str(EXAMPLES.parent), "OMP_NUM_THREADS": "1"}


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLES / "vit_digits.py"), *arguments],
        cwd=cwd,
        env=child_environ(),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder in which the example was run, and what it printed."""
    folder = tmp_path_factory.mktemp("example")
    done = run("--quick", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done


@pytest.fixture
def vit(monkeypatch):
    """The example's model, imported under a hook, as the example imports it."""
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.delitem(sys.modules, "vit", raising=False)
    with astcapture.install(["vit"]):
        yield importlib.import_module("vit")
    monkeypatch.delitem(sys.modules, "vit")
    astcapture.cache.clear()


@pytest.mark.long
def test_it_says_how_accurate_the_model_is_where_the_pictures_are_and_what_was_captured(finished):
    _, done = finished
    assert "accuracy: " in done.stdout
    assert "(quick: barely trained)" in done.stdout
    assert f"pictures: out{os.sep}*.png" in done.stdout
    rows = [line for line in done.stdout.splitlines() if line.startswith("vit:Attention.forward")]
    assert [row.split()[1:4] for row in rows] == [["attn", f"blocks.{layer}.attn", "1"] for layer in range(4)]
    assert all("(10, 4, 17, 17)" in row for row in rows)


@pytest.mark.long
def test_it_shows_a_progress_bar(finished):
    _, done = finished
    assert "training: 100%" in done.stderr


@pytest.mark.long
@pytest.mark.parametrize("name", PICTURES)
def test_it_draws_pictures_that_are_not_blank(finished, name):
    folder, _ = finished
    pixels = matplotlib.image.imread(folder / "out" / name)[..., :3]
    assert min(pixels.shape[:2]) > 300
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 200


@pytest.mark.long
def test_it_draws_nothing_else(finished):
    folder, _ = finished
    assert sorted(path.name for path in (folder / "out").iterdir()) == sorted(
        [*PICTURES, "vit_digits.html", "vit_digits.pt"]
    )


@pytest.mark.long
def test_it_writes_a_file_to_look_around_in(finished):
    folder, done = finished
    assert f"with a browser: out{os.sep}vit_digits.html" in done.stdout
    text = (folder / "out" / "vit_digits.html").read_text(encoding="utf-8")
    data = json.loads(text.partition('id="astcapture-data">')[2].partition("</script>")[0])
    (series,) = data["series"]
    places = [(item["layer"], item["batch"]) for item in series["items"]]
    assert sorted(places) == [(layer, batch) for layer in range(4) for batch in range(10)]
    assert len(data["images"]) == 10


@pytest.mark.long
def test_training_runs_with_nothing_installed(tmp_path):
    code = (
        "import runpy, sys; before = list(sys.meta_path)\n"
        f"sys.path.insert(0, {str(EXAMPLES)!r}); sys.argv = ['vit_digits.py', 'train', '--quick']\n"
        f"runpy.run_path({str(EXAMPLES / 'vit_digits.py')!r}, run_name='__main__')\n"
        "from importlib.machinery import SourceFileLoader; import vit, astcapture\n"
        "new = [type(finder).__module__ for finder in sys.meta_path if finder not in before]\n"
        "assert not [name for name in new if name.startswith('astcapture')], new\n"
        "assert type(vit.__loader__) is SourceFileLoader, vit.__loader__\n"
        "assert len(astcapture.cache) == 0\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=child_environ(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["vit_digits.pt"]


def test_too_low_an_accuracy_is_a_failure(tmp_path):
    done = run("train", "--epochs", "1", cwd=tmp_path)
    assert done.returncode == 1
    assert "; this example should reach 95%" in done.stderr


def test_looking_before_training_says_what_to_do(tmp_path):
    done = run("look", cwd=tmp_path)
    assert done.returncode == 1
    assert "does not exist: run the train step first" in done.stderr


@pytest.mark.long
def test_what_is_captured_is_the_attention_of_the_trained_model(finished, vit):
    folder, _ = finished
    model = vit.VisionTransformer().eval()
    model.load_state_dict(torch.load(folder / "out" / "vit_digits.pt", weights_only=True))
    inputs: list[np.ndarray] = []
    for block in model.blocks:
        block.attn.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0].numpy().copy()))
    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model(images)

    captured = astcapture.cache["vit:Attention.forward"]
    assert len(captured) == len(inputs) == 4
    for layer, x in enumerate(inputs):
        attention = captured[layer].numpy()
        assert attention.shape == (3, 4, 17, 17)
        assert np.allclose(attention.sum(axis=-1), 1, atol=1e-5)
        assert np.allclose(attention, attention_by_hand(model.blocks[layer].attn, x), atol=1e-5)


def attention_by_hand(module, x: np.ndarray) -> np.ndarray:
    """softmax(q kᵀ / √d) of each head, from the module's weights, in NumPy."""
    projected = x @ module.qkv.weight.detach().numpy().T + module.qkv.bias.detach().numpy()
    dim, size = x.shape[-1], x.shape[-1] // 4
    maps = []
    for head in range(4):
        q = projected[..., head * size : (head + 1) * size]
        k = projected[..., dim + head * size : dim + (head + 1) * size]
        scores = np.exp(np.einsum("bqd,bkd->bqk", q, k) / np.sqrt(size))
        maps.append(scores / scores.sum(axis=-1, keepdims=True))
    return np.stack(maps, axis=1)
