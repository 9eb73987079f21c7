"""One map, or one layer's maps, out of an attention array. Pure array functions."""

from __future__ import annotations

import numpy as np

from astcapture.plot.arrays import FloatArray


def one_map(attention: FloatArray, *, batch: int | None = None, head: int | None = None) -> FloatArray:
    """Return the (queries, keys) map of one head of one example.

    Args:
        attention: (queries, keys), (heads, queries, keys) or (batch, heads, queries, keys).
        batch: the example; may be left out where there is one.
        head: the head; may be left out where there is one.

    Raises:
        ValueError: any other shape, an index out of range, or a choice that is not made.

    >>> import numpy as np
    >>> one_map(np.zeros((2, 4, 9, 9)), batch=1, head=3).shape
    (9, 9)
    """
    if attention.ndim == 2 and batch is None and head is None:
        return _not_empty(attention)
    layer = layer_maps(attention, batch=batch)
    if attention.ndim == 2:
        raise ValueError(f"head={head} was given, and attention of shape {attention.shape} has no axis of heads")
    return _pick(layer, head, axis="head", shape=attention.shape)


def layer_maps(attention: FloatArray, *, batch: int | None = None) -> FloatArray:
    """Return the (heads, queries, keys) maps of one example; a single map becomes one head.

    Args:
        attention: (queries, keys), (heads, queries, keys) or (batch, heads, queries, keys).
        batch: the example; may be left out where there is one.

    Raises:
        ValueError: any other shape, an index out of range, or a choice that is not made.

    >>> import numpy as np
    >>> layer_maps(np.zeros((9, 9))).shape
    (1, 9, 9)
    """
    _not_empty(attention)
    if attention.ndim == 4:
        return _pick(attention, batch, axis="batch", shape=attention.shape)
    if batch is not None:
        raise ValueError(
            f"batch={batch} was given, and attention of shape {attention.shape} has no batch axis: "
            "(batch, heads, queries, keys) is accepted with batch="
        )
    return attention if attention.ndim == 3 else attention[None]


def head_or_mean(
    attention: FloatArray, *, batch: int | None, head: int | None, is_square: bool = True
) -> tuple[FloatArray, str]:
    """Return the (queries, keys) weights, the same tokens unless said otherwise, and in words which they are."""
    if is_square:
        square(attention)
    if head is not None:
        return one_map(attention, batch=batch, head=head), f"head {head}"
    maps = layer_maps(attention, batch=batch)
    return maps.mean(axis=0), f"mean of {len(maps)} heads" if len(maps) > 1 else "one head"


def square(attention: FloatArray) -> FloatArray:
    """Return attention of as many queries as keys.

    Raises:
        ValueError: any other.
    """
    if attention.ndim >= 2 and attention.shape[-1] != attention.shape[-2]:
        raise ValueError(
            f"attention of shape {attention.shape} is not from tokens to the same tokens; accepted are "
            "(tokens, tokens), (heads, tokens, tokens) and (batch, heads, tokens, tokens). A decoding step and cross "
            "attention are drawn by head, heads, layers, compare and tokens(queries=); one query's weights over the "
            "patches of an image by overlay(weights.reshape(rows, columns), image); the steps of a loop are put "
            "together by formulas.join_steps"
        )
    return attention


def _not_empty(attention: FloatArray) -> FloatArray:
    if attention.ndim not in (2, 3, 4):
        raise ValueError(
            f"attention has shape {attention.shape}; accepted are (queries, keys), (heads, queries, keys) "
            "and (batch, heads, queries, keys)"
        )
    if attention.size == 0:
        raise ValueError(f"attention of shape {attention.shape} is empty: there is nothing to draw")
    return attention


def _pick(maps: FloatArray, index: int | None, *, axis: str, shape: tuple[int, ...]) -> FloatArray:
    count = len(maps)
    if index is None:
        if count == 1:
            return np.asarray(maps[0])
        index_range = f"{axis}=0 to {axis}={count - 1}"
        raise ValueError(f"attention of shape {shape} has {count} along its {axis} axis: pick one, {index_range}")
    if not -count <= index < count:
        raise ValueError(f"{axis}={index} is outside attention of shape {shape}: {axis} goes from 0 to {count - 1}")
    return np.asarray(maps[index])
