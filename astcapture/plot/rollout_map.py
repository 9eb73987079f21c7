"""Attention rolled out through all layers of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from matplotlib.axes import Axes

from astcapture.plot import formulas
from astcapture.plot.head_map import head
from astcapture.plot.image_overlay import overlay
from astcapture.plot.layer_sequence import Layers, layer_sequence, one_example
from astcapture.plot.outlier import top_without_outliers
from astcapture.plot.patches import Grid, layout, patch_position, split_patches


def rollout(
    attention: Layers,
    image: Any = None,
    *,
    patch: int | tuple[int, int] | Literal["cls"] | None = None,
    fusion: formulas.Fusion = "mean",
    discard: float = 0.0,
    residual: float = 0.5,
    grid: Grid | None = None,
    cls: bool | int | None = None,
    batch: int | None = None,
    tokens: Sequence[str] | None = None,
    ax: Axes | None = None,
    colorbar: bool = True,
    title: str | None = None,
    label: str = "share",
    **options: Any,
) -> Axes:
    """Draw attention rollout: which input tokens each output token is made of, residual connections counted in.

    With an image: what the CLS token is made of, or a patch, over the image. If a few patches would hide the others,
    the colours end below them, and the colour bar has a pointed end. Else: all tokens by all tokens.
    The numbers are those of `formulas.rollout`, where the formula is.

    Args:
        attention: the attention of all layers, from the first to the last, of the same tokens: `Records`, a list,
            a dict or an array as for `layers`.
        image: what to draw one token's share over: a tensor, an array or a PIL image.
        patch: with an image, the token: a patch's index or (row, column), or "cls". Left out it is "cls", and
            without a CLS token the mean over all patches.
        fusion: how the heads of a layer become one map: "mean", "max" or "min".
        discard: the share of weights in each layer that is set to zero, the smallest first.
        residual: the share of the residual connection.
        grid, cls: which tokens are patches, as for `patch_to_patch`.
        batch: the example, where there are several.
        tokens: labels for the tokens, without an image.
        ax: where to draw; a new figure if left out.
        colorbar: whether a colour bar is drawn.
        title: the title; through how many layers if left out.
        label: what the colour bar says that the colours mean.
        options: cmap, vmin, vmax; with an image also style, area, stretch, opacity and interpolation, as for
            `overlay`.

    Raises:
        CaptureError: `Records` that are not one execution, as for `layers`.
        ValueError: what `formulas.rollout` refuses (NaN, negative weights, layers of different tokens), another
            shape, or an example that does not exist or has to be picked.

    >>> import numpy as np
    >>> ax = rollout(np.full((3, 4, 17, 17), 1 / 17), np.zeros((28, 28)))
    >>> ax.images[-1].get_array().shape
    (4, 4)
    """
    model = one_example(layer_sequence(attention), batch)
    shares = formulas.rollout([layer.maps for layer in model], fusion=fusion, discard=discard, residual=residual)
    if title is None:
        title = f"rollout through {len(model)} layers" if len(model) > 1 else "rollout through one layer"
    if image is None:
        if patch is not None:
            raise ValueError(f"patch={patch!r} picks what is drawn over an image: pass image=")
        ax = head(shares, ax=ax, tokens=tokens, cls=cls, title=title, label=label, colorbar=colorbar, **options)
        ax.set(xlabel="input token", ylabel="output token")
        return ax
    placed = layout(len(shares), grid, cls)
    if patch == "cls" and placed.prefix == 0:
        raise ValueError(f'patch="cls": the {len(shares)} tokens are {placed.grid} patches and hold no CLS token')
    if patch == "cls" or (patch is None and placed.prefix):
        row = shares[0]
    elif patch is None:
        row = shares.mean(axis=0)
    else:
        position = patch_position(patch, placed.grid)
        row = shares[placed.prefix + position[0] * placed.grid[1] + position[1]]
    _, patches = split_patches(row, placed)
    if options.get("vmax") is None:
        # Some models gather nearly everything in one patch. The colour bar's end is pointed where values are above it.
        options["vmax"] = top_without_outliers(patches)
    return overlay(patches, image, ax=ax, title=title, label=label, colorbar=colorbar, **options)
