"""How the calls of each family of fused attention become queries, keys and a rule for their scores.

For each family a function takes the arguments that `fused_calls.parts_of` has returned and gives an `Arranged`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from astcapture.record.torch import flex, positions
from astcapture.record.torch.blocks import as_tensor, take
from astcapture.record.torch.fused_calls import FLASH, FLEX, PADDED, XFORMERS
from astcapture.record.torch.positions import Positions

#: From scores, the positions along the leading axes and the rows, to the scores before the softmax.
Change = Callable[[Any, Sequence[Sequence[int]], Sequence[int]], Any]
Call = dict[str, Any]


@dataclass
class Arranged:
    """Queries and keys as the map has them, and what a call does to their products.

    Attributes:
        query: shape (batch, heads, L, E).
        key: shape (batch, heads / groups, S, E).
        scale: of the products; ``1 / sqrt(E)`` if None.
        groups: the query heads that one head of the keys serves.
        changed: the rule.
        as_query, as_key: bring a tensor of the layout of the call's output, or of its values, into the one above.
        sinks: a score for each head that takes its share of the softmax and is left out, shape (heads,); or None.
    """

    query: Any
    key: Any
    scale: Any
    groups: int
    changed: Change
    as_query: Callable[[Any], Any]
    as_key: Callable[[Any], Any]
    sinks: Any = None


def _as_is(tensor: Any) -> Any:
    return tensor


def _heads_first(tensor: Any) -> Any:
    """From (batch, tokens, heads, width), or without heads, or with groups of them, to tokens before the width."""
    return tensor.movedim(1, -2)


def _flex(call: Call) -> Arranged:
    query, key = call["query"].detach(), call["key"].detach()
    rule = flex.rule(call, key.size(-2))
    return Arranged(query, key, call["scale"], _groups(query, key), rule, _as_is, _as_is, call.get("sinks"))


def _groups(query: Any, key: Any) -> int:
    return int(query.size(-3) // key.size(-3))


# --- flash attention: (batch, tokens, heads, width), or packed (tokens, heads, width)


def _flash(call: Call) -> Arranged:
    query, key = call["query"].detach(), call["key"].detach()
    queries_from, keys_from = call["queries_from"], call["keys_from"]
    rows, columns = _length(queries_from, query), _length(keys_from, key)

    def as_query(tensor: Any) -> Any:
        return _heads_first(tensor if queries_from is None else positions.padded(tensor, queries_from, rows))

    def as_key(tensor: Any) -> Any:
        if call["pages"] is not None:
            tensor = positions.from_pages(tensor, call["pages"])
        elif keys_from is not None:
            tensor = positions.padded(tensor, keys_from, columns)
        if call["rows_of_cache"] is not None:
            tensor = tensor[call["rows_of_cache"].long()]
        return _heads_first(tensor)

    keys = as_key(key)
    where = _places(call, int(query.size(0)) if queries_from is None else int(queries_from.numel()) - 1, rows, keys)
    turned = as_query(query)
    if call["cos"] is not None:
        turned = _rotated(turned, call, where, rows)
    return Arranged(
        turned, keys, call["scale"], _groups(turned, keys), _flash_rule(call, call["window"], where), as_query, as_key,
        call["sinks"],
    )  # fmt: skip


def _length(starts: Any, tensor: Any) -> int:
    """The tokens of the longest sequence."""
    if starts is None:
        return int(tensor.size(1))
    return int(starts.diff().max()) if starts.numel() > 1 else 0


def _places(call: Call, batch: int, rows: int, keys: Any) -> Positions:
    columns, device = int(keys.size(-2)), keys.device
    queries_from, keys_from, used = call["queries_from"], call["keys_from"], call["keys_used"]
    if queries_from is None and keys_from is None and used is None and call["queries_used"] is None:
        if call["first_keys"] is None:
            return positions.aligned(rows, columns, device)
        used = columns
    queries = _lengths(call["queries_used"], queries_from, batch, rows, device)
    lengths = _lengths(used, keys_from, batch, columns, device)
    if used is not None:
        lengths = lengths + call["keys_new"]
    return positions.of_lengths(queries, lengths, rows, columns, call["first_keys"])


def _lengths(used: Any, starts: Any, batch: int, whole: int, device: Any) -> Any:
    torch = sys.modules["torch"]
    if used is not None and type(used) is not int:
        return used.long()
    if used is None and starts is not None:
        return starts.diff().long()
    return torch.full((batch,), whole if used is None else used, dtype=torch.long, device=device)


def _rotated(query: Any, call: Call, where: Positions, rows: int) -> Any:
    torch = sys.modules["torch"]
    at = where.of_queries.expand(query.size(0), rows)
    if not call["causal"] and _is_open(call["window"]):
        at = at[:, :1].expand_as(at)  # all of them are where the first one is
    turned = positions.rotated(query.transpose(1, 2), call["cos"], call["sin"], at.to(torch.long), call["interleaved"])
    return turned.transpose(1, 2)


def _is_open(window: tuple[Any, Any]) -> bool:
    return all(bound is None or bound < 0 for bound in window)


def _flash_rule(call: Call, window: tuple[Any, Any], where: Positions) -> Change:
    torch = sys.modules["torch"]
    softcap, slopes, causal = call["softcap"], call["alibi_slopes"], call["causal"]

    def changed(scores: Any, lead: Sequence[Sequence[int]], rows: Sequence[int]) -> Any:
        batch, heads = lead
        if softcap and softcap > 0:
            scores = torch.tanh(scores / softcap) * softcap
        apart, together = where.part(batch, rows)
        if slopes is not None:
            of_heads = slopes.detach() if slopes.dim() == 2 else slopes.detach()[None]
            of_heads = take(of_heads if of_heads.size(0) == 1 else take(of_heads, 0, batch), 1, heads)
            scores = scores - of_heads[:, :, None, None] * apart.abs()[:, None]
        scores = positions.minus_infinity(scores, together)
        return positions.minus_infinity(scores, positions.allowed(apart, causal, window))

    return changed


# --- transformers' function around flash attention: (batch, tokens, heads, width), padded


def _padded(call: Call) -> Arranged:
    torch = sys.modules["torch"]
    query, key, pages = call["query"].detach(), call["key"].detach(), call["pages"]
    if call["dtype"] is not None and query.dtype == torch.float32:
        query, key = query.to(call["dtype"]), key.to(call["dtype"])
    window = (-1, -1)
    if call["window"] is not None and key.size(1) > call["window"]:
        window = (call["window"] - 1, call["window"] - 1)
    if pages is not None and call["key_cache"] is not None:
        return _paged(call, query, window)
    as_query = as_key = _heads_first
    if (
        call["mask"] is None
        and call["is_packed"]
        and call["queries_from"] is not None
        and call["keys_from"] is not None
    ):
        # One sequence after the other, whatever the batch.
        as_query = as_key = _all_in_one
    queries, keys = as_query(query), as_key(key)
    where = _padded_places(call, int(query.size(0)), int(queries.size(-2)), int(keys.size(-2)), keys.device)
    rule = _flash_rule(call, window, where)
    return Arranged(queries, keys, call["scale"], _groups(queries, keys), rule, as_query, as_key, call["sinks"])


def _all_in_one(tensor: Any) -> Any:
    return tensor.flatten(0, 1).transpose(0, 1)[None]


def _padded_places(call: Call, batch: int, rows: int, columns: int, device: Any) -> Positions:
    torch = sys.modules["torch"]
    if call["mask"] is not None:
        return positions.of_mask(call["mask"], rows, columns)
    if call["is_packed"] and call["queries_from"] is not None and call["keys_from"] is not None:
        return positions.of_packed(call["queries_from"].long(), call["keys_from"].long(), rows, columns)
    numbers = call["positions"]
    if numbers is None or batch != 1 or numbers.size(-1) == 1:
        return positions.aligned(rows, columns, device)
    numbers = numbers.reshape(-1)
    # Each sequence starts at the smallest position.
    starts = (numbers == numbers.min()).nonzero().flatten()
    if starts.numel() == 1 and bool((numbers.diff() == 1).all()):
        return positions.aligned(rows, columns, device)
    starts = torch.cat([starts, starts.new_tensor([numbers.numel()])])
    return positions.of_packed(starts, starts, rows, columns)


def _paged(call: Call, query: Any, window: tuple[Any, Any]) -> Arranged:
    """One query for each sequence, whose keys are in pages."""
    query = query.reshape(-1, 1, *query.shape[-2:])
    used = call["keys_from"].diff()[: query.size(0)].long()

    def as_query(tensor: Any) -> Any:
        return _heads_first(tensor.reshape(-1, 1, *tensor.shape[-2:]))

    def as_key(tensor: Any) -> Any:
        return _heads_first(positions.from_pages(tensor, call["pages"][: query.size(0)]))

    keys = as_key(call["key_cache"].detach())
    where = positions.of_lengths(used.new_ones(used.shape), used, 1, int(keys.size(-2)))
    queries, rule = as_query(query), _flash_rule(call, window, where)
    return Arranged(queries, keys, call["scale"], _groups(queries, keys), rule, as_query, as_key, call["sinks"])


# --- xformers: (batch, tokens, heads, width), or without heads, or with groups of them


def _xformers(call: Call) -> Arranged:
    query, key = _heads_first(call["query"].detach()), _heads_first(call["key"].detach())
    bias = call["bias"]
    if bias is not None and hasattr(bias, "materialize"):
        # Only a bias that holds a tensor differs between heads.
        lead = query.shape[:-2] if hasattr(bias, "_bias") else [1] * (query.dim() - 2)
        bias = bias.materialize((*lead, query.size(-2), key.size(-2)), device=query.device)

    def changed(scores: Any, lead: Sequence[Sequence[int]], rows: Sequence[int]) -> Any:
        if bias is None:
            return scores
        part = bias.detach()
        for axis, chosen in enumerate((*lead, rows), part.dim() - scores.dim()):
            if axis >= 0 and part.size(axis) != 1:
                part = part.index_select(axis, as_tensor(chosen, part.device))
        return scores + part.to(scores.dtype)

    return Arranged(query, key, call["scale"], 1, changed, _heads_first, _heads_first)


ARRANGE: dict[str, Callable[[Call], Arranged]] = {FLEX: _flex, FLASH: _flash, PADDED: _padded, XFORMERS: _xformers}
