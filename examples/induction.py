"""Train a small transformer, find its induction head, switch it off, and put it back.

    python examples/induction.py

The model in `induction_model.py` learns to continue a repeated sequence in 15 seconds. This script then asks how it
does it, and checks each answer by changing the value in question:

1. Which head attends to the word before, and which to the words behind earlier copies? Capture `attn`.
2. Is the head needed? Set what it read, `z`, to zero, and compare the loss.
3. Where does the answer come from? Run a row in which one word was replaced, so that the model no longer knows the
   answer. Then put `z` of the intact row back, at one layer and position at a time: where the answer comes back, there
   it passes through (activation patching).

It draws the two maps and the result of step 3 into `out/`.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import induction_model
import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

import astcapture
from astcapture import plot
from astcapture.edits import patch, zero

ATTENTION = "induction_model:Attention.forward"
PERIOD = 20  # words until a row repeats
REQUIRED_ACCURACY = 0.99


def captured(model: induction_model.Model, words: Tensor, name: str) -> astcapture.Records:
    """Run the model and return a local variable of `Attention.forward`, one value per layer."""
    with astcapture.install({ATTENTION: name}), astcapture.recording() as values, torch.no_grad():
        model(words)
    return values[ATTENTION]


def to_the_word_before(attn: Tensor) -> Tensor:
    """The mean weight from each place to the one before, (..., heads), in the first period of (..., queries, keys)."""
    return attn.diagonal(-1, dim1=-2, dim2=-1)[..., :PERIOD].mean(-1)


def behind_earlier_copies(words: Tensor) -> Tensor:
    """Mark the keys whose word before is the word of the query, (batch, queries, keys)."""
    same = words[:, :, None] == words[:, None, :]
    behind = torch.zeros_like(same)
    behind[:, :, 1:] = same[:, :, :-1]
    return behind.tril()


def to_words_behind_earlier_copies(attn: Tensor, words: Tensor) -> Tensor:
    """The mean weight of a query on keys behind earlier copies of its word, from the second period on."""
    marked = behind_earlier_copies(words)[:, None]
    return (attn * marked).sum(-1)[..., PERIOD:].mean(-1)


def loss_without(model: induction_model.Model, words: Tensor, layer: int, head: int) -> float:
    """The loss with one head switched off: zero in place of what it read."""
    with astcapture.edit(f"{ATTENTION}=z", zero(heads=[head]), layer=f"blocks.{layer}.attn"):
        return induction_model.loss_and_accuracy(model, words, PERIOD)[0]


def put_back(model: induction_model.Model, words: Tensor, place: int) -> Tensor:
    """Replace the word at `place`, and put `z` of the intact rows back at one layer and position at a time.

    Returns:
        The share of the answer's log-probability that comes back: (layers, positions), 0 for none and 1 for all.
    """
    words = words[:, : 2 * PERIOD]
    asked = PERIOD + place  # the word at `place` comes again here, and the one after it is the answer
    foreign = torch.ones(len(words), induction_model.WORDS).scatter(1, words, 0).argmax(1)  # not in the row
    replaced = words.clone()
    replaced[:, place] = foreign

    @torch.no_grad()
    def log_probability(words_: Tensor) -> float:
        answers = words[:, [asked + 1]]
        return model(words_)[:, asked].log_softmax(-1).gather(1, answers).mean().item()

    best, worst = log_probability(words), log_probability(replaced)
    intact = captured(model, words, "z")
    back = torch.zeros(len(intact), 2 * PERIOD)
    with astcapture.edit(f"{ATTENTION}=z", lambda z: z):  # keeps the function rewritten: the next edits install faster
        for layer in range(len(intact)):
            for position in range(place, 2 * PERIOD):  # before `place`, nothing differs
                with astcapture.edit(f"{ATTENTION}=z", patch(intact, tokens=position), layer=f"blocks.{layer}.attn"):
                    back[layer, position] = (log_probability(replaced) - worst) / (best - worst)
    return back


def draw_heads(attn: Tensor, heads: list[int]) -> Figure:
    """Draw one head of each layer, for the first row of the batch."""
    figure, axes = plt.subplots(1, len(heads), figsize=(5.2 * len(heads), 4.6), layout="constrained")
    shown = 2 * PERIOD + 4
    for layer, (ax, head) in enumerate(zip(axes, heads, strict=True)):
        weights = attn[layer, :1, :, :shown, :shown]
        plot.head(weights, head=head, ax=ax, title=f"block {layer}, head {head}")
    return figure


def draw_put_back(back: Tensor, place: int) -> Figure:
    """Draw layer × position, with the number of each position that brings more than half of the answer back."""
    figure, ax = plt.subplots(figsize=(10, 2.3), layout="constrained")
    drawn = ax.imshow(back, cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
    for layer, position in (back > 0.5).nonzero().tolist():
        ax.text(position + 0.8, layer, str(position), va="center")
    ax.set_yticks(range(len(back)), [f"block {layer}" for layer in range(len(back))])
    ax.set_xlabel("position at which z of the intact row is put back")
    ax.set_title(f"word {place} was replaced, and the answer is read at {PERIOD + place}", fontsize=11)
    figure.colorbar(drawn, ax=ax, label="share of the\nanswer back", pad=0.01)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description="Find an induction head, switch it off, and put it back.")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the pictures (default: out)")
    parser.add_argument("--seed", type=int, default=0, help="of the training (default: 0)")
    parser.add_argument("--heads", type=int, default=1, help="in each block (default: 1)")
    parser.add_argument("--quick", action="store_true", help="train 5 steps only")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # more do not help so small a model

    start = time.perf_counter()
    model = induction_model.train(options.seed, options.heads, steps=5 if options.quick else 800)
    words = induction_model.rows(256, PERIOD)
    loss, accuracy = induction_model.loss_and_accuracy(model, words, PERIOD)
    print(f"trained in {time.perf_counter() - start:.0f} s: {accuracy:.1%} right, loss {loss:.3f}")

    attn = captured(model, words, "attn").stack()  # (layers, batch, heads, queries, keys)
    before = to_the_word_before(attn).mean(1)  # (layers, heads)
    behind = to_words_behind_earlier_copies(attn, words).mean(1)
    print("\nlayer  head  to the word before  to words behind earlier copies  loss without it")
    for layer, head in torch.cartesian_prod(*map(torch.arange, before.shape)).tolist():
        without = loss_without(model, words, layer, head)
        share = f"{before[layer, head]:>18.0%}  {behind[layer, head]:>30.0%}"
        print(f"{layer:>5}  {head:>4}  {share}  {without:>15.3f}")
    save(draw_heads(attn, [int(before[0].argmax()), int(behind[1].argmax())]), options.out / "induction_heads.png")

    place = 7
    back = put_back(model, words[:64], place)
    print(f"\nword {place} replaced, and z of the intact row put back: the answer at {PERIOD + place} comes back by")
    for flat in back.flatten().argsort(descending=True)[:4].tolist():
        layer, position = divmod(flat, back.shape[1])
        print(f"{back[layer, position]:>6.1%} from layer {layer}, position {position}")
    save(draw_put_back(back, place), options.out / "induction_put_back.png")

    if accuracy < REQUIRED_ACCURACY and not options.quick:
        sys.exit(f"the accuracy is {accuracy:.1%}; this example should reach {REQUIRED_ACCURACY:.0%}")


def save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=100)
    plt.close(figure)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
