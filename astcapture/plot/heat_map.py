"""One (queries, keys) map as coloured cells in an `Axes`: what `head` and `heads` have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from astcapture.plot.arrays import FloatArray
from astcapture.plot.colours import Colours

#: Above this many tokens, only every second, third, ... is labelled.
MOST_LABELS = 40


def draw_heat_map(
    ax: Axes, weights: FloatArray, colours: Colours, *, shape: tuple[int, ...] | None = None
) -> AxesImage:
    """Fill `ax` with one cell per weight, queries downwards and keys to the right.

    `shape` is (queries, keys) where `weights` are the means over blocks of them.
    """
    queries, keys = shape or weights.shape
    # Square cells, unless a map so narrow (a generation step has one query) would be a thread.
    aspect: Literal["equal", "auto"] = "auto" if panel_ratio((queries, keys)) is None else "equal"
    extent = (-0.5, keys - 0.5, queries - 0.5, -0.5)
    return ax.imshow(
        weights, cmap=colours.cmap, norm=colours.norm, aspect=aspect, interpolation="antialiased", extent=extent
    )


def panel_ratio(shape: tuple[int, ...]) -> float | None:
    """Return height / width of a (queries, keys) map drawn with square cells, or None where it is not.

    >>> panel_ratio((17, 34)), panel_ratio((1, 30))
    (0.5, None)
    """
    queries, keys = shape
    return queries / keys if 1 / 4 <= queries / keys <= 4 else None


def label_token_axes(ax: Axes, shape: tuple[int, ...], tokens: Sequence[str] | None, *, most_ticks: int = 8) -> None:
    """Put the tokens, or their numbers, on the axes.

    Raises:
        ValueError: as many tokens as neither queries nor keys.
    """
    sizes: dict[Axis, int] = {ax.yaxis: shape[0], ax.xaxis: shape[1]}
    if tokens is not None and len(tokens) not in sizes.values():
        raise ValueError(f"{len(tokens)} tokens do not label a map of shape {shape}: give one for each query or key")
    for axis, size in sizes.items():
        if tokens is not None and len(tokens) == size:
            _write_tokens(axis, tokens, rotation=90 if axis is ax.xaxis else 0)
        else:
            axis.set_major_locator(MaxNLocator(min(most_ticks, size), integer=True, min_n_ticks=1))


def _write_tokens(axis: Axis, tokens: Sequence[str], *, rotation: float) -> None:
    step = -(-len(tokens) // MOST_LABELS)
    places = range(0, len(tokens), step)
    # parse_math: a token may hold dollar signs, and is no formula.
    labels = axis.set_ticks(places, labels=[tokens[place] for place in places], fontsize="small")
    for tick in labels:
        for label in (tick.label1, tick.label2):
            label.set_parse_math(False)
            label.set_rotation(rotation)
