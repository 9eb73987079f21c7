"""What kind of head each head is: how far it looks, and how widely."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes

from astcapture.plot import formulas
from astcapture.plot.arrays import FloatArray
from astcapture.plot.attention_maps import square
from astcapture.plot.layer_sequence import Layers
from astcapture.plot.measured import measure
from astcapture.plot.patches import Grid, layout
from astcapture.plot.statistic_chart import Style, draw_statistic


def distance(
    attention: Layers,
    *,
    patch_size: float | tuple[float, float] | None = None,
    grid: Grid | None = None,
    cls: bool | int | None = None,
    batch: int | None = None,
    style: Style = "dots",
    ax: Axes | None = None,
    colorbar: bool = True,
    title: str | None = None,
    label: str | None = None,
    **options: Any,
) -> Axes:
    """Draw how far each head of each layer looks in the image: the mean distance, weighted by the attention.

    As in figures 7 and 11 of Dosovitskiy et al. (2021); the formula is in `formulas.mean_distance`. CLS and
    register tokens, which have no place in the image, are left out, both as queries and as keys.

    Args:
        attention: `Records`, a list, a dict or an array of layers, as for `layers`; they may have different
            numbers of heads and of tokens. `Records` of many calls, each of all layers, are averaged over the calls.
        patch_size: the side of a patch in pixels, or its height and width; the distance is in patches if left out.
        grid, cls: which tokens are patches, as for `patch_to_patch`; with a grid, for every layer.
        batch: the example; the mean over all examples if left out.
        style: "dots" for a dot per head over the layers, with a bar of one standard deviation over the calls where
            there are several; "cells" for a layer × head map; "calls" for a line per layer over the calls, the mean
            of its heads, between its lowest and its highest head.
        ax: where to draw; a new figure if left out.
        colorbar: whether cells have a colour bar.
        title: the title; how many calls these are if left out and there are several.
        label: what the numbers are called.
        options: vmin, vmax, and cmap for cells.

    Raises:
        CaptureError: `Records` that are not one value for each layer and call.
        ValueError: another shape, negative weights, tokens that do not fill the grid, an example that does not
            exist.

    >>> import numpy as np
    >>> ax = distance([np.full((4, 17, 17), 1 / 17)] * 3, patch_size=16)
    >>> ax.get_ylabel()
    'mean attention distance (pixels)'
    """

    def formula(maps: FloatArray) -> FloatArray:
        placed = layout(square(maps).shape[-1], grid, cls)
        patches = maps[..., placed.prefix :, placed.prefix :]
        return formulas.mean_distance(patches, formulas.patch_centres(placed.grid, patch_size or 1.0))

    unit = "patches" if patch_size is None else "pixels"
    label = f"mean attention distance ({unit})" if label is None else label
    measured = measure(attention, formula, batch)
    return draw_statistic(ax, measured, meaning=label, style=style, colorbar=colorbar, title=title, **options)


def entropy(
    attention: Layers,
    *,
    batch: int | None = None,
    style: Style = "cells",
    ax: Axes | None = None,
    colorbar: bool = True,
    title: str | None = None,
    label: str | None = None,
    **options: Any,
) -> Axes:
    """Draw how widely each head of each layer spreads its attention: the mean entropy of its rows, in nats.

    0 is all weight on one token, the logarithm of the number of keys all tokens alike; the formula is told at
    `formulas.entropy`.

    Args:
        attention: `Records`, a list, a dict or an array of layers, as for `layers`; they may have different
            numbers of heads and of tokens. `Records` of many calls, each of all layers, are averaged over the calls.
        batch: the example; the mean over all examples if left out.
        style: "cells" for a layer × head map, "dots" for a dot per head over the layers, with a bar of one standard
            deviation over the calls where there are several; "calls" for a line per layer over the calls, the mean of
            its heads, between its lowest and its highest head.
        ax: where to draw; a new figure if left out.
        colorbar: whether cells have a colour bar.
        title: the title; how many calls these are if left out and there are several.
        label: what the numbers are called.
        options: vmin, vmax, and cmap for cells.

    Raises:
        CaptureError: `Records` that are not one value for each layer and call.
        ValueError: another shape, negative weights, or an example that does not exist.

    >>> import numpy as np
    >>> ax = entropy(np.full((3, 4, 9, 9), 1 / 9))
    >>> ax.images[0].get_array().round(3).tolist()
    [[2.197, 2.197, 2.197, 2.197]]
    """
    label = "mean entropy (nats)" if label is None else label
    measured = measure(attention, formulas.entropy, batch)
    return draw_statistic(ax, measured, meaning=label, style=style, colorbar=colorbar, title=title, **options)
