"""What the rows and columns of maps are: words, patches of an image, both in one sequence, or just numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import isqrt
from typing import Any, NamedTuple

from astcapture.plot.patches import Grid, special_names
from astcapture.view.words import Words, words_of

#: Tokens that stand for an image in a text: ``<image>``, ``<|image_pad|>``, ``<image_soft_token>``, ``[IMG]``.
_IMAGE_TOKEN = re.compile(r"[<\[]\|?(?:image|img|image_pad|image_soft_token|imgpad|IMG|IMG_CONTEXT)\|?[>\]]", re.I)
#: Numbers of tokens before the patches, in the order in which they are tried: none or CLS, then CLS and four registers.
_PREFIXES = (1, 0, 5, 2, 3, 4, 6, 7, 8, 9)
#: How far the proportions of patches may be from those of the image.
_TOLERANCE = 0.05


class Axis(NamedTuple):
    """One side of a map.

    Attributes:
        number: of the axis in the file.
        words: its tokens, where it has any.
        grid: (rows, columns) of its patches, where it is an image.
        prefix: how many tokens come before the patches.
    """

    number: int
    words: Words | None = None
    grid: Grid | None = None
    prefix: int = 0


class Given(NamedTuple):
    """What the user knows of one example.

    Attributes:
        tokens: of the queries, and of the keys where `keys` has none.
        keys: tokens of the keys.
        image: the number of the image in the file, and its height and width.
        grid: (rows, columns) of patches.
        cls: the number of tokens before the patches.
    """

    tokens: Sequence[str] | None = None
    keys: Sequence[str] | None = None
    image: tuple[int, int, int] | None = None
    grid: Grid | None = None
    cls: int | None = None


class Axes:
    """The axes of a file, each once.

    Attributes:
        listed: as the file has them.
        fitted: the kinds of what was given that has fitted some axis.
        sizes: the lengths of all axes that were asked for.
    """

    def __init__(self) -> None:
        self.listed: list[dict[str, Any]] = []
        self.fitted: set[str] = set()
        self.sizes: dict[tuple[int, int], None] = {}
        self._numbers: dict[object, Axis] = {}

    def index(self, size: int) -> Axis:
        """An axis of which nothing is known but its length."""
        return self._add({"kind": "index", "n": size})

    def of(self, size: int, given: Given, *, keys: bool, patches: tuple[Grid, int] | None = None) -> Axis:
        """The axis of this length, by the first of what was given that fits.

        Args:
            size: the number of queries or keys.
            given: what is known of the example.
            keys: whether it is the side of the keys.
            patches: (rows, columns) and the number of tokens before them, where the model tells.
        """
        order = [("tokens", given.tokens), ("key_tokens", given.keys)]
        for name, tokens in reversed(order) if keys else order:
            if tokens is not None and len(tokens) == size:
                self.fitted.add(name)
                return self._words(tokens, given)
        for name, tokens in order:
            expanded = None if tokens is None else _expanded(tokens, size)
            if expanded is not None:
                self.fitted.add(name)
                return self._words(expanded, given)
        found = self._layout(size, given) or patches
        if found is None:
            return self.index(size)
        if given.image is not None:
            self.fitted.add("images")
        return self._patches(*found, given.image)

    def _layout(self, size: int, given: Given) -> tuple[Grid, int] | None:
        if given.grid is not None:
            rows, columns = given.grid
            prefix = size - rows * columns
            fits = prefix >= 0 and given.cls in (None, prefix) and prefix <= max(_PREFIXES[-1], given.cls or 0)
            return ((rows, columns), prefix) if fits else None
        if given.image is None:
            return None
        return _grid_of(size, given.image[1:], given.cls)

    def _words(self, tokens: Sequence[str], given: Given) -> Axis:
        words = words_of(tokens)
        parts = _image_runs(words.raw) if given.image is not None else []
        joined: list[Axis] = []
        at = 0
        for start, end in parts:
            found = _grid_of(end - start, given.image[1:], 0) if given.image is not None else None
            if found is None:
                continue
            joined += [self._plain_words(words_of(words.raw[at:start]))] * (start > at)
            joined.append(self._patches(*found, given.image))
            at = end
        if not joined:
            return self._plain_words(words)
        self.fitted.add("images")
        joined += [self._plain_words(words_of(words.raw[at:]))] * (at < len(words.raw))
        return self._add({"kind": "joined", "parts": [one.number for one in joined]})._replace(words=words)

    def _plain_words(self, words: Words) -> Axis:
        return self._add({"kind": "tokens", "words": words.raw, "shown": words.shown, "special": words.special}, words)

    def _patches(self, grid: Grid, prefix: int, image: tuple[int, int, int] | None) -> Axis:
        entry = {
            "kind": "patches",
            "rows": grid[0],
            "columns": grid[1],
            "prefix": prefix,
            "prefix_names": special_names(prefix),
            "image": None if image is None else image[0],
        }
        return self._add(entry)._replace(grid=grid, prefix=prefix)

    def _add(self, entry: dict[str, Any], words: Words | None = None) -> Axis:
        key = repr(entry)
        found = self._numbers.get(key)
        if found is None:
            found = self._numbers[key] = Axis(len(self.listed), words)
            self.listed.append(entry)
        return found


def _expanded(tokens: Sequence[str], size: int) -> list[str] | None:
    """Tokens in which the one token for an image is as many as the model makes of it; None where that is not so."""
    places = [number for number, token in enumerate(tokens) if _IMAGE_TOKEN.fullmatch(str(token))]
    missing = size - len(tokens)
    if len(places) != 1 or missing <= 0:
        return None
    (place,) = places
    return [*tokens[:place], *[tokens[place]] * (missing + 1), *tokens[place + 1 :]]


def _image_runs(tokens: Sequence[str]) -> list[tuple[int, int]]:
    """Where the same token for an image stands several times in a row.

    >>> _image_runs(["a", "<image>", "<image>", "<image>", "<image>", "b"])
    [(1, 5)]
    """
    runs, start = [], 0
    for place in range(1, len(tokens) + 1):
        if place == len(tokens) or tokens[place] != tokens[start]:
            if place - start >= 4 and _IMAGE_TOKEN.fullmatch(tokens[start]):
                runs.append((start, place))
            start = place
    return runs


def _grid_of(size: int, image: tuple[int, ...], cls: int | None) -> tuple[Grid, int] | None:
    """The patches that have the proportions of an image, and the number of tokens before them.

    >>> _grid_of(197, (224, 224), None), _grid_of(5 + 6, (20, 30), None), _grid_of(12, (10, 10), None)
    (((14, 14), 1), ((2, 3), 5), ((3, 3), 3))
    """
    wanted = image[0] / image[1]
    for prefix in _PREFIXES if cls is None else (cls,):
        patches = size - prefix
        if patches < 1:
            continue
        near = max(1, isqrt(round(patches * wanted)))
        for rows in (near, near + 1):
            if patches % rows == 0 and abs(rows * rows / patches / wanted - 1) <= _TOLERANCE:
                return (rows, patches // rows), prefix
    return None
