"""One map as a file holds it: whole or its largest weights, in 8 bits or exact, with small pictures."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from astcapture.view.largest import UNUSED, largest_of_rows, pack_rows, pack_shares
from astcapture.view.pooled import OVERVIEW, THUMB, pooled, size_of_pool
from astcapture.view.scale import Floats, Marked, Scale, pack_by_row, pack_root, rounded_up, scale_of
from astcapture.view.shelf import Parts
from astcapture.view.survey import Surveyed


class How(NamedTuple):
    """How a map is packed.

    Attributes:
        attention: whether its numbers are weights that share a row among them.
        exact: whether all its numbers are kept in 32 bits.
        k: how many weights of each row are kept; None for all.
    """

    attention: bool
    exact: bool
    k: int | None

    @property
    def whole(self) -> bool:
        """Whether all its numbers are kept."""
        return self.exact or self.k is None


class Packed(NamedTuple):
    """A map in the form in which a file holds it.

    Attributes:
        entry: what the file's data says of it.
        parts: its numbers.
        thumb: its thumbnail.
        complete: whether no weight was left out that 8 bits could show.
    """

    entry: dict[str, Any]
    parts: Parts
    thumb: Parts
    complete: bool = True


def pooled_rows(how: How, rows: int) -> int:
    """Into how many blocks of rows a map is pooled first: for its overview, or for its thumbnail."""
    return min(rows, THUMB if how.whole else OVERVIEW)


def pack_map(values: Floats, marked: Marked, how: How, surveyed: Surveyed | None) -> Packed:
    """Pack one map.

    Args:
        values: (rows, columns) as captured.
        marked: the same with all cells numbers.
        how: in which form.
        surveyed: what was found in attention without negative numbers, pooled into `pooled_rows`.
    """
    numbers = marked.values
    shares, whole = surveyed is not None, how.whole
    scale = scale_of(marked.least, marked.greatest, from_zero=shares or not whole)
    entry: dict[str, Any] = {"scale": [scale.lo, scale.hi], "error": 0.0}
    parts, thumb = Parts(), Parts()
    complete = True
    if how.exact:
        _pack_exact(values, numbers, entry, parts)
    elif how.k is None:
        _pack_whole(numbers, scale, entry, parts, surveyed)
    else:
        complete = _pack_largest(numbers, scale, entry, how.k, parts, surveyed)
    if marked.marks is not None:
        entry["marks"] = {}
        parts.put(marked.marks.tobytes(), entry["marks"])
        if marked.marks.all():
            # The small pictures have numbers only, and would be those of zeros.
            entry["empty"] = int(marked.marks.min())
    picture = numbers if surveyed is None else surveyed.tall
    if not whole:
        entry["overview"] = {"how": "max"}
        picture = _picture(picture, OVERVIEW, scale, shares, entry["overview"], parts)
    entry["thumb"] = {}
    _picture(picture, THUMB, scale, shares, entry["thumb"], thumb)
    return Packed(entry, parts, thumb, complete)


def _pack_exact(values: Floats, numbers: Floats, entry: dict[str, Any], parts: Parts) -> None:
    with np.errstate(over="ignore"):
        narrowed = values.astype("<f4")
    if values.dtype != np.float32:
        with np.errstate(invalid="ignore"):
            apart = np.where(np.isfinite(values), np.abs(numbers - narrowed), 0)
        entry["error"] = rounded_up(float(apart.max(where=np.isfinite(apart), initial=0)))
    entry["form"] = "exact"
    parts.put(narrowed.tobytes(), entry)


def _pack_whole(numbers: Floats, scale: Scale, entry: dict[str, Any], parts: Parts, surveyed: Surveyed | None) -> None:
    entry["form"] = "full"
    if surveyed is not None:
        largest = _row_scale(surveyed, entry)
        parts.put(pack_by_row(numbers, largest).tobytes(), entry)
        _put_row_scale(largest, entry, parts)
    else:
        entry["error"] = scale.error
        parts.put(scale.pack(numbers).tobytes(), entry)


def _pack_largest(
    numbers: Floats, scale: Scale, entry: dict[str, Any], k: int, parts: Parts, surveyed: Surveyed | None
) -> bool:
    """Put the largest of each row; gives whether they are all that is not zero in 8 bits."""
    entry["form"], entry["k"] = "sparse", k
    if surveyed is not None:
        largest = _row_scale(surveyed, entry)
        rows = surveyed.rows
        if rows is None:
            rows = largest_of_rows(numbers, k, largest / 510, causal=surveyed.causal, sums=surveyed.sums)
        parts.put(pack_rows(rows, pack_by_row(rows.values, largest)), entry)
        _put_row_scale(largest, entry, parts)
        entry["kept"] = {}
        parts.put(pack_shares(rows.kept), entry["kept"])
        if surveyed.causal:
            entry["causal"] = True
    else:
        entry["error"] = scale.error
        rows = largest_of_rows(numbers, k, (scale.hi - scale.lo) / 510)
        parts.put(pack_rows(rows, scale.pack(rows.values)), entry)
    return bool(((rows.columns[:, -1] == UNUSED) | (rows.kept > 1 - 1e-6)).all())


def _row_scale(surveyed: Surveyed, entry: dict[str, Any]) -> Floats:
    """The largest number of each row in float32; the error of the worst row is noted."""
    largest: Floats = surveyed.largest.astype(np.float32)
    # Half a step, and what float32 rounds.
    entry["error"] = rounded_up(float(largest.max()) * (1 / 510 + 3e-7))
    return largest


def _put_row_scale(largest: Floats, entry: dict[str, Any], parts: Parts) -> None:
    entry["row_scale"] = {}
    parts.put(largest.astype("<f4").tobytes(), entry["row_scale"])


def _picture(numbers: Floats, most: int, scale: Scale, shares: bool, entry: dict[str, Any], parts: Parts) -> Floats:
    """Put a small picture of a map, and give its numbers."""
    rows, columns = size_of_pool((numbers.shape[0], numbers.shape[1]), most)
    small = pooled(numbers, rows, columns, signed=scale.lo < 0)
    entry.update(rows=rows, columns=columns)
    if shares:
        entry["power"] = 0.5
    parts.put((pack_root(small, scale.hi) if shares else scale.pack(small)).tobytes(), entry)
    return small
