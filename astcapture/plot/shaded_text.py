"""Words in lines, each on a ground of its own colour."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from astcapture.plot.page import in_scale, page_of

_POINTS = 11.0
_PAD = 2.5  # points around a word
_GAP = 4.0  # points between words, their grounds included
INCHES_PER_LINE = 0.34
#: Seen on pale and on dark grounds.
_FRAME = "tab:blue"


class Word(NamedTuple):
    text: str
    #: Of its ground, (red, green, blue, opacity).
    colour: tuple[float, ...]
    framed: bool


def draw_words(ax: Axes, words: Sequence[Word]) -> None:
    """Write `words` from the top left of `ax` on, in as many lines as its width asks for."""
    ax.set(xlim=(0, 1), ylim=(0, 1))
    ax.set_axis_off()
    # The layout is not known before drawing; what the words ask for is, and a little is left for the colour bar.
    wide = ax.get_position().width * page_of(ax).get_figwidth() * 72 / in_scale(1)
    for word, (left, line) in zip(words, _places([word.text for word in words], wide), strict=True):
        ax.annotate(
            word.text,
            (0, 1),
            (in_scale(left + _PAD), in_scale(-line * INCHES_PER_LINE * 72 - 14)),
            xycoords="axes fraction",
            textcoords="offset points",
            fontsize=in_scale(_POINTS),
            color="white" if _luminance(word.colour) < 0.4 else "black",
            parse_math=False,
            annotation_clip=False,
            bbox=_ground(word),
            zorder=3 if word.framed else 2,
        )


def count_lines(words: Sequence[str], inches: float) -> int:
    """Return how many lines `words` fill in a text of this width.

    >>> count_lines(["word"] * 3, 6.0), count_lines(["word"] * 60, 6.0) > 1
    (1, True)
    """
    return _places(words, inches * 72)[-1][1] + 1


def _places(words: Sequence[str], wide: float) -> list[tuple[float, int]]:
    """Return for each word its left end in points, and its line."""
    places = []
    left, line = 0.0, 0
    for word in words:
        width = _width(word) + 2 * _PAD
        if left and left + width > wide:
            left, line = 0.0, line + 1
        places.append((left, line))
        left += width + _GAP
    return places


@cache
def _width(word: str) -> float:
    """Return the width of a word in points; of one without any ink, enough to be seen."""
    width, _, _ = text_to_path.get_text_width_height_descent(word, FontProperties(size=_POINTS), ismath=False)
    return max(float(width), 3.0)


def _ground(word: Word) -> dict[str, Any]:
    return {
        "boxstyle": f"square,pad={_PAD / _POINTS}",
        "facecolor": word.colour,
        "edgecolor": _FRAME if word.framed else "none",
        "linewidth": 2,
    }


def _luminance(colour: tuple[float, ...]) -> float:
    """Return how bright a colour is seen, from 0 to 1 (ITU-R BT.709, without its gamma)."""
    red, green, blue = colour[:3]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
