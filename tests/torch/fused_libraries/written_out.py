"""Attention written out query by query, for the stand-ins of libraries that need a GPU.

The stand-ins beside this file have the signatures that the libraries document and compute this. `seen` has the weights
of the last call: for each sequence a tensor of shape (heads, queries, keys).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

seen: list[torch.Tensor] = []

Rule = Callable[[int, int, int, torch.Tensor], Any]


def attend(q: Any, k: Any, v: Any, scale: Any, rule: Rule, sinks: Any = None) -> torch.Tensor:
    """One sequence: q of shape (queries, heads, width), k and v of shape (keys, fewer heads, width).

    `rule(head, i, j, score)` gives the score that goes into the softmax, or None where query i may not see key j.
    """
    queries, heads, width = q.shape
    keys, shared = k.shape[0], heads // k.shape[1]
    scale = width**-0.5 if scale is None else scale
    maps = []
    for head in range(heads):
        rows = []
        for i in range(queries):
            scores = [
                rule(head, i, j, (q[i, head].float() @ k[j, head // shared].float()) * scale) for j in range(keys)
            ]
            exps = [torch.zeros(()) if score is None else torch.exp(score) for score in scores]
            total = sum(exps, torch.zeros(())) + (0 if sinks is None else torch.exp(sinks[head].float()))
            rows.append(torch.stack([one / total if total > 0 else one for one in exps]) if keys else torch.zeros(0))
        maps.append(torch.stack(rows) if rows else torch.zeros(0, keys))
    weights = torch.stack(maps)
    if weights.requires_grad:
        weights.retain_grad()
    seen.append(weights)
    outputs = [weights[head].to(v.dtype) @ v[:, head // shared] for head in range(heads)]
    return torch.stack(outputs, 1).to(q.dtype)


def flash_rule(
    queries: int,
    keys: int,
    causal: bool,
    window: tuple[int, int],
    softcap: float = 0.0,
    slopes: Any = None,
    first_key: int = 0,
) -> Rule:
    """Flash attention's documented rules, for one sequence."""
    left, right = window

    def rule(head: int, i: int, j: int, score: torch.Tensor) -> Any:
        at = i + keys - queries
        if j < first_key or (causal and j > at) or (left >= 0 and j < at - left):
            return None
        if right >= 0 and j > at + right:
            return None
        if softcap > 0:
            score = softcap * torch.tanh(score / softcap)
        return score if slopes is None else score - slopes[head] * abs(at - j)

    return rule
