"""The attention of a vision transformer, step by step: one head, all heads, one patch, CLS, all layers, rollout.

    python examples/vit_steps.py

Each step is a cell (`# %%`) of a few lines: read it like a notebook, or run it as a script. The model is the one in
`vit.py`, whose attention is marked with `@capture("attn")`. It is first trained on scikit-learn's digits (half a
minute, without capturing), unless `vit_digits.py` has already written its weights to `out/`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import torch

import astcapture
from astcapture import plot

parser = argparse.ArgumentParser(description="Look at the attention of a vision transformer, step by step.")
parser.add_argument("--out", type=Path, default=Path("out"), help="folder for weights and pictures (default: out)")
parser.add_argument("--quick", action="store_true", help="train two epochs only")
options = parser.parse_args()
options.out.mkdir(parents=True, exist_ok=True)


def keep(drawn: plt.Axes | plt.Figure, name: str) -> None:
    """Save a picture."""
    path = options.out / f"vit_{name}.png"
    figure = drawn.figure if isinstance(drawn, plt.Axes) else drawn
    figure.savefig(path, dpi=90)
    plt.close(figure)
    print(f"wrote {path}")


# %% Switch capturing on, then import the model
astcapture.install(["vit"])
from vit import VisionTransformer  # noqa: E402
from vit_digits import digits, train  # noqa: E402

# %% A trained model
weights = options.out / "vit_digits.pt"
if not weights.exists():
    with astcapture.pause():
        print(f"accuracy: {train(weights, epochs=2 if options.quick else 30):.1%} on held-out digits")
model = VisionTransformer()
model.load_state_dict(torch.load(weights, weights_only=True))
model.eval()

# %% One image, one forward: the attention of all layers is in the cache
_, images, _, labels = digits()
image = images[labels == 3][:1]  # (1, 1, 8, 8): 16 patches of 2 × 2 pixels, and CLS
with torch.no_grad():
    print("predicted:", int(model(image).argmax()))
maps = astcapture.cache["Attention.forward"]
print(maps, [record.layer for record in maps.records])

# %% One head of one layer
keep(plot.head(maps[1], head=0, title="layer 1, head 0"), "step_1_head")

# %% All heads of one layer, and their mean
keep(plot.heads(maps[1], title="layer 1"), "step_2_heads")

# %% What one patch attends to, with its outline in the image; CLS has its own cell
keep(plot.patch_to_patch(maps[1], image, patch=(1, 2), title="layer 1"), "step_3_patch")

# %% What the CLS token attends to: in one picture, and head by head
keep(plot.patch_to_patch(maps[3], image, patch="cls", title="layer 3"), "step_4_cls")
keep(plot.cls_attention(maps[3], image, title="layer 3: what CLS attends to"), "step_5_cls_heads")

# %% All layers and all heads at a glance
keep(plot.layers(maps, title="a digit 3"), "step_6_layers")

# %% From the class token back to the image, through all layers
figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
for ax, fusion in zip(axes, ("mean", "max", "min"), strict=True):
    plot.rollout(maps, image, fusion=fusion, ax=ax, title=f"rollout, {fusion} of heads")
keep(figure, "step_7_rollout")

# %% How far and how widely each head looks, over a hundred digits
with astcapture.recording() as rec, torch.no_grad():
    model(images[:100])
figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
plot.distance(rec["Attention.forward"], patch_size=2, ax=axes[0], title="how far the heads look")
plot.entropy(rec["Attention.forward"], ax=axes[1], title="how widely the heads look")
keep(figure, "step_8_heads")

# %% An animation over the layers
film = options.out / "vit_step_9_layers.gif"
plot.animate(maps, film, image=image, patch="cls", title="what CLS attends to", dpi=80)
print(f"wrote {film}")
