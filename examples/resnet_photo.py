"""Find digits in a photograph with a small ResNet, and see where it looked: attention map, overlay and Grad-CAM.

    python examples/resnet_photo.py

A residual network is trained, in less than a minute, to name the handwritten digit that was pasted into a crop of a
photograph of a temple or a flower. Then it gets a new photograph with new digits in it, and the values of its last
block are captured from the local variables of `Excite.forward` in `resnet.py`:

- the attention map: the feature map times the channel attention, averaged over channels, clipped at zero and divided
  by its maximum; it shows every place that the network attends to;
- Grad-CAM, from the feature map and its gradient; it shows the evidence for one digit.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.cbook import get_sample_data
from matplotlib.figure import Figure
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate
from tqdm import tqdm

import astcapture
from astcapture import plot

NOTHING = 10  # the class of crops without a digit
SIDE, BATCH = 40, 64
HELD_OUT = 400  # digits that are not used for training
REQUIRED_ACCURACY = 0.75
#: The digits in the photograph, each with the top and left pixel and the side of its square.
PLACES = {3: (18, 12, 30), 8: (150, 95, 30), 6: (20, 128, 28)}
#: The share of Grad-CAM that must lie in the square of its digit; by chance it is the square's area, 3 %.
REQUIRED_SHARE = 0.15


def digits() -> tuple[Tensor, Tensor]:
    """Return scikit-learn's 1797 scans, (n, 8, 8) from 0 to 1, and labels."""
    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images, dtype=torch.float32).reshape(-1, 8, 8) / 16, torch.tensor(labels)


def put(image: Tensor, digit: Tensor, top: int, left: int, side: int) -> None:
    """Paste a white digit into an image, (3, height, width)."""
    strokes = interpolate(digit[None, None], size=(side, side), mode="bilinear")[0]
    place = image[:, top : top + side, left : left + side]
    place += strokes * (1 - place)


def pieces(photographs: list[Tensor], scans: Tensor, labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return crops of photographs, (count, 3, SIDE, SIDE), most with a digit in them, and their classes."""
    images, classes = [], []
    for _ in range(count):
        photograph = photographs[int(torch.randint(len(photographs), ()))]
        top, left = (int(torch.randint(size - SIDE, ())) for size in photograph.shape[1:])
        image = photograph[:, top : top + SIDE, left : left + SIDE].clone()
        number, side = int(torch.randint(len(scans), ())), int(torch.randint(22, 34, ()))
        has_digit = bool(torch.rand(()) < 0.85)
        if has_digit:
            put(image, scans[number], int(torch.randint(SIDE - side, ())), int(torch.randint(SIDE - side, ())), side)
        images.append(image)
        classes.append(int(labels[number]) if has_digit else NOTHING)
    return torch.stack(images), torch.tensor(classes)


def train(model: torch.nn.Module, steps: int) -> float:
    """Train, and return the accuracy on held-out digits."""
    photographs = [torch.tensor(one).permute(2, 0, 1) / 255 for one in load_sample_images().images]
    scans, labels = digits()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=steps)
    for _ in tqdm(range(steps), desc="training", unit="step"):
        images, classes = pieces(photographs, scans[:-HELD_OUT], labels[:-HELD_OUT], BATCH)
        loss = cross_entropy(model(images), classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()
    with torch.no_grad():
        images, classes = pieces(photographs, scans[-HELD_OUT:], labels[-HELD_OUT:], 500)
        return (model(images).argmax(dim=1) == classes).float().mean().item()


def photograph() -> Tensor:
    """Return matplotlib's photograph of Grace Hopper, (3, 200, 171), with held-out digits pasted in."""
    with Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)) as image:
        small = np.asarray(image.convert("RGB").resize((171, 200)))
    pixels = torch.tensor(small).permute(2, 0, 1) / 255
    scans, labels = digits()
    for digit, (top, left, side) in PLACES.items():
        place = pixels[:, top : top + side, left : left + side]
        place *= 0.35  # darker, so that the white digit is visible
        put(pixels, scans[-HELD_OUT:][labels[-HELD_OUT:] == digit][0], top, left, side)
    return pixels


def look(model: torch.nn.Module, image: Tensor, out: Path) -> dict[int, float]:
    """Draw where the network looked; return for each digit the share of its Grad-CAM that lies on it."""
    block = "Excite.forward"
    with astcapture.recording() as rec:
        scores = model(image[None])
        scores[0, next(iter(PLACES))].backward()
    features, attention = rec[block]["features"], rec[block]["attention"]
    ax = plot.attention_map(features, attention, title="attention map of the last block")
    save(ax.figure, out / "resnet_attention_map.png")
    ax = plot.attention_map(features, attention, image, title="attention map over the photograph")
    save(ax.figure, out / "resnet_overlay.png")

    figure, axes = plt.subplots(2, 2, figsize=(9, 9.4), layout="constrained")
    axes[0, 0].imshow(image.permute(1, 2, 0))
    axes[0, 0].set_axis_off()
    axes[0, 0].set_title("the photograph")
    plot.attention_map(features, attention, image, ax=axes[0, 1], title="what it attends to")
    shares = {}
    for ax, digit in zip(axes[1], PLACES, strict=False):
        with astcapture.recording() as rec:
            model(image[None])[0, digit].backward()
        plot.grad_cam(rec[block]["features"], image=image, ax=ax, title=f'Grad-CAM of "{digit}"')
        shares[digit] = share_on(rec[block]["features"], digit, image)
    save(figure, out / "resnet_photo.png")
    return shares


def share_on(features: astcapture.Records, digit: int, image: Tensor) -> float:
    """The share of Grad-CAM that lies in the square of its digit."""
    cam = plot.formulas.grad_cam(features, features.records[0].grad)[0]
    top, left, side = PLACES[digit]
    inside = np.zeros(image.shape[1:])
    inside[top : top + side, left : left + side] = 1
    enlarged = interpolate(torch.tensor(cam)[None, None], size=image.shape[1:], mode="bilinear")[0, 0].numpy()
    return float((enlarged * inside).sum() / enlarged.sum()) if enlarged.any() else 0.0


def save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=80)
    plt.close(figure)
    print(f"wrote {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Find digits in a photograph, and see where the network looked.")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for pictures (default: out)")
    parser.add_argument("--steps", type=int, default=450, help="training steps (default: 450)")
    parser.add_argument("--quick", action="store_true", help="train five steps only, without checking the accuracy")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    torch.set_num_threads(1)  # more threads hardly help so small a model, and slow it down on a busy machine
    astcapture.install(["resnet"], grad=True)  # before the import
    from resnet import ResNet

    model = ResNet(classes=11)
    with astcapture.pause():  # nothing is captured during training
        accuracy = train(model, 5 if options.quick else options.steps)
    quick = " (quick: barely trained)" if options.quick else ""
    print(f"accuracy: {accuracy:.1%} on crops with held-out digits{quick}")
    shares = look(model, photograph(), options.out)
    print(
        "share of Grad-CAM on its digit: " + ", ".join(f'{share:.0%} for "{digit}"' for digit, share in shares.items())
    )
    if not options.quick and (accuracy < REQUIRED_ACCURACY or min(shares.values()) < REQUIRED_SHARE):
        sys.exit(
            f"this example should reach an accuracy of {REQUIRED_ACCURACY:.0%} and a share of {REQUIRED_SHARE:.0%}"
        )


if __name__ == "__main__":
    main()
