"""Which token of a text attends to which: token by token, or one token's attention shading the text."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap

from astcapture.plot.arrays import Plottable, as_array
from astcapture.plot.attention_maps import head_or_mean
from astcapture.plot.colour_bar import draw_colour_bar
from astcapture.plot.colours import SHADE, choose_colours
from astcapture.plot.head_map import head as draw_head
from astcapture.plot.shaded_text import INCHES_PER_LINE, Word, count_lines, draw_words

_PAGE_INCHES = 7.4
#: Of matplotlib's default margins, which is what an axes has before it is laid out.
_TEXT_INCHES = 0.775 * _PAGE_INCHES


def tokens(
    attention: Plottable,
    tokens: Sequence[str],
    *,
    query: int | str | None = None,
    head: int | None = None,
    batch: int | None = None,
    without: Collection[str] = (),
    ax: Axes | None = None,
    title: str | None = None,
    cmap: str | Colormap | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
) -> Axes:
    """Draw which token attends to which; with a query, the text with each token shaded by the query's attention.

    Args:
        attention: (tokens, tokens), (heads, tokens, tokens) or (batch, heads, tokens, tokens): a tensor, an
            array, or `Records` of one value.
        tokens: the text of each token. Line breaks and tabs are written as they are escaped.
        query: the token whose attention shades the text, framed there: its index, or its text where no other
            has the same. Left out, the map of all tokens by all tokens is drawn.
        head: the head; the mean over the heads if left out.
        batch: the example, where there are several.
        without: tokens that are left out of the picture, both as queries and as keys, and of its range of
            colours: ``("[CLS]", "[SEP]")``, say, which draw most of the attention of many models. The weights
            of the others stay as they are.
        ax: where to draw; a new figure if left out.
        title: the title; the head, or that it is the mean, if left out.
        cmap, vmin, vmax: as for `head`; a shaded text's colours begin at zero.

    Raises:
        ValueError: another shape, another number of tokens than the map has, a query that is none of them or
            several, or a head or example that does not exist or has to be picked.

    >>> ax = tokens(np.full((4, 3, 3), 1 / 3), ["the", "cat", "sat"], query="sat")
    >>> [text.get_text() for text in ax.texts], ax.get_title()
    (['the', 'cat', 'sat'], "'sat' attends to (mean of 4 heads)")
    """
    weights, source = head_or_mean(as_array(attention), batch=batch, head=head)
    if len(tokens) != len(weights):
        raise ValueError(
            f"{len(tokens)} tokens do not label attention of shape {weights.shape}: give one for each of the "
            f"{len(weights)}"
        )
    kept = [number for number, token in enumerate(tokens) if token not in without]
    if not kept:
        raise ValueError(f"without={list(without)} leaves none of the {len(tokens)} tokens")
    names = [_escaped(tokens[number]) for number in kept]
    if query is None:
        shown = weights[np.ix_(kept, kept)]
        title = source if title is None else title
        return draw_head(shown, ax=ax, tokens=names, title=title, cmap=cmap, vmin=vmin, vmax=vmax)
    index = _index(query, tokens)
    shown = weights[index, kept]
    # A faint word is one that is not attended to: the colours begin at zero, where no weight is negative.
    if vmin is None and not (shown < 0).any():
        vmin = 0.0
        if vmax is None and not (shown > 0).any():
            vmax = 1.0
    colours = choose_colours(shown, cmap=cmap or (SHADE if vmin == 0 else None), vmin=vmin, vmax=vmax)
    lines = count_lines(names, _TEXT_INCHES)
    if ax is None:
        height = max(lines * INCHES_PER_LINE + 0.6, 1.8)
        _, ax = plt.subplots(figsize=(_PAGE_INCHES, height), layout="constrained")
    words = [
        Word(name, tuple(colours.cmap(float(colours.norm(weight)))), number == index)
        for name, weight, number in zip(names, shown.tolist(), kept, strict=True)
    ]
    draw_words(ax, words)
    ax.set_title(f"{_escaped(tokens[index])!r} attends to ({source})" if title is None else title, parse_math=False)
    draw_colour_bar([ax], colours, shown, slender=max(20.0 * min(lines, 5) / 5, 6.0))
    return ax


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
