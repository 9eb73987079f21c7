"""Two maps side by side, and their difference."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure, SubFigure

from astcapture.plot.arrays import FloatArray, Plottable, as_array, why_none
from astcapture.plot.attention_maps import layer_maps, one_map
from astcapture.plot.colour_bar import draw_colour_bar
from astcapture.plot.colours import DIVERGING, Colours, choose_colours
from astcapture.plot.heat_map import KEYS, MOST_LABELS, QUERIES, draw_heat_map, label_token_axes, panel_ratio
from astcapture.plot.page import in_scale, new_figure, page_of
from astcapture.plot.reduce import block_means, block_size
from astcapture.plot.shown_once import shown_once
from astcapture.plot.special_tokens import special_tokens
from astcapture.plot.titles import layer_of
from astcapture.values.differences import check_pairs
from astcapture.values.records import Records

_PANEL_INCHES = 2.6
_MOST_CELLS = 256
#: Of a letter of a title, on average and with some room.
_LETTER_INCHES = 0.088
_LINE_INCHES = 0.17


def compare(
    a: Plottable,
    b: Plottable,
    *,
    names: tuple[str, str] = ("a", "b"),
    head: int | None = None,
    batch: int | None = None,
    tokens: Sequence[str] | None = None,
    cls: bool | int | None = None,
    figure: Figure | SubFigure | None = None,
    colorbar: bool = True,
    title: str | None = None,
    label: str = "weight",
    cmap: str | Colormap | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
) -> Figure | SubFigure:
    """Draw two maps side by side in one scale of colours, and their difference, a - b, which is white at zero.

    Two `Records` of several values have a row for each pair, paired in their order.

    Args:
        a, b: two maps of one shape: (queries, keys), (heads, queries, keys) or (batch, heads, queries, keys), as
            tensors, arrays, or `Record`s; or two `Records` of as many values, of the same functions and layers.
        names: what `a` and `b` are called: ``("before", "after")``. Long names take several lines.
        head: the head; the mean over the heads if left out.
        batch: the example, where there are several.
        tokens: labels for the axis, or the axes, with as many tokens.
        cls: the special tokens before the patches of a vision transformer, as for `head`.
        figure: an empty figure or subfigure to draw in; a new one if left out.
        colorbar: whether colour bars are drawn.
        title: the title; the layer, where it is known, and the head, or that it is the mean, if left out.
        label: what the colour bar says that the colours mean.
        cmap, vmin, vmax: of the two maps, as for `head`; the difference has a scale of its own.

    Raises:
        CaptureError: `Records` that do not pair: another number of values, other functions, layers or shapes.
        ValueError: maps of different shapes, or a head or example that does not exist or has to be picked.

    >>> figure = compare(np.eye(3), np.full((3, 3), 1 / 3), names=("trained", "untrained"))
    >>> [ax.get_title() for ax in figure.axes[:3]]
    ['trained', 'untrained', 'trained − untrained']
    """
    pairs = _pairs(a, b)
    first, second = ([_one(value, batch, head) for value in values] for values in zip(*pairs, strict=True))
    for one, other in zip(first, second, strict=True):
        if one.shape != other.shape:
            raise ValueError(f"the maps have the shapes {one.shape} and {other.shape}: a difference needs equal ones")
    shapes = [(one.shape[0], one.shape[1]) for one in first]
    blocks = [block_size(shape, _MOST_CELLS) for shape in shapes]
    rows = [
        [block_means(one, block) for one in (one, other, one - other)]
        for one, other, block in zip(first, second, blocks, strict=True)
    ]
    shared = choose_colours(
        np.concatenate([one.ravel() for row in rows for one in row[:2]]),
        cmap=cmap,
        vmin=vmin,
        vmax=vmax,
        from_zero=True,
    )
    differences = np.concatenate([row[2].ravel() for row in rows])
    finite = np.abs(differences[np.isfinite(differences)])
    reach = float(finite.max(initial=0.0)) or 1.0
    diverging = choose_colours(differences, cmap=DIVERGING, vmin=-reach, vmax=reach)

    if figure is None:
        figure, panel = _new_figure(shapes, tokens, names)
    else:
        # Three panels, with room for colour bars and numbers.
        box = figure.bbox
        panel = box.width / page_of(figure).dpi / in_scale(1) / 4
    grid = figure.subplots(len(rows), 3, squeeze=False)
    titles = _titles(names, panel)
    wheres = [layer_of(value) for value, _ in pairs]
    for number, (axes, row, shape) in enumerate(zip(grid, rows, shapes, strict=True)):
        prefix = special_tokens(pairs[number][0], shape[1], cls)
        for place, (ax, weights) in enumerate(zip(axes, row, strict=True)):
            colours: Colours = diverging if place == 2 else shared
            draw_heat_map(ax, weights, colours, shape=shape)
            label_token_axes(ax, shape, tokens, prefix=prefix, most_ticks=5)
            ax.tick_params(labelleft=place == 0, labelbottom=number == len(rows) - 1 or shape != shapes[-1])
            if number == 0:
                ax.set_title(titles[place], fontsize="medium", parse_math=False)
        if len(rows) > 1:
            axes[0].set_ylabel(wheres[number] or f"pair {number}", fontsize="small")
    what = label if max(blocks) == 1 else f"mean {label} of {max(blocks)} × {max(blocks)}"
    if colorbar:
        _bars(grid, (shared, diverging), rows, what)
    figure.supxlabel(KEYS, fontsize="medium")
    figure.supylabel(QUERIES, fontsize="medium")
    source = _source(as_array(pairs[0][0]), head)
    if title is None:
        title = ", ".join(filter(None, [wheres[0] if len(rows) == 1 else "", source]))
    if title:
        figure.suptitle(title)
    return shown_once(figure)


def _pairs(a: Any, b: Any) -> list[tuple[Any, Any]]:
    if isinstance(a, Records) and isinstance(b, Records):
        if len(a) == len(b) == 0:
            raise ValueError(f"there is nothing to draw, as both Records are empty: {why_none(a)}")
        check_pairs(a.records, b.records)
        return list(zip(a.records, b.records, strict=True))
    return [(a, b)]


def _one(value: Any, batch: int | None, head: int | None) -> FloatArray:
    weights = as_array(value)
    if head is not None:
        return one_map(weights, batch=batch, head=head)
    return np.asarray(layer_maps(weights, batch=batch).mean(axis=0))


def _source(weights: FloatArray, head: int | None) -> str:
    if head is not None:
        return f"head {head}"
    heads = weights.shape[-3] if weights.ndim > 2 else 1
    return f"mean of {heads} heads" if heads > 1 else ""


def _titles(names: tuple[str, str], panel: float) -> list[str]:
    r"""The titles of the three panels, in lines no longer than a panel, which is so many inches wide.

    >>> _titles(("before", "after"), 2.6)
    ['before', 'after', 'before − after']
    >>> _titles(("the trained model", "untrained"), 1.0)
    ['the trained\nmodel', 'untrained', 'the trained\nmodel −\nuntrained']
    """
    most = max(int(panel / _LETTER_INCHES), 8)
    one, other = ("\n".join(wrap(name, most)) or name for name in names)
    difference = f"{names[0]} − {names[1]}"
    if len(difference) > most:
        difference = "\n".join([*wrap(f"{names[0]} −", most), other])
    return [one, other, difference]


def _new_figure(
    shapes: Sequence[tuple[int, int]], tokens: Sequence[str] | None, names: tuple[str, str]
) -> tuple[Figure, float]:
    """Make a figure, and return with it the inches of the narrowest panel's width."""
    letters = 0.08 * max((len(token) for token in tokens or ()), default=0)
    heights = []
    for shape in shapes:
        ratio = panel_ratio(shape)
        flat = 0.6 if shape[0] < shape[1] else _PANEL_INCHES
        heights.append(flat if ratio is None else _PANEL_INCHES * min(ratio, 1.4))
    wide = max(_PANEL_INCHES, 0.15 * min(len(tokens or ()), MOST_LABELS))
    ratios = [panel_ratio(shape) or 1.0 for shape in shapes]
    panel = wide * min(min(ratio, 1.4) / ratio for ratio in ratios)
    lines = max(title.count("\n") for title in _titles(names, panel))
    height = wide / _PANEL_INCHES * sum(heights) + letters + 1.2 + lines * _LINE_INCHES
    return new_figure(3 * wide + letters + 2.6, height, "compressed"), panel


def _bars(grid: Any, colours: tuple[Colours, Colours], rows: Sequence[Sequence[FloatArray]], label: str) -> None:
    maps = np.concatenate([one.ravel() for row in rows for one in row[:2]])
    differences = np.concatenate([row[2].ravel() for row in rows])
    middle: list[Axes] = list(grid[:, 1])
    last: list[Axes] = list(grid[:, 2])
    draw_colour_bar(middle, colours[0], maps, label=label)
    draw_colour_bar(last, colours[1], differences, label="difference")
