"""How many rows and columns of panels. Pure."""

from __future__ import annotations


def arrange(count: int) -> tuple[int, int]:
    """Return (rows, columns) for `count` square panels: a page at most twice as wide as high, with few empty places.

    >>> [arrange(count) for count in (1, 2, 5, 7, 13, 17)]
    [(1, 1), (1, 2), (2, 3), (2, 4), (3, 5), (3, 6)]
    """
    candidates = [(-(-count // columns), columns) for columns in range(1, count + 1)]
    fitting = [(rows, columns) for rows, columns in candidates if rows <= columns <= 2 * rows]
    return min(fitting, key=lambda shape: (shape[0] * shape[1], shape[1] - shape[0]))
