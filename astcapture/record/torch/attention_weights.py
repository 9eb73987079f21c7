"""The attention weights of one call of fused attention, computed on demand, in whole or in parts."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

from astcapture.record.kinds import is_a
from astcapture.record.torch import attention
from astcapture.record.torch.blocks import Blocks, Region, as_tensor, block_size, take, unseen
from astcapture.record.torch.tensors import is_tensor
from astcapture.record.torch.transforms import is_wrapped

#: ``(batch, heads, queries, keys, batched)`` of the weights as the calling function sees them, and the ``sinks`` that
#: it adds to the softmax after the call; None if no recipe gives it: the shape in the call applies.
Shape = tuple[Any, Any, Any, Any, Any, Any]
UNKNOWN: Shape = (None, None, None, None, None, None)


class AttentionWeights:
    """In place of the weights of one call; references the call's tensors or copies of them.

    torch.compile traces the creation of this object, so nothing is computed in the constructor.

    Attributes:
        query: shape (..., L, E).
        key: shape (..., S, E).
        value: shape (..., S, Ev), or None if no gradient is needed.
        output: the output of the call, shape (..., L, Ev), or None.
        attn_mask: broadcastable to (..., L, S), boolean or added to the scores; or None.
        is_causal, scale, enable_gqa, dropout_p: as in the call.
        shape: the shape of the weights in the calling function.
    """

    def __init__(
        self,
        query: Any,
        key: Any,
        value: Any = None,
        attn_mask: Any = None,
        dropout_p: Any = 0.0,
        is_causal: Any = False,
        scale: Any = None,
        enable_gqa: Any = False,
        output: Any = None,
        seen_as: Shape = UNKNOWN,
    ) -> None:
        self.query = query
        self.key = key
        self.value = value
        self.attn_mask = attn_mask
        self.dropout_p = dropout_p
        self.is_causal = is_causal
        self.scale = scale
        self.enable_gqa = enable_gqa
        self.output = output
        self.seen_as = seen_as
        self._blocks: Rows | None = None

    @property
    def parts(self) -> tuple[Any, ...]:
        """The tensors that it holds and needs."""
        return tuple(one for one in (self.query, self.key, self.attn_mask) if is_tensor(one))

    @property
    def is_plain(self) -> bool:
        """Whether the tensors are ordinary ones, of which parts can be taken and put into another."""
        torch = sys.modules["torch"]
        own = torch.Tensor.__torch_dispatch__
        return not any(is_wrapped(one) or type(one).__torch_dispatch__ is not own for one in self.parts)

    @property
    def carried(self) -> tuple[Any, ...]:
        """What compiled code has copied for it; `Refused` where it could not."""
        return self.query, self.key, self.attn_mask

    @carried.setter
    def carried(self, values: tuple[Any, ...]) -> None:
        self.query, self.key, self.attn_mask = values

    def sequences(self) -> list[AttentionWeights] | None:
        """Those of each sequence where the query is a nested tensor of several, else None."""
        if not getattr(self.query, "is_nested", False):
            return None
        torch = sys.modules["torch"]
        with torch.no_grad():
            pairs = zip(self.query.detach().unbind(), self.key.detach().unbind(), strict=True)
            return [
                AttentionWeights(query, key, None, self.attn_mask, 0.0, self.is_causal, self.scale, self.enable_gqa)
                for query, key in pairs
            ]

    def formula(self) -> Any:
        """The weights in one go, by operations on the tensors as they are."""
        torch = sys.modules["torch"]
        query, key, mask, groups, keys = _arranged(self, self.query, self.key, self.attn_mask)
        with torch.no_grad():
            made = attention.attention_weights(
                query=query,
                key=key,
                attn_mask=mask,
                is_causal=self.is_causal,
                scale=self.scale,
                enable_gqa=groups > 1,
            )
            rest = keys - made.size(-1)
            return torch.nn.functional.pad(made, (0, rest)) if rest else made

    def blocks(self) -> Rows:
        """The weights, to be computed in parts."""
        if self._blocks is None:
            arranged = _arranged(self, self.query, self.key, self.attn_mask)
            self._blocks = Rows(*arranged, self.scale, bool(self.is_causal))
        return self._blocks

    def of_gradient(self, gradient: Any, value: Any) -> Rows:
        """The gradient of the weights, to be computed in parts, from that of the output, shape (..., L, Ev)."""
        query, key, _, groups, keys = _arranged(self, gradient, value, None)
        return Rows(query, key, None, groups, keys, None, False, softmax=False)

    def for_gradient(self) -> AttentionWeights:
        """Without the tensors of the call, of which the output's graph would be kept alive: for `of_gradient` alone."""
        return AttentionWeights(None, None, enable_gqa=self.enable_gqa, seen_as=self.seen_as)


