"""What flex attention does to scores: its ``score_mod``, ``mask_mod`` and block mask.

Both functions are of single numbers. ``vmap`` applies them to a block, as torch's own unfused path does.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from astcapture.record.torch.blocks import as_tensor, take

#: The functions of calls that compiled code makes, as graphs; by their number.
graphs: list[tuple[Any, Any]] = []


def block_mask_of(mask: Any) -> tuple[Any, ...] | None:
    """What of a ``BlockMask`` decides which blocks a compiled kernel computes; None without one."""
    if mask is None:
        return None
    size = mask.BLOCK_SIZE
    return (
        mask.kv_num_blocks, mask.kv_indices, mask.full_kv_num_blocks, mask.full_kv_indices, size[0], size[1]
    )  # fmt: skip


def functions_of(call: dict[str, Any]) -> tuple[Any, Any, tuple[Any, ...], tuple[Any, ...]]:
    """The functions for scores and for the mask, and the tensors that they are given besides, each possibly none."""
    number = call.get("graphs")
    if number is not None:
        return (*graphs[number], call["score_tensors"], call["mask_tensors"])
    return call.get("score_mod"), getattr(call.get("block_mask"), "mask_mod", None), (), ()


def rule(call: dict[str, Any], keys: int) -> Callable[[Any, Sequence[Sequence[int]], Sequence[int]], Any]:
    """The rule for scores of shape (batch, heads, R, keys), of the leading positions and rows that it is given."""
    torch = sys.modules["torch"]
    score_mod, mask_mod, score_tensors, mask_tensors = functions_of(call)
    blocks = call.get("blocks")

    def changed(scores: Any, lead: Sequence[Sequence[int]], rows: Sequence[int]) -> Any:
        device = scores.device
        where = [*(as_tensor(one, device) for one in (*lead, rows)), torch.arange(keys, device=device)]
        there = None if blocks is None else _of_blocks(blocks, lead, where[2:])
        with _as_the_program():
            if score_mod is not None:
                scores = _over_all(score_mod, True, len(score_tensors))(scores, *where, *score_tensors).to(scores.dtype)
            if mask_mod is not None:
                seen = _over_all(mask_mod, False, len(mask_tensors))(*where, *mask_tensors)
                there = seen if there is None else (seen & there[0]) | there[1]
            elif there is not None:
                there = there[0] | there[1]
        return scores if there is None else torch.where(there, scores, -math.inf)

    return changed


def _over_all(function: Any, of_scores: bool, others: int) -> Any:
    """A function of single numbers as one of a block, over batch, heads, rows and keys."""
    torch = sys.modules["torch"]
    for axis in (3, 2, 1, 0):
        places = tuple(0 if one == axis else None for one in range(4))
        function = torch.vmap(function, in_dims=((0,) if of_scores else ()) + places + (None,) * others)
    return function


class _as_the_program(ExitStack):
    """Where the user's function runs: an index may be a tensor, which torch handles by a mode of its own."""

    def __enter__(self) -> Any:
        super().__enter__()
        home = sys.modules.get("torch._dynamo._trace_wrapped_higher_order_op")
        if home is not None:
            self.enter_context(sys.modules["torch"]._C._EnableTorchFunction())
            self.enter_context(home.TransformGetItemToIndex())
        return self


def _of_blocks(blocks: tuple[Any, ...], lead: Sequence[Sequence[int]], where: Sequence[Any]) -> tuple[Any, Any]:
    """Where a kernel asks the mask, and where a full block needs none; shape (batch or 1, heads or 1, R, S)."""
    torch = sys.modules["torch"]
    count, index, full_count, full_index, rows_of_block, keys_of_block = blocks
    rows, keys = where[0] // rows_of_block, where[1] // keys_of_block
    partial = _chosen(_dense(count, index), lead)
    partial = partial.index_select(2, rows).index_select(3, keys)
    if full_count is None:
        return partial, torch.zeros_like(partial)
    return partial, _chosen(_dense(full_count, full_index), lead).index_select(2, rows).index_select(3, keys)


def _chosen(dense: Any, lead: Sequence[Sequence[int]]) -> Any:
    for axis, positions in enumerate(lead):
        if dense.size(axis) != 1:
            dense = take(dense, axis, positions)
    return dense


def _dense(count: Any, index: Any) -> Any:
    """Which blocks are listed: from their number in each row and their columns to one bool for each block."""
    torch = sys.modules["torch"]
    columns = index.size(-1)
    listed = torch.where(torch.arange(columns, device=index.device) < count[..., None], index, columns)
    made = torch.zeros((*index.shape[:-1], columns + 1), dtype=torch.bool, device=index.device)
    return made.scatter_(-1, listed.long(), True)[..., :columns]
