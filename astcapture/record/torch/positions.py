"""Which key a query may attend to in a call of flash attention, and how queries and keys are arranged for a map.

The documented rules of flash attention (https://github.com/Dao-AILab/flash-attention) compare positions: the last query
of a sequence is at the position of its last key. `Positions` has those of every row and column of the map, and the
sequence that each belongs to.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from astcapture.record.torch.blocks import take


@dataclass
class Positions:
    """The positions of the rows and columns of a map.

    Attributes:
        of_queries: shape (batch or 1, L).
        of_keys: shape (batch or 1, S).
        in_queries, in_keys: of the same shapes, the number of the sequence that a query and a key belong to; negative,
            and not the same, where they are padding. None if all belong to one sequence.
    """

    of_queries: Any
    of_keys: Any
    in_queries: Any = None
    in_keys: Any = None

    def part(self, batch: Sequence[int], rows: Sequence[int]) -> tuple[Any, Any]:
        """For some rows of some of the batch: the position of each key relative to the query, shape (b or 1, R, S);
        and where both belong to one sequence, of the same shape, or None."""
        queries, keys = _chosen(self.of_queries, batch), _chosen(self.of_keys, batch)
        apart = keys[:, None, :] - take(queries, 1, rows)[:, :, None]
        if self.in_queries is None:
            return apart, None
        queries, keys = _chosen(self.in_queries, batch), _chosen(self.in_keys, batch)
        return apart, keys[:, None, :] == take(queries, 1, rows)[:, :, None]


def _chosen(tensor: Any, batch: Sequence[int]) -> Any:
    return tensor if tensor.size(0) == 1 else take(tensor, 0, batch)


def aligned(queries: int, keys: int, device: Any) -> Positions:
    """One sequence, the same for all of the batch."""
    torch = sys.modules["torch"]
    rows = torch.arange(queries, device=device) + keys - queries
    return Positions(rows[None], torch.arange(keys, device=device)[None])


def of_lengths(queries: Any, keys: Any, rows: int, columns: int, first_keys: Any = None) -> Positions:
    """A sequence for each of the batch, which starts at the first row and column, or at the column `first_keys`.

    Args:
        queries, keys: the lengths, shape (batch,).
        rows, columns: the size of the map.
        first_keys: shape (batch,), or None.
    """
    torch = sys.modules["torch"]
    row, column = torch.arange(rows, device=queries.device), torch.arange(columns, device=queries.device)
    there = column < keys[:, None]
    if first_keys is not None:
        there = there & (column >= first_keys[:, None])
    return Positions(
        row + (keys - queries)[:, None], column[None], _inside(row < queries[:, None], 1), _inside(there, 2)
    )


def of_mask(mask: Any, rows: int, columns: int) -> Positions:
    """A sequence for each of the batch, at the tokens of a padding mask; its last queries stand at its last tokens.

    Args:
        mask: shape (batch, columns or fewer), true or 1 at tokens.
        rows, columns: the size of the map.
    """
    torch = sys.modules["torch"]
    keys = torch.nn.functional.pad(mask.bool(), (0, columns - mask.size(1)))
    queries = torch.ones_like(keys[:, :1]) if rows == 1 else keys[:, : mask.size(1)][:, -rows:]
    shift = keys.sum(1, keepdim=True) - queries.sum(1, keepdim=True)
    return Positions(queries.cumsum(1) - 1 + shift, keys.cumsum(1) - 1, _inside(queries, 1), _inside(keys, 2))


def of_packed(queries_from: Any, keys_from: Any, rows: int, columns: int) -> Positions:
    """Several sequences one after the other in both axes of the map.

    Args:
        queries_from, keys_from: where each sequence starts, and the end of the last, shape (sequences + 1,).
        rows, columns: the size of the map.
    """
    torch = sys.modules["torch"]
    of_queries, in_queries = _within(queries_from, rows)
    of_keys, in_keys = _within(keys_from, columns)
    shift = (keys_from.diff() - queries_from.diff())[in_queries.clamp(max=queries_from.numel() - 2)]
    count = queries_from.numel() - 1
    return Positions(
        (of_queries + shift)[None],
        of_keys[None],
        torch.where(in_queries < count, in_queries, -1)[None],
        torch.where(in_keys < count, in_keys, -2)[None],
    )


def _within(starts: Any, length: int) -> tuple[Any, Any]:
    """For each token its position within its sequence, and the number of the sequence."""
    torch = sys.modules["torch"]
    token = torch.arange(length, device=starts.device, dtype=starts.dtype)
    number = torch.searchsorted(starts, token, right=True) - 1
    return token - starts[number.clamp(min=0)], number


def _inside(there: Any, outside: int) -> Any:
    """0 where `there` is true, else a negative number."""
    return there.long() * outside - outside


def padded(tensor: Any, starts: Any, longest: int) -> Any:
    """Packed tokens, shape (tokens, ...), as one row for each sequence, shape (sequences, longest, ...), with zeros."""
    torch = sys.modules["torch"]
    column = torch.arange(longest, device=tensor.device)
    there = column < starts.diff()[:, None]
    index = torch.where(there, starts[:-1, None] + column, 0)
    made = tensor[index] if tensor.size(0) else tensor.new_zeros((*index.shape, *tensor.shape[1:]))
    return made.masked_fill(~there.view(*there.shape, *[1] * (tensor.dim() - 1)), 0)


def from_pages(cache: Any, pages: Any) -> Any:
    """A cache in pages, shape (pages, page, ...), as one row for each sequence, shape (batch, keys, ...)."""
    return cache[pages.long()].flatten(1, 2)


def rotated(query: Any, cos: Any, sin: Any, positions: Any, interleaved: bool) -> Any:
    """Queries with the rotary embedding that flash attention applies inside of its kernel.

    Args:
        query: shape (batch, L, heads, width).
        cos, sin: shape (positions, half of the width that is rotated).
        positions: of the queries, shape (batch, L).
        interleaved: whether neighbours form a pair, rather than both halves.
    """
    torch = sys.modules["torch"]
    cos, sin = cos[positions][:, :, None], sin[positions][:, :, None]
    width = 2 * cos.size(-1)
    turned, rest = query[..., :width].to(cos.dtype), query[..., width:]
    first, second = (turned[..., ::2], turned[..., 1::2]) if interleaved else turned.chunk(2, -1)
    pair = first * cos - second * sin, first * sin + second * cos
    made = torch.stack(pair, -1).flatten(-2) if interleaved else torch.cat(pair, -1)
    return torch.cat([made.to(query.dtype), rest], -1)


def allowed(apart: Any, causal: bool, window: tuple[Any, Any]) -> Any:
    """Where a query may attend, by the position of the key relative to it; None if everywhere."""
    made = None
    for bound, sign in ((window[0], -1), (0 if causal else window[1], 1)):
        if bound is not None and bound >= 0:
            within = apart * sign <= bound
            made = within if made is None else made & within
    return made


def minus_infinity(scores: Any, there: Any) -> Any:
    """Scores with minus infinity wherever `there`, shape (batch or 1, R, S), is false."""
    return scores if there is None else scores.masked_fill(~there[:, None], -math.inf)