class UnfusedWeights:
    """In place of weights that the program computed itself, with heads and batch in one axis."""

    def __init__(self, tensor: Any, seen_as: Shape) -> None:
        self.tensor = tensor
        self.seen_as = seen_as

    def seen(self, tensor: Any) -> Any:
        """The weights, or their gradient, in the shape of the calling function."""
        return as_seen(tensor, self.seen_as)


def as_seen(tensor: Any, seen_as: Shape) -> Any:
    """Weights of shape (batch * heads, L, S) as (batch, heads, L, S), or (heads, L, S) without a batch."""
    batch, heads, queries, keys, batched, _ = seen_as
    return tensor.view(batch, heads, queries, keys) if batched else tensor.view(heads, queries, keys)


def is_of_attention(value: Any) -> bool:
    """Whether a value is a placeholder for attention weights."""
    return is_a(value, (AttentionWeights, UnfusedWeights))


def _arranged(weights: AttentionWeights, query: Any, key: Any, mask: Any) -> tuple[Any, Any, Any, int, int]:
    """Query, key and mask with their axes as the function that calls has them; the group of query heads that a head
    of the keys serves; and the number of keys."""
    groups = query.size(-3) // key.size(-3) if weights.enable_gqa and query.dim() > 2 else 1
    if weights.seen_as == UNKNOWN and not hasattr(mask, "_materialize"):
        return query, key, mask, groups, key.size(-2)
    with unseen():
        return _rearranged(query, key, mask, groups, weights.seen_as)


def _rearranged(query: Any, key: Any, mask: Any, groups: int, seen_as: Shape) -> tuple[Any, Any, Any, int, int]:
    _, _, queries, keys, batched, _ = seen_as
    if hasattr(mask, "_materialize"):  # torch.nn.attention.bias.CausalBias
        mask = mask._materialize(query.device)
    if batched is False and query.dim() == 4 and query.size(0) == 1:
        query, key = query[0], key[0]
        mask = mask[0] if mask is not None and mask.dim() == 4 else mask
    elif queries is not None and groups == 1 and _is_packed(query, key, queries):
        groups = query.size(-2) // queries
        mask = None if mask is None else _unpacked_mask(mask, query.size(-3), groups, queries)
        query = query.reshape(*query.shape[:-3], query.size(-3) * groups, queries, query.size(-1))
    return query, key, mask, groups, max(key.size(-2), keys or 0)


def _is_packed(query: Any, key: Any, queries: int) -> bool:
    """Whether the heads that share a key head are in the axis of the queries."""
    length = query.size(-2)
    return bool(query.dim() > 2 and length != queries and length % queries == 0 and key.dim() > 2)


def _unpacked_mask(mask: Any, kv_heads: int, groups: int, queries: int) -> Any:
    if mask.dim() < 2 or mask.size(-2) == 1:  # the same for every row
        return mask.repeat_interleave(groups, -3) if mask.dim() > 2 and mask.size(-3) > 1 else mask
    lead = mask.shape[:-3]
    spread = mask.expand(*lead, kv_heads, *mask.shape[-2:])
    return spread.reshape(*lead, kv_heads * groups, queries, mask.size(-1))


