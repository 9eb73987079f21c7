"""Draw which word attends to which while `minilm_words.py` runs.

    python examples/minilm_draw.py "The cat that chased the mice was tired."
    python examples/minilm_draw.py "The cat that chased the mice was tired." --overview --word tired

`minilm_words.py` does not mention astcapture and keeps no attention. This script switches capturing on, calls its
`read`, and draws the captured maps into `out/`. For each sentence:

- one panel for each layer, the mean over its heads. `[CLS]` and `[SEP]`, which have most of the weight, are left out;
- with `--overview`, all heads of all layers;
- with `--word cat`, the sentence shaded by what this word attends to, in each layer;
- with `--view`, a page to look around in, for a browser.

The environment switches capturing on too, without any Python:

    ASTCAPTURE=@hf-attention-eager python examples/minilm_words.py "The cat was tired."
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

import astcapture
from astcapture import plot

sys.path.insert(0, str(Path(__file__).parent))

LAYERS_IN_A_ROW = 3
MARKS = ("[CLS]", "[SEP]")


def draw_layer(ax: Axes, weights: Tensor, words: list[str], title: str) -> None:
    """Draw one map, (words, words): each row attends to the columns. Yellow is the highest weight of the map."""
    ax.imshow(weights, cmap="viridis", vmin=0)
    ax.set_xticks(range(len(words)), words, rotation=90)
    ax.set_yticks(range(len(words)), words)
    ax.tick_params(length=0, labelsize=9)
    ax.set_title(title, fontsize=11)


def draw(maps: list[Tensor], words: list[str], sentence: str) -> Figure:
    """Draw the maps of all layers for one sentence, each (1, heads, tokens, tokens), without [CLS] and [SEP]."""
    words = words[1:-1]
    rows = -(-len(maps) // LAYERS_IN_A_ROW)
    side = max(2.6, 1.3 + 0.26 * len(words))  # inches: the labels, and a cell for each word
    figure, axes = plt.subplots(
        rows, LAYERS_IN_A_ROW, figsize=(side * LAYERS_IN_A_ROW, side * rows + 0.5), layout="constrained", squeeze=False
    )
    for layer, ax in enumerate(axes.flat):
        ax.axis("off")
        if layer < len(maps):
            ax.axis("on")
            weights = maps[layer][0].mean(0)[1:-1, 1:-1]
            draw_layer(ax, weights, words, f"layer {layer} ({weights.sum(1).mean():.0%} between words)")
    figure.suptitle(f"{sentence}\nrows attend to columns, mean over heads", fontsize=12, wrap=True)
    return figure


def draw_word(maps: list[Tensor], words: list[str], word: str) -> Figure:
    """Draw the sentence once per layer, shaded by what the first `word` in it attends to."""
    query = words.index(word)
    drawn = " ".join(token for token in words if token not in MARKS)
    width = max(4.5, 0.4 + 0.12 * len(drawn))  # inches: the sentence is on one line
    figure, axes = plt.subplots(len(maps), 1, figsize=(width, 0.62 * len(maps) + 0.5), layout="constrained")
    figure.suptitle(f"what {word!r} attends to (dark: high weight)")
    for layer, (ax, weights) in enumerate(zip(axes, maps, strict=True)):
        plot.tokens(weights, words, query=query, without=MARKS, ax=ax, colorbar=False, title=f"layer {layer}")
    return figure


def save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=110)
    plt.close(figure)
    print(f"wrote {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw which word attends to which in all-MiniLM-L6-v2.")
    parser.add_argument("sentences", nargs="+", metavar="SENTENCE")
    parser.add_argument("--overview", action="store_true", help="also draw all heads of all layers")
    parser.add_argument("--word", help="also draw what this word attends to, in each sentence that contains it")
    parser.add_argument("--view", action="store_true", help="also write an HTML file with all heads of all layers")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for pictures (default: out)")
    options = parser.parse_args()
    astcapture.install("@hf-attention-eager")  # before transformers is imported
    from minilm_words import read

    words, _ = read(options.sentences)
    captured = astcapture.cache["eager_attention_forward"]
    maps = list(captured)  # the layers of the first sentence, of the second, …
    layers = len(maps) // len(words)
    options.out.mkdir(parents=True, exist_ok=True)
    for index, (sentence, split) in enumerate(zip(options.sentences, words, strict=True)):
        of_sentence = maps[index * layers : (index + 1) * layers]
        save(draw(of_sentence, split, sentence), options.out / f"minilm_words_{index}.png")
        if options.overview:
            overview = plot.layers(of_sentence, title=sentence).figure
            save(overview, options.out / f"minilm_layers_{index}.png")
        if options.word in split:
            save(draw_word(of_sentence, split, options.word), options.out / f"minilm_word_{index}.png")
        if options.view:
            view = captured.select(call=index).view(tokens=split, title="MiniLM")
            print(f"wrote {view.save(options.out / f'minilm_{index}.html')}")


if __name__ == "__main__":
    main()
