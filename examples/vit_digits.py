"""Train a small vision transformer on handwritten digits, then look at its attention.

    python examples/vit_digits.py

Training runs without capturing: the marker in `vit.py` has no effect, and no attention weights are kept. Afterwards, in
a new process, `astcapture.install` is called before `vit` is imported, and the attention of every layer is captured
while the trained model classifies held-out images.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.nn.functional import cross_entropy
from tqdm import tqdm

import astcapture
from astcapture import plot

REQUIRED_ACCURACY = 0.95
BATCH = 64
DIGIT = 3  # the digit that is drawn
PATCH = (1, 2)  # row and column of the patch whose attention is drawn, from 0


def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return scikit-learn's 1797 scans, (n, 1, 8, 8) from 0 to 1, and labels: for training, and held out."""
    images, labels = load_digits(return_X_y=True)
    split = train_test_split(images, labels, test_size=0.25, stratify=labels, random_state=0)
    train_images, test_images = (
        torch.tensor(part, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16 for part in split[:2]
    )
    return train_images, test_images, torch.tensor(split[2]), torch.tensor(split[3])


def train(weights: Path, epochs: int) -> float:
    """Train, save the weights, and return the accuracy on the held-out digits."""
    from vit import VisionTransformer  # capturing is off: the module is unmodified

    torch.manual_seed(0)
    torch.set_num_threads(1)  # more threads hardly help so small a model, and slow it down on a busy machine
    images, test_images, labels, test_labels = digits()
    model = VisionTransformer()
    steps = epochs * -(-len(images) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-3, total_steps=steps)
    with tqdm(total=steps, desc="training", unit="step") as progress:
        for _ in range(epochs):
            for batch in torch.randperm(len(images)).split(BATCH):
                loss = cross_entropy(model(images[batch]), labels[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                progress.update()
            progress.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    torch.save(model.state_dict(), weights)
    model.eval()
    with torch.no_grad():
        return (model(test_images).argmax(dim=1) == test_labels).float().mean().item()


def look(weights: Path, out: Path) -> None:
    """Capture the attention of every layer on held-out digits, and draw it."""
    astcapture.install(["vit"])  # before the import
    from vit import VisionTransformer

    model = VisionTransformer()
    model.load_state_dict(torch.load(weights, weights_only=True))
    model.eval()
    _, images, _, labels = digits()
    shown = [int((labels == digit).nonzero()[0]) for digit in range(10)]  # one of each
    images = images[shown]
    with torch.no_grad():
        predicted = model(images).argmax(dim=1).tolist()

    layers = astcapture.cache["Attention.forward"]  # one (batch, heads, tokens, tokens) tensor per layer
    for number, attention in enumerate(layers):
        figure = plot.heads(attention, batch=DIGIT, title=f"A digit {DIGIT}, layer {number}")
        save(figure, out / f"heads_layer_{number}.png")
        figure = plot.patch_to_patch(
            attention, images[DIGIT], PATCH, batch=DIGIT, title=f"A digit {DIGIT}, layer {number}"
        )
        save(figure, out / f"patch_to_patch_layer_{number}.png")
    last = len(layers) - 1
    ax = plot.head(layers[last], batch=DIGIT, head=0, title=f"A digit {DIGIT}, layer {last}, head 0")
    save(ax.figure, out / "head.png")
    save(overview(layers[1], images[DIGIT]), out / "vit_digits.png")
    page = layers.view(images=images, title="A ViT reads digits").save(out / "vit_digits.html")
    print(f"captured: the attention of {len(layers)} layers on {len(images)} held-out digits, predicted as {predicted}")
    print(f"pictures: {out}{os.sep}*.png")
    print(f"all heads, to look around in with a browser: {page}")
    print(astcapture.cache.summary())


def overview(attention: Tensor, image: Tensor) -> Figure:
    """Draw the heads of one layer, and the attention of one patch over the image, in one figure."""
    figure = plt.figure(figsize=(13, 3.7), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.5))
    plot.heads(attention, figure=left, batch=DIGIT)
    plot.patch_to_patch(attention, image, PATCH, batch=DIGIT, ax=right.subplots(1, 2, width_ratios=(1, 1.3)))
    return figure


def save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a vision transformer on digits, then look at its attention.")
    parser.add_argument("step", nargs="?", choices=("train", "look"), help="run only this step (default: both)")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for weights and pictures (default: out)")
    parser.add_argument("--epochs", type=int, default=30, help="passes over the training images (default: 30)")
    parser.add_argument("--quick", action="store_true", help="train two epochs only, without checking the accuracy")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    weights = options.out / "vit_digits.pt"
    if options.step == "look":
        if not weights.exists():
            sys.exit(f"{weights} does not exist: run the train step first, with the same --out")
        look(weights, options.out)
        return
    accuracy = train(weights, 2 if options.quick else options.epochs)
    print(f"accuracy: {accuracy:.1%} on held-out digits" + (" (quick: barely trained)" if options.quick else ""))
    if options.step is None:
        # A module is rewritten when it is imported, and `vit` was already imported for training: look in a new process.
        subprocess.run([sys.executable, __file__, "look", "--out", options.out], check=True)
    if accuracy < REQUIRED_ACCURACY and not options.quick:
        sys.exit(f"the accuracy is {accuracy:.1%}; this example should reach {REQUIRED_ACCURACY:.0%}")


if __name__ == "__main__":
    main()
