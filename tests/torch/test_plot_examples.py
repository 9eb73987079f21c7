"""The examples that draw, run as a new user runs them, barely trained; and that what they draw is the model's own."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch
from PIL import Image

import astcapture

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
PICTURES = {
    "resnet_photo.py": ["resnet_attention_map.png", "resnet_overlay.png", "resnet_photo.png"],
    "vit_steps.py": [
        "vit_step_1_head.png",
        "vit_step_2_heads.png",
        "vit_step_3_patch.png",
        "vit_step_4_cls.png",
        "vit_step_5_cls_heads.png",
        "vit_step_6_layers.png",
        "vit_step_7_rollout.png",
        "vit_step_8_heads.png",
    ],
}


@pytest.mark.parametrize("script", PICTURES)
def test_it_draws_its_pictures(script, tmp_path):
    environ = {name: text for name, text in os.environ.items() if not name.startswith("ASTCAPTURE")}
    environ |= {"PYTHONPATH": str(EXAMPLES.parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(EXAMPLES / script), "--quick"]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == PICTURES[script]
    for name in PICTURES[script]:
        assert f"wrote {Path('out', name)}" in done.stdout
        pixels = matplotlib.image.imread(tmp_path / "out" / name)[..., :3]
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 200
    if script == "vit_steps.py":
        with Image.open(tmp_path / "out" / "vit_step_9_layers.gif") as film:
            assert film.n_frames == 4


def test_the_feature_map_its_attention_and_its_gradient_are_those_of_the_network(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    with astcapture.install(["resnet"], grad=True), astcapture.recording() as rec:
        resnet = importlib.import_module("resnet")
        torch.manual_seed(0)
        model = resnet.ResNet(classes=5).eval()
        image = torch.rand(2, 3, 24, 32)
        model(image)[:, 3].sum().backward()
    monkeypatch.delitem(sys.modules, "resnet")

    seen: list[torch.Tensor] = []
    excite = model.stages[2]
    excite.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    score = model(image)[:, 3].sum()
    (slope,) = torch.autograd.grad(score, seen[0])
    captured = rec["Excite.forward"]
    assert torch.equal(captured["features"][0], seen[0])
    assert torch.allclose(captured["features"].records[0].grad, slope)
    gates = torch.sigmoid(excite.gates(seen[0].mean(dim=(2, 3))))
    assert torch.allclose(captured["attention"][0], gates[:, :, None, None])

    by_hand = torch.relu(sum(slope[1, k].mean() * seen[0][1, k] for k in range(64)))
    for values in (captured["features"], captured["features"].records[0]):
        ax = astcapture.plot.grad_cam(values, batch=1)
        assert np.allclose(ax.images[0].get_array(), by_hand.detach(), rtol=1e-4, atol=1e-7)
