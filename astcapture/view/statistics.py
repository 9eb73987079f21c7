"""What kind of head a head is, in numbers: how widely and how far it looks, and at which keys.

The averages are over queries, of weights divided by their row's sum, as in `astcapture.plot.formulas`; rows without any
weight are left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from astcapture.plot.formulas.distance import mean_distance
from astcapture.view.scale import Floats
from astcapture.view.survey import Surveyed

NAMES = ("entropy", "distance", "diagonal", "previous", "first", "induction")


class Places(NamedTuple):
    """Where the queries and keys of a map are.

    Attributes:
        offset: the key that the first query is, where queries are among the keys; None where they are other tokens.
        centres: (keys, 2) where the keys lie in an image, in patches; None for tokens in a row.
        prefix: how many tokens before the patches have no place in the image.
        pairs: (queries, keys) of a key after the last occurrence of the query's token; None where tokens are unknown.
    """

    offset: int | None
    centres: NDArray[np.float64] | None = None
    prefix: int = 0
    pairs: tuple[NDArray[np.intp], NDArray[np.intp]] | None = None

    @property
    def in_row(self) -> int | None:
        """The offset, where the distance of a query from a key is that of their numbers; else None."""
        return self.offset if self.centres is None else None


class Measured(NamedTuple):
    """What is known of one map.

    Attributes:
        numbers: statistics by name, None where one is not defined.
        off_sum: how many rows have another sum than one.
    """

    numbers: dict[str, float | None]
    off_sum: int


def pairs_of(tokens: Sequence[str], special: Sequence[int], offset: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """For each query whose token came before: the key after its last occurrence.

    >>> [one.tolist() for one in pairs_of(["a", "b", "c", "a"], [], 0)]
    [[3], [1]]
    """
    seen: dict[str, int] = {}
    queries, keys = [], []
    left_out = set(special)
    for place, token in enumerate(tokens):
        if place in left_out:
            continue
        before = seen.get(token)
        if before is not None and before + 1 < place and place >= offset:
            queries.append(place - offset)
            keys.append(before + 1)
        seen[token] = place
    return np.array(queries, np.intp), np.array(keys, np.intp)


def measure(weights: Floats, surveyed: Surveyed, places: Places) -> Measured:
    """Measure one map of weights that are not negative.

    Args:
        weights: (queries, keys), finite.
        surveyed: what `survey` has found in it, with the offset of `places`.
        places: where they are.
    """
    count, sums = len(weights), surveyed.sums
    some = sums > 0
    numbers: dict[str, float | None] = dict.fromkeys(NAMES)
    # Half precision has three digits.
    off_sum = int((np.abs(sums - 1) > 0.02)[some].sum())
    if not some.any():
        return Measured(numbers, off_sum)
    total = sums[some]
    numbers["entropy"] = float(np.maximum(np.log(total) - surveyed.entropies[some] / total, 0).mean())
    numbers["first"] = float((weights[some, 0] / total).mean())
    if places.in_row is not None:
        numbers["distance"] = float((surveyed.distances[some] / total).mean())
    elif places.centres is not None and places.offset == 0:
        numbers["distance"] = _distance_in_image(weights, places)
    if places.offset is not None:
        numbers["diagonal"] = _of_cells(weights, sums, np.arange(count), np.arange(count) + places.offset)
        queries = np.arange(max(0, 1 - places.offset), count)
        numbers["previous"] = _of_cells(weights, sums, queries, queries + places.offset - 1)
    if places.pairs is not None:
        numbers["induction"] = _of_cells(weights, sums, *places.pairs)
    return Measured({name: _or_none(one) for name, one in numbers.items()}, off_sum)


def _of_cells(
    weights: Floats, sums: NDArray[np.float64], queries: NDArray[np.intp], keys: NDArray[np.intp]
) -> float | None:
    """The mean share of some cells, one a row."""
    some = sums[queries] > 0
    if not some.any():
        return None
    return float((weights[queries[some], keys[some]] / sums[queries[some]]).mean())


def _distance_in_image(weights: Floats, places: Places) -> float | None:
    """`formulas.mean_distance` of the patches, of many in bands."""
    assert places.centres is not None
    patches, centres = weights[places.prefix :, places.prefix :], places.centres
    if len(centres) <= 1024:
        return float(mean_distance(patches, centres))
    means, count = 0.0, 0
    for start in range(0, len(centres), 64):
        band = patches[start : start + 64]
        apart = np.linalg.norm(centres[start : start + 64, None] - centres[None], axis=-1)
        total = band.sum(axis=1)
        some = total > 0
        means += float((np.einsum("qk,qk->q", band, apart)[some] / total[some]).sum())
        count += int(some.sum())
    return means / count if count else None


def _or_none(number: float | None) -> float | None:
    return None if number is None or not math.isfinite(number) else float(f"{number:.6g}")
