"""Which token of a text attends to which: as a map and as lines, or one token's attention shading the text."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, get_args

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap

from astcapture.plot.arrays import FloatArray, Plottable, as_array
from astcapture.plot.attention_maps import head_or_mean
from astcapture.plot.colour_bar import draw_colour_bar
from astcapture.plot.colours import SHADE, choose_colours
from astcapture.plot.heat_map import KEYS, MOST_LABELS, QUERIES, draw_heat_map, label_token_axes
from astcapture.plot.page import new_axes, new_figure
from astcapture.plot.shaded_text import INCHES_PER_LINE, Word, count_lines, draw_words
from astcapture.plot.titles import layer_of
from astcapture.plot.word_lines import draw_word_lines

#: "map": a coloured cell for each pair of tokens. "lines": the words in two columns, with lines between them.
#: "both": the lines beside the map.
TokenStyle = Literal["both", "map", "lines"]

_PAGE_INCHES = 7.4
#: Of matplotlib's default margins, which is what an axes has before it is laid out.
_TEXT_INCHES = 0.775 * _PAGE_INCHES


def tokens(
    attention: Plottable,
    tokens: Sequence[str],
    *,
    query: int | str | None = None,
    queries: Sequence[str] | None = None,
    head: int | None = None,
    batch: int | None = None,
    without: Collection[str] = (),
    style: TokenStyle | None = None,
    ax: Axes | None = None,
    colorbar: bool = True,
    title: str | None = None,
    label: str = "weight",
    cmap: str | Colormap | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
) -> Axes:
    """Draw which token attends to which; with a query, the text with each token shaded by the query's attention.

    Args:
        attention: (queries, keys), (heads, queries, keys) or (batch, heads, queries, keys): a tensor, an array,
            `Records` of one value, or a `Record`.
        tokens: the text of each key. Line breaks and tabs are written as they are escaped.
        query: the token whose attention shades the text, framed there: its index, or its text where no other
            has the same. Left out, all tokens by all tokens are drawn.
        queries: the text of each query, where they are not the same tokens as the keys: the new token of a decoding
            step, or the target text in cross attention.
        head: the head; the mean over the heads if left out.
        batch: the example, where there are several.
        without: tokens that are left out of the picture, both as queries and as keys, and of its range of
            colours: ``("[CLS]", "[SEP]")``, say, which draw most of the attention of many models. The weights
            of the others stay as they are.
        style: without a query: "map" for a map of all tokens by all tokens; "lines" for the words in two columns, with
            a line from each to each that is the more opaque the greater the weight; "both" for the lines beside the
            map. If left out, both in a new figure of up to 40 tokens, else the map.
        ax: where to draw; a new figure if left out.
        colorbar: whether a colour bar is drawn.
        title: the title; the layer where it is known, and the head, or that it is the mean, if left out.
        label: what the colour bar says that the colours mean.
        cmap, vmin, vmax: as for `head`.

    Returns:
        The axes of the map, of the lines under ``style="lines"``, or of the text.

    Raises:
        ValueError: another shape, another number of tokens than the map has, a query that is none of them or
            several, or a head or example that does not exist or has to be picked.

    >>> ax = tokens(np.full((4, 3, 3), 1 / 3), ["the", "cat", "sat"], query="sat")
    >>> [text.get_text() for text in ax.texts], ax.get_title()
    (['the', 'cat', 'sat'], "'sat' attends to (mean of 4 heads)")
    """
    weights, source = head_or_mean(as_array(attention), batch=batch, head=head, is_square=queries is None)
    source = ", ".join(filter(None, [layer_of(attention), source]))
    if len(tokens) != weights.shape[1]:
        raise ValueError(
            f"{len(tokens)} tokens do not label attention of shape {weights.shape}: give one for each of the "
            f"{weights.shape[1]}"
        )
    if queries is not None and len(queries) != len(weights):
        raise ValueError(
            f"{len(queries)} queries do not label attention of shape {weights.shape}: give one for each of the "
            f"{len(weights)}"
        )
    asking = tokens if queries is None else queries
    kept, rows = ([number for number, token in enumerate(words) if token not in without] for words in (tokens, asking))
    if not kept or not rows:
        raise ValueError(f"without={list(without)} leaves none of the {len(tokens)} tokens")
    names = [_escaped(tokens[number]) for number in kept]
    if query is None:
        return _draw_all(
            weights[np.ix_(rows, kept)],
            [_escaped(asking[number]) for number in rows],
            names,
            style=style,
            ax=ax,
            title=source if title is None else title,
            label=label if colorbar else None,
            colours=(cmap, vmin, vmax),
        )
    if style is not None:
        raise ValueError(f"style={style!r} is of all tokens by all tokens: leave it or query= out")
    index = _index(query, asking)
    shown = weights[index, kept]
    # A faint word is one that is not attended to: the colours begin at zero, where no weight is negative.
    if vmin is None and not (shown < 0).any():
        vmin = 0.0
        if vmax is None and not (shown > 0).any():
            vmax = 1.0
    colours = choose_colours(shown, cmap=cmap or (SHADE if vmin == 0 else None), vmin=vmin, vmax=vmax)
    lines = count_lines(names, _TEXT_INCHES)
    if ax is None:
        ax = new_axes(_PAGE_INCHES, max(lines * INCHES_PER_LINE + 0.6, 1.8), "constrained")
    words = [
        Word(name, tuple(colours.cmap(float(colours.norm(weight)))), number == index and queries is None)
        for name, weight, number in zip(names, shown.tolist(), kept, strict=True)
    ]
    draw_words(ax, words)
    ax.set_title(f"{_escaped(asking[index])!r} attends to ({source})" if title is None else title, parse_math=False)
    if colorbar:
        draw_colour_bar([ax], colours, shown, label=label, slender=max(20.0 * min(lines, 5) / 5, 6.0))
    return ax


def _draw_all(
    shown: FloatArray,
    queries: Sequence[str],
    keys: Sequence[str],
    *,
    style: TokenStyle | None,
    ax: Axes | None,
    title: str,
    label: str | None,
    colours: tuple[str | Colormap | None, float | None, float | None],
) -> Axes:
    """Draw all tokens by all tokens; without a colour bar where there is no label."""
    if style is None:
        style = "both" if ax is None and max(shown.shape) <= MOST_LABELS else "map"
    if style not in get_args(TokenStyle):
        raise ValueError(f'style={style!r}; accepted are "both", "map" and "lines"')
    if style == "both" and ax is not None:
        raise ValueError('style="both" draws a figure of its own: leave ax= out, or pass style="map" or style="lines"')
    of_map, of_lines = ax, ax
    if ax is None:
        letters = 0.085 * max(map(len, [*queries, *keys]))
        side = max(3.8, 0.22 * min(max(shown.shape), MOST_LABELS) + 0.6)
        wide = 2.0 + 2 * letters
        if style == "lines":
            of_lines = new_axes(wide, side, "constrained")
        elif style == "map":
            of_map = new_axes(side + letters + 1.2, side + letters, "compressed")
        else:
            figure = new_figure(side + letters + 1.6 + wide, side + letters, "constrained")
            of_lines, of_map = figure.subplots(1, 2, width_ratios=(wide, side + letters + 1.2))
    if style != "map":
        assert of_lines is not None  # just made, or given
        draw_word_lines(of_lines, shown, queries, keys)
    if style == "lines":
        assert of_lines is not None
        of_lines.set_title(title, parse_math=False)
        return of_lines
    assert of_map is not None
    cmap, vmin, vmax = colours
    chosen = choose_colours(shown, cmap=cmap, vmin=vmin, vmax=vmax, from_zero=True)
    draw_heat_map(of_map, shown, chosen)
    label_token_axes(of_map, shown.shape, keys, queries=queries)
    of_map.set(xlabel=KEYS, ylabel=QUERIES)
    of_map.set_title(title, parse_math=False)
    if label is not None:
        draw_colour_bar([of_map], chosen, shown, label=label)
    return of_map


def _index(query: int | str, tokens: Sequence[str]) -> int:
    if isinstance(query, str):
        places = [number for number, token in enumerate(tokens) if token == query]
        if len(places) == 1:
            return places[0]
        if places:
            raise ValueError(
                f"query={query!r} is the token at {', '.join(map(str, places))}: pass one of these numbers"
            )
        raise ValueError(f"query={query!r} is none of the tokens: {', '.join(map(repr, tokens))}")
    if not -len(tokens) <= query < len(tokens):
        raise ValueError(f"query={query} is outside the {len(tokens)} tokens: it goes from 0 to {len(tokens) - 1}")
    return query % len(tokens)


def _escaped(token: str) -> str:
    return token.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
