"""The attention weights of one call of flex attention, flash attention or xformers, computed on demand."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

from astcapture.record.torch.arranged import ARRANGE, Arranged
from astcapture.record.torch.attention_weights import AttentionWeights, Rows
from astcapture.record.torch.blocks import evaluate, take, unseen, whole
from astcapture.record.torch.tensors import is_tensor


class CallWeights(AttentionWeights):
    """In place of the weights of one call; references the call's arguments or copies of them.

    Attributes:
        kind: the family of the callee, as in `fused_calls`.
        call: the arguments, as `fused_calls.parts_of` returns them.
    """

    def __init__(self, kind: str, call: dict[str, Any], output: Any = None) -> None:
        super().__init__(call["query"], call["key"], call.get("value"), None, call.get("dropout_p", 0.0), output=output)
        self.kind = kind
        self.call = call

    @property
    def parts(self) -> tuple[Any, ...]:
        return tuple(one for one in _flat(self.call.values()) if is_tensor(one))

    @property
    def carried(self) -> tuple[Any, ...]:
        return tuple(self.call.values())

    @carried.setter
    def carried(self, values: tuple[Any, ...]) -> None:
        self.call = dict(zip(self.call, values, strict=True))
        self.query, self.key = self.call["query"], self.call["key"]

    def sequences(self) -> None:
        return None

    def formula(self) -> Any:
        blocks = self.blocks()
        return evaluate(blocks) if self.is_plain else blocks.block(whole(blocks.shape))

    def blocks(self) -> Rows:
        if self._blocks is None:
            with unseen():
                self._blocks = Scored(ARRANGE[self.kind](self.call))
        return self._blocks

    def of_gradient(self, gradient: Any, value: Any) -> Rows:
        with unseen():
            arranged = ARRANGE[self.kind](self.call)
            query, key = arranged.as_query(gradient), arranged.as_key(value)
        return Rows(query, key, None, arranged.groups, key.size(-2), None, False, softmax=False)

    def for_gradient(self) -> CallWeights:
        call = {name: _detached(value) for name, value in self.call.items() if name not in ("value", "score_mod")}
        return CallWeights(self.kind, call)


class Scored(Rows):
    """Attention weights of shape (batch, heads, L, S) whose scores are changed by a rule before the softmax."""

    def __init__(self, arranged: Arranged) -> None:
        query, key = arranged.query, arranged.key
        super().__init__(query, key, None, arranged.groups, key.size(-2), arranged.scale, False)
        self._changed, self._sinks = arranged.changed, arranged.sinks

    def _weights(self, query: Any, key: Any, lead: Sequence[Sequence[int]], rows: Sequence[int]) -> Any:
        torch = sys.modules["torch"]
        if query.dtype.itemsize == 2:
            query, key = query.float(), key.float()
        scale = self._scale
        scores = query @ key.mT * (1 / math.sqrt(query.size(-1)) if scale is None else scale)
        scores = self._changed(scores, lead, rows)
        softmax = torch.ops.aten._safe_softmax if hasattr(torch, "_safe_softmax") else torch.softmax
        if self._sinks is None:
            return softmax(scores, -1).to(self.dtype)
        sinks = take(self._sinks.detach().to(scores.dtype), 0, lead[-1])[:, None, None].expand(*scores.shape[:-1], 1)
        return softmax(torch.cat([scores, sinks], -1), -1)[..., :-1].to(self.dtype)


def _flat(values: Any) -> list[Any]:
    found: list[Any] = []
    for value in values:
        found += _flat(value) if type(value) is tuple else [value]
    return found


def _detached(value: Any) -> Any:
    if type(value) is tuple:
        return tuple(map(_detached, value))
    return value.detach() if is_tensor(value) else value
