"""How much of a map the size of the file leaves room for: all of it, or the k largest weights of each row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from astcapture.view.pooled import OVERVIEW

#: Bytes of a map besides its cells: its entry in the file's data, its thumbnail, its share of a script element.
OVERHEAD = 900
#: Bytes of text for a byte of data.
_TEXT = 4 / 3
#: Bytes of a compressed cell of a whole map, and of a compressed entry of a sparse one, before one was measured.
_CELL, _ENTRY = 0.7 * _TEXT, 1.6 * _TEXT
#: The fewest and the most weights of a row.
LEAST, MOST = 4, 64


class Budget:
    """Shares out the size of a file among its maps.

    Maps are kept whole from the smallest on, as long as they take no more than their share. The others share what is
    left. How well entries compress is measured as the file is written.

    Args:
        size: bytes for all maps.
        sizes: (rows, columns) of each map that is to come.
    """

    def __init__(self, size: float, sizes: Iterable[tuple[int, int]]) -> None:
        counts = Counter(sizes)
        self._left = size - OVERHEAD * counts.total()
        self._whole: set[tuple[int, int]] = set()
        self._rows = 0
        self._per_entry = _ENTRY
        maps = counts.total()
        for shape, count in sorted(counts.items(), key=lambda one: one[0][0] * one[0][1]):
            cost = shape[0] * shape[1] * _CELL
            # The columns of a sparse map are numbered in 16 bits.
            if (cost <= self._left / maps and not self._rows) or shape[0] * shape[1] <= 1024 or shape[1] > 65535:
                self._whole.add(shape)
                self._left -= cost * count
                maps -= count
            else:
                self._rows += shape[0] * count

    def is_whole(self, shape: tuple[int, int]) -> bool:
        """Whether maps of this size are kept whole."""
        return shape in self._whole

    def k(self, shape: tuple[int, int]) -> int:
        """How many weights of each row of the next map are kept."""
        of_row = self._left / max(self._rows, 1) - _overview_of_row(shape)
        return max(LEAST, min(MOST, shape[1], int(of_row / self._per_entry)))

    def spent(self, shape: tuple[int, int], k: int, nbytes: int) -> None:
        """Take note of how much text a sparse map has taken."""
        self._rows -= shape[0]
        self._left -= nbytes
        of_entry = (nbytes / shape[0] - _overview_of_row(shape)) / k
        self._per_entry = (self._per_entry + max(of_entry, 0.01)) / 2


def _overview_of_row(shape: tuple[int, int]) -> float:
    return min(shape[0], OVERVIEW) * min(shape[1], OVERVIEW) * _CELL / shape[0]
