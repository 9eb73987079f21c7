"""All layers and all heads of a model at a glance."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap

from astcapture.plot.arrays import FloatArray
from astcapture.plot.colour_bar import draw_colour_bar
from astcapture.plot.colours import Colours, choose_colours
from astcapture.plot.layer_sequence import Layer, Layers, layer_sequence, one_example, short_names
from astcapture.plot.meaning import DIFFERENCE, meaning_of
from astcapture.plot.outlier import one_hides_the_rest
from astcapture.plot.page import new_axes
from astcapture.plot.reduce import block_means, block_size

#: No picture of a whole model has more pixels for one head.
_MOST_CELLS = 128
_INCHES = 0.62
#: Of all maps together, in the longer direction.
_LEAST_INCHES = 2.4
_GAP = 0.12
#: Of the mean from the last head.
_APART = 0.24


def layers(
    attention: Layers,
    *,
    ax: Axes | None = None,
    batch: int | None = None,
    mean: bool = True,
    shared_scale: bool | None = None,
    colorbar: bool = True,
    title: str | None = None,
    label: str | None = None,
    cmap: str | Colormap | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
) -> Axes:
    """Draw a small map for each layer, downwards, and each head, to the right.

    The layers may have different numbers of heads and of tokens: each map fills its place, and a place
    without a head stays empty. Maps of more than 128 tokens are averaged over blocks of tokens, and the
    colour range is that of the averages.

    Args:
        attention: `Records` with one value for each layer (``cache["Attention.forward"]``, the maps of one
            execution of the model), a list of arrays or a dict of them by name, each (queries, keys),
            (heads, queries, keys) or (batch, heads, queries, keys); or one array of shape (layers, heads,
            queries, keys) or (layers, batch, heads, queries, keys).
        ax: where to draw; a new figure if left out.
        batch: the example, where there are several.
        mean: whether the mean over the heads of a layer follows its last head.
        shared_scale: True for one scale of colours for the whole model; False for a scale of each map's own, up to
            its greatest weight, without a colour bar. If left out, the scale is shared unless most maps
            would use less than a third of it. What was chosen is written on the picture.
        colorbar: whether a colour bar is drawn.
        title: the title; "difference" if left out, where the values are one.
        label: what the colour bar says that the colours mean. If left out: "weight"; where numbers are negative,
            "difference" if each row sums to zero, as the difference of two attention maps does, else "value".
        cmap, vmin, vmax: as for `head`.

    Raises:
        CaptureError: `Records` that are not one value for each layer, of one label, model and call.
        ValueError: another shape, or an example that does not exist or has to be picked.

    >>> ax = layers(np.full((3, 4, 9, 9), 1 / 9))
    >>> [label.get_text() for label in ax.get_xticklabels()], len(ax.get_yticks())
    (['0', '1', '2', '3', 'mean'], 3)
    """
    shown = one_example(layer_sequence(attention), batch)
    meaning = meaning_of(layer.maps for layer in shown)
    if title is None and meaning == DIFFERENCE:
        title = DIFFERENCE
    label = meaning if label is None else label
    model = [_thumbnails(layer) for layer in shown]
    heads = max(len(maps) for _, maps, _ in model)
    mean = mean and heads > 1
    if ax is None:
        side = max(_INCHES, _LEAST_INCHES / max(heads + mean, len(model)))
        ax = new_axes(max((heads + mean) * side + 2.2, 4.4), len(model) * side + 1.3)
    drawn = np.concatenate([maps.ravel() for _, maps, _ in model])
    if shared_scale is None:
        shared_scale = not one_hides_the_rest([one for _, maps, _ in model for one in maps], from_zero=True)
    shared = choose_colours(drawn, cmap=cmap, vmin=vmin, vmax=vmax, from_zero=True)
    for row, (_, maps, _) in enumerate(model):
        places = [float(number) for number in range(len(maps))]
        if mean:
            maps, places = np.concatenate([maps, maps.mean(axis=0, keepdims=True)]), [*places, heads + _APART]
        for weights, column in zip(maps, places, strict=True):
            own = shared if shared_scale else choose_colours(weights, cmap=cmap, vmin=vmin, vmax=vmax, from_zero=True)
            _draw_thumbnail(ax, weights, own, row, column)
    largest = max(block for _, _, block in model)
    what = f"mean {label} of {largest} × {largest}" if largest > 1 else label
    scale = "one scale for all maps" if shared_scale else "a scale for each map"
    _label(ax, [name for name, _, _ in model], heads, mean, f"colours: {what}, {scale}")
    if title is not None:
        ax.set_title(title)
    if shared_scale and colorbar:
        draw_colour_bar([ax], shared, drawn, label=what)
    return ax


def _thumbnails(layer: Layer) -> tuple[str, FloatArray, int]:
    """Return the layer's name, its maps, small enough, and the side of the blocks that were averaged."""
    block = block_size(layer.maps.shape, _MOST_CELLS)
    return layer.name, block_means(layer.maps, block), block


def _draw_thumbnail(ax: Axes, weights: FloatArray, colours: Colours, row: int, column: float) -> None:
    half = (1 - _GAP) / 2
    extent = (column - half, column + half, row + half, row - half)
    # Each in a space of its own; "antialiased" averages where cells are smaller than pixels.
    ax.imshow(weights, cmap=colours.cmap, norm=colours.norm, extent=extent, interpolation="antialiased")


def _label(ax: Axes, names: list[str], heads: int, mean: bool, scale: str) -> None:
    shown, pattern = short_names(names)
    places = [*map(float, range(heads)), *[heads + _APART] * mean]
    ax.set_xticks(places, labels=[*map(str, range(heads)), *["mean"] * mean])
    ax.set_yticks(range(len(names)), labels=shown)
    ax.set(xlim=(-0.6, places[-1] + 0.6), ylim=(len(names) - 0.4, -0.6), aspect="equal")
    ax.set(xlabel=f"head\n{scale}", ylabel=f"layer ({pattern})" if pattern else "layer")
    ax.tick_params(length=0)
    ax.set_frame_on(False)
