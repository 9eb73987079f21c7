"""What a captured value is: attention, another map, a row of numbers, or the channels of a feature map."""

from __future__ import annotations

import re
from math import prod
from typing import Literal, NamedTuple, get_args

import numpy as np

from astcapture.view.scale import Floats, mark

Kind = Literal["attention", "map", "strip", "channels"]
KINDS: tuple[Kind, ...] = get_args(Kind)

#: Names of attention weights, and of what becomes attention: scores before softmax.
_WEIGHTS = re.compile(r"attn|attention|weights?\b|prob", re.I)
_SCORES = re.compile(r"attn|attention|score|sim\b|similarity|logit|energy|dots", re.I)
#: The share of sampled rows that must sum to one.
_MOST = 0.9


class Form(NamedTuple):
    """The axes of a value: it has examples, of each as many heads, each a map of (rows, columns)."""

    batch: int
    heads: int
    rows: int
    columns: int


def form_of(shape: tuple[int, ...], kind: Kind, *, heads: bool) -> Form:
    """The axes of a value of this shape.

    Args:
        shape: of the value.
        kind: what it is.
        heads: whether the first axis of three is heads, else examples.

    >>> form_of((2, 4, 9, 9), "attention", heads=True), form_of((2, 9, 64), "map", heads=False)
    (Form(batch=2, heads=4, rows=9, columns=9), Form(batch=2, heads=1, rows=9, columns=64))
    """
    if len(shape) < 2:
        return Form(1, 1, 1, prod(shape))
    *leading, rows, columns = shape
    if len(leading) == 1 and not heads and kind != "channels":
        return Form(leading[0], 1, rows, columns)
    return Form(prod(leading[:-1]), leading[-1] if leading else 1, rows, columns)


def kind_of(sample: Floats, shape: tuple[int, ...], label: str, *, beside_attention: bool = False) -> Kind:
    """What a value is, by its shape, some of its rows, and its name.

    Args:
        sample: (rows, columns), rows of the value.
        shape: of the value.
        label: its name, with that of its function and layer.
        beside_attention: whether another value of this shape in the same function is attention.

    >>> kind_of(np.full((3, 4), 0.25), (1, 2, 3, 4), "attn")
    'attention'
    >>> kind_of(np.array([[-1.0, 2.0, 7.0]]), (1, 512, 7, 3), "x"), kind_of(np.ones((1, 9)), (9,), "logits")
    ('channels', 'strip')
    """
    if len(shape) < 2:
        return "strip"
    if is_attention(sample, named=bool(_WEIGHTS.search(label)) and not re.search("score|logit", label, re.I)):
        return "attention"
    if len(shape) == 4 and not (beside_attention or _SCORES.search(label) or _cancels(sample)):
        return "channels"
    return "map"


def names_heads(kind: Kind, shape: tuple[int, ...], label: str) -> bool:
    """Whether the first axis of a value of three is heads, else examples: of attention, and of square scores."""
    return kind == "attention" or (len(shape) == 3 and shape[-1] == shape[-2] and bool(_SCORES.search(label)))


def is_attention(sample: Floats, *, named: bool) -> bool:
    """Whether rows are shares: hardly a negative one, and nearly all rows sum to one, or to nothing.

    Under a name of attention, dropout may have scaled them.

    >>> is_attention(np.array([[0.5, 0.5], [0.0, 0.0]]), named=False)
    True
    """
    marked = mark(sample)
    fine = np.ones(len(sample), bool) if marked.marks is None else ~(marked.marks > 0).any(axis=1)
    rows = marked.values[fine]
    if not rows.size or rows.shape[1] < 2:
        return bool(named and rows.size and rows.min() >= 0 and rows.max() <= 1.02)
    with np.errstate(over="ignore"):
        sums = rows.sum(axis=1)
    if not (sums != 0).any():
        return False
    shares = (rows >= 0).all(axis=1) & ((np.abs(sums - 1) <= 0.02) | (sums == 0))
    if shares.mean() >= _MOST:
        return True
    return bool(named and (rows >= 0).all() and 0.5 <= sums[sums > 0].mean() <= 1.5 and rows.max() <= 3)


def _cancels(sample: Floats) -> bool:
    """Whether rows sum to nothing, as those of a difference of attention do."""
    values = mark(sample).values
    total = np.abs(values).sum(axis=1)
    return bool(total.any() and (np.abs(values.sum(axis=1)) <= 1e-6 + 0.02 * total).all())