class Rows(Blocks):
    """Attention weights, or their gradient, of shape (..., L, S), by blocks of the leading axes and of rows."""

    def __init__(
        self,
        query: Any,
        key: Any,
        mask: Any,
        groups: int,
        keys: int,
        scale: Any,
        is_causal: bool,
        softmax: bool = True,
    ) -> None:
        """Args:
        query: shape (..., heads, L, E).
        key: shape (..., heads / groups, S, E).
        mask: broadcastable to (..., L, S), or None.
        groups: the query heads that one head of the keys serves.
        keys: S of the result; the keys from that of `key` on have weight 0.
        scale, is_causal: as in the call.
        softmax: whether the products are softmaxed.
        """
        torch = sys.modules["torch"]
        self._query, self._key, self._mask, self._groups = query, key, mask, groups
        self._scale, self._is_causal, self._softmax = scale, is_causal, softmax
        lead = list(key.shape[:-2])
        if groups > 1:
            lead[-1] *= groups
        known = {tuple(lead), tuple(query.shape[:-2]), *([] if mask is None else [tuple(mask.shape[:-2])])}
        lead = list(known.pop() if len(known) == 1 else torch.broadcast_shapes(*known))
        self.shape = (*lead, query.size(-2), keys)
        self.dtype, self.device = query.dtype, query.device
        self.apart = (*[True] * (len(self.shape) - 1), False)
        self.most = block_size(math.prod(self.shape))

    def cost(self, region: Region) -> int:
        return math.prod(len(one) for one in region[:-1]) * self.shape[-1]

    def block(self, region: Region) -> Any:
        torch = sys.modules["torch"]
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            made = self._rows(region)
            if made.shape[:-1] != tuple(map(len, region[:-1])):
                made = made.expand(*map(len, region[:-1]), -1)
            if made.size(-1) < self.shape[-1]:
                made = torch.nn.functional.pad(made, (0, self.shape[-1] - made.size(-1)))
            return take(made, made.dim() - 1, region[-1])

    def _rows(self, region: Region) -> Any:
        *lead, rows, _ = region
        query = take(_part(self._query, lead), self._query.dim() - 2, rows)
        key = _part(self._key, lead, self._groups)
        if self._softmax:
            return self._weights(query, key, lead, rows)
        return (query.float() @ key.float().mT).to(self.dtype) if self.dtype.itemsize == 2 else query @ key.mT

    def _weights(self, query: Any, key: Any, lead: Sequence[Sequence[int]], rows: Sequence[int]) -> Any:
        mask = self._mask_of(lead, rows)
        return attention.attention_weights(query=query, key=key, attn_mask=mask, scale=self._scale)

    def _mask_of(self, lead: Sequence[Sequence[int]], rows: Sequence[int]) -> Any:
        mask = self._mask
        if mask is not None:
            mask = _part(mask, lead)
            mask = mask if mask.dim() < 2 or mask.size(-2) == 1 else take(mask, mask.dim() - 2, rows)
        if not self._is_causal:
            return mask
        torch = sys.modules["torch"]
        last = as_tensor(rows, self.device)
        seen = torch.arange(self._key.size(-2), device=self.device) <= last[:, None]
        if mask is None:
            return seen
        return mask & seen if mask.dtype == torch.bool else torch.where(seen, mask, -math.inf)


def _part(tensor: Any, lead: Sequence[Sequence[int]], groups: int = 1) -> Any:
    """A part of a tensor along its leading axes, which are broadcast to those that `lead` has positions for."""
    for axis in range(tensor.dim() - 2):
        positions = lead[axis - (tensor.dim() - 2) + len(lead)]
        if groups > 1 and axis == tensor.dim() - 3:
            positions = _of_groups(positions, groups)
        if tensor.size(axis) != 1:
            tensor = take(tensor, axis, positions)
    return tensor


def _of_groups(heads: Sequence[int], groups: int) -> Sequence[int]:
    """The heads of the keys that serve these query heads; one of them is broadcast."""
    serving = [head // groups for head in heads]
    return range(serving[0], serving[0] + 1) if serving and len(set(serving)) == 1 else serving
