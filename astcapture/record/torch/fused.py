"""Records the attention weights of one call: all of them, or the result of the user's ``reduce=``.

The counterpart of `conversion.convert` for a value that is not computed yet. Memory is requested before computing it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from astcapture.record.options import Conversion
from astcapture.record.torch.attention_weights import AttentionWeights, UnfusedWeights
from astcapture.record.torch.blocks import Blocks, evaluate, unseen
from astcapture.record.torch.conversion import convert, keep, without_autocast
from astcapture.record.torch.dtypes import COMPLEX
from astcapture.record.torch.stand_in import NoRoom, reduced
from astcapture.record.torch.tracing import check_run
from astcapture.record.torch.transforms import is_wrapped

#: Called with a number of bytes; returns whether there is room for them.
Room = Callable[[int], bool]


def size_of_weights(weights: AttentionWeights, how: Conversion) -> int:
    """The size of all weights of a call after conversion, in bytes."""
    check_run(weights.query)
    sequences = weights.sequences()
    if sequences is not None:
        return sum(size_of_weights(one, how) for one in sequences)
    return size_of_blocks(weights.blocks(), how)


def converted(weights: AttentionWeights | UnfusedWeights, how: Conversion, room: Room) -> Any:
    """The weights, converted as `how` says. Without a reduction, the caller has already requested the memory.

    Raises:
        NoRoom: there is not enough memory for the reduce function.
        Exception: an error of that function, or of torch.
    """
    if isinstance(weights, UnfusedWeights):
        check_run(weights.tensor)
        return convert(weights.seen(weights.tensor), how)
    check_run(weights.query)
    sequences = weights.sequences()
    if sequences is not None:
        return tuple(converted(one, how, room) for one in sequences)
    if weights.is_plain:
        blocks = weights.blocks()
        if how.reduce is None and blocks.is_one_block:
            # Most maps are small: computing them at once takes half the time of finding their single block.
            with unseen():
                return keep(weights.formula(), how, fresh=True)
        return converted_blocks(blocks, how, room)
    if how.reduce is not None and not room(_size_if_plain(weights)):
        raise NoRoom
    return convert(weights.formula(), how, own=True)


def _size_if_plain(weights: AttentionWeights) -> int:
    return 0 if any(map(is_wrapped, weights.parts)) else weights.blocks().nbytes


def converted_blocks(blocks: Blocks, how: Conversion, room: Room) -> Any:
    """Like `converted`, for a tensor that `blocks` computes."""
    torch = sys.modules["torch"]
    how = replace(how, copy=True)  # used nowhere else
    with torch.no_grad(), without_autocast(torch, blocks.device.type):
        if how.reduce is None:
            return keep(evaluate(blocks, _dtype(blocks, how)), how, fresh=True)
        made, fresh = reduced(blocks, how.reduce, room)
        return keep(made, how, fresh=fresh)


def size_of_blocks(blocks: Blocks, how: Conversion) -> int:
    """The size of the whole tensor after conversion, in bytes."""
    dtype = _dtype(blocks, how)
    return blocks.nbytes if dtype is None else blocks.nbytes * int(dtype.itemsize) // int(blocks.dtype.itemsize)


def _dtype(blocks: Blocks, how: Conversion) -> Any:
    """The dtype for the result if it differs; as `conversion.dtype_of`."""
    if how.dtype is None or not (blocks.dtype.is_complex if how.dtype in COMPLEX else blocks.dtype.is_floating_point):
        return None
    return getattr(sys.modules["torch"], how.dtype)
