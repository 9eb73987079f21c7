"""One (queries, keys) map as coloured cells in an `Axes`: what `head` and `heads` have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.image import AxesImage

from astcapture.plot.arrays import FloatArray
from astcapture.plot.colour_bar import round_ticks
from astcapture.plot.colours import Colours

#: Above this many tokens, only every second, third, ... is labelled.
MOST_LABELS = 40

#: The axes of a map.
KEYS, QUERIES = "attends to", "attends from"


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


def label_token_axes(
    ax: Axes,
    shape: tuple[int, ...],
    tokens: Sequence[str] | None = None,
    *,
    queries: Sequence[str] | None = None,
    prefix: int = 0,
    most_ticks: int = 8,
) -> None:
    """Put the tokens on the axes, or round numbers, with CLS and registers marked where there are `prefix` of them.

    `queries` are the tokens of the vertical axis where they are others.

    Raises:
        ValueError: as many tokens as neither queries nor keys.
    """
    sizes: dict[Axis, int] = {ax.yaxis: shape[0], ax.xaxis: shape[1]}
    if tokens is not None and len(tokens) not in sizes.values():
        raise ValueError(f"{len(tokens)} tokens do not label a map of shape {shape}: give one for each query or key")
    if queries is not None and len(queries) != shape[0]:
        raise ValueError(f"{len(queries)} queries do not label a map of shape {shape}: give one for each query")
    # Where each query is a token, both axes have the special tokens; else (one step, cross attention) the keys alone.
    special = {ax.yaxis: prefix if shape[0] == shape[1] else 0, ax.xaxis: prefix}
    for axis, size in sizes.items():
        names = queries if axis is ax.yaxis and queries is not None else tokens
        upright = axis is ax.xaxis
        if names is not None and len(names) == size:
            _write_tokens(axis, names, rotation=90 if upright else 0)
        else:
            _write_numbers(axis, size, special[axis], most_ticks, rotation=90 if upright else 0)


def _write_tokens(axis: Axis, tokens: Sequence[str], *, rotation: float) -> None:
    step = -(-len(tokens) // MOST_LABELS)
    places = range(0, len(tokens), step)
    # parse_math: a token may hold dollar signs, and is no formula.
    labels = axis.set_ticks(places, labels=[tokens[place] for place in places], fontsize="small")
    for tick in labels:
        for label in (tick.label1, tick.label2):
            label.set_parse_math(False)
            label.set_rotation(rotation)


def _write_numbers(axis: Axis, size: int, prefix: int, most: int, *, rotation: float) -> None:
    """Write the numbers of the tokens at round places, and the names of the special tokens at theirs."""
    places = [place for place in token_ticks(size, most) if place >= prefix]
    names = [str(place) for place in places]
    if prefix:
        # A name as long as three digits asks for the room of a tick.
        room = size / (1.5 * most)
        kept = [place for place in places if place - (prefix - 1) / 2 >= room]
        places, names = [*kept], [str(place) for place in kept]
    axis.set_ticks(places, labels=names)
    if prefix:
        name = "CLS" if prefix == 1 else f"CLS, R1–R{prefix - 1}"
        middle = (prefix - 1) / 2
        for tick in axis.set_ticks([middle, *places], labels=[name, *names])[:1]:
            if prefix > 1:
                tick.label1.set_rotation(rotation)


def token_ticks(size: int, most: int) -> list[int]:
    """Return round places on an axis of `size` tokens, from the first on.

    >>> token_ticks(197, 4), token_ticks(9, 8), token_ticks(1, 8)
    ([0, 50, 100, 150], [0, 1, 2, 3, 4, 5, 6, 7, 8], [0])
    """
    if size == 1:
        return [0]
    return [int(place) for place in round_ticks(0, size - 1, min(most, size) + 1) if place == int(place)]
