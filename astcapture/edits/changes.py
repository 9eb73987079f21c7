"""Ready-made edits: zero, scale, add, replace, clamp, mean and project_out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from astcapture.edits.held import Held, in_words, is_tensor
from astcapture.edits.ready_made import ReadyMade, WithValue, dtype_of, label_of, rank
from astcapture.edits.slices import Chosen, Slices
from astcapture.errors import EditError


class _Zero(ReadyMade):
    def changed(self, part: Any, value: Any, site: Any) -> Any:
        return 0


class _Scale(WithValue):
    makes_new = True

    def changed(self, part: Any, value: Any, site: Any) -> Any:
        return part * self.operand(part)


class _Add(WithValue):
    makes_new = True

    def changed(self, part: Any, value: Any, site: Any) -> Any:
        return part + self.operand(part)


class _Replace(WithValue):
    def changed(self, part: Any, value: Any, site: Any) -> Any:
        return self.operand(part)


class _Clamp(ReadyMade):
    makes_new = True

    def __init__(self, ends: Sequence[Any], slices: Slices) -> None:
        self.ends = [None if end is None else Held(end, "clamp") for end in ends]
        super().__init__("clamp", slices)

    def changed(self, part: Any, value: Any, site: Any) -> Any:
        low, high = (None if end is None else end.operand(part) for end in self.ends)
        if not is_tensor(part):
            return part.clip(low, high)
        # Unlike other operations this one takes no number from another device.
        low, high = (None if end is None else end.to(part.device, part.dtype) for end in (low, high))
        return part.clamp(low, high)

    @property
    def value(self) -> Any:
        return tuple(None if end is None else end.value for end in self.ends)

    @value.setter
    def value(self, new: Any) -> None:
        for end, number in zip(self.ends, _ends(*new), strict=True):
            if (end is None) != (number is None):
                raise EditError(f"{self.describe()}: value={new!r}: an end stays None, or a number")
            if end is not None:
                end.value = number

    def arguments(self) -> str:
        return ", ".join("None" if end is None else str(end) for end in self.ends)


class _Mean(ReadyMade):
    def __init__(self, over: Sequence[str], slices: Slices) -> None:
        self.over = over
        super().__init__("mean", slices)

    def changed(self, part: Any, value: Any, site: Any) -> Any:
        axes = tuple(self.slices.axis(name, value.shape) for name in self.over)
        # Averaged over whole axes: a part of the rows gets the mean of all of them.
        index = self.slices.index(value.shape, axes)
        whole = value if index is None else value[index]
        if is_tensor(value) and not (value.is_floating_point() or value.is_complex()):
            raise EditError(f"{self.describe()}: makes the mean of {label_of(site)}, which is {dtype_of(value)}")
        return whole.mean(axes, keepdims=True)

    def arguments(self) -> str:
        return "" if self.over == ("batch", "rows") else f"over={self.over!r}"


class _ProjectOut(WithValue):
    makes_new = True

    def changed(self, part: Any, value: Any, site: Any) -> Any:
        direction = self.held.operand(part)
        if tuple(direction.shape) != tuple(part.shape[-1:]):
            raise EditError(
                f"{self.describe()}: a direction of {direction.shape[0]} numbers, and the last axis of the part that "
                f"is edited has {part.shape[-1]}"
            )
        if rank(part) < 2:
            raise EditError(
                f"{self.describe()}: projects floating point numbers, and {label_of(site)} is {dtype_of(part)}"
            )
        computed = part
        if part.dtype.itemsize < 4:
            computed = part.float() if is_tensor(part) else part.astype("float32")
        direction = direction.to(computed.dtype) if is_tensor(part) else direction.astype(computed.dtype)
        share = (computed * direction).sum(-1)[..., None] / (direction * direction).sum()
        return computed - share * direction


def zero(
    *,
    batch: Chosen = None,
    heads: Chosen = None,
    rows: Chosen = None,
    columns: Chosen = None,
    tokens: Chosen = None,
    axes: str | None = None,
) -> ReadyMade:
    """Set to zero.

    Args:
        batch, heads, rows, columns, tokens: the part that is changed; everything along what is not named. Each is a
            number, counted from the end if negative, a list, a range or a slice. A value of four axes is (batch,
            heads, rows, columns), one of three (batch, rows, columns). ``tokens`` are the rows.
        axes: the order of the axes, where it is another one: a letter for each, "b" for the batch, "h" for the heads,
            "q", "r" or "t" for the rows, "k", "c" or "d" for the columns, any other letter for an axis that is taken
            whole. ``axes="bthd"`` has the heads as third.

    Raises:
        EditError: what selects is no number, list, range or slice; as the value is edited, that an index is out of
            range, or that it is not known which axis is meant.

    >>> import torch
    >>> zero(columns=[0, -1])(torch.ones(2, 4))
    tensor([[0., 1., 1., 0.],
            [0., 1., 1., 0.]])
    """
    return _Zero("zero", Slices(axes, batch=batch, heads=heads, rows=rows, columns=columns, tokens=tokens))


def scale(
    factor: Any,
    *,
    batch: Chosen = None,
    heads: Chosen = None,
    rows: Chosen = None,
    columns: Chosen = None,
    tokens: Chosen = None,
    axes: str | None = None,
) -> ReadyMade:
    """Multiply.

    Args:
        factor: a number, or a tensor or an array that broadcasts to the part. One that requires gradients is trained
            with the model; of others a copy is taken.
        batch, heads, rows, columns, tokens, axes: as for `zero`.

    >>> import torch
    >>> halved = scale(0.5, rows=0)
    >>> halved(torch.ones(2, 3))
    tensor([[0.5000, 0.5000, 0.5000],
            [1.0000, 1.0000, 1.0000]])
    >>> halved.value = 2
    >>> halved
    scale(2, rows=0)
    """
    return _Scale(
        "scale", "factor", factor, Slices(axes, batch=batch, heads=heads, rows=rows, columns=columns, tokens=tokens)
    )


def add(
    value: Any,
    *,
    batch: Chosen = None,
    heads: Chosen = None,
    rows: Chosen = None,
    columns: Chosen = None,
    tokens: Chosen = None,
    axes: str | None = None,
) -> ReadyMade:
    """Add a number, or a tensor such as a direction to steer along.

    Args:
        value: a number, or a tensor or an array that broadcasts to the part, as for `scale`.
        batch, heads, rows, columns, tokens, axes: as for `zero`.

    >>> import torch
    >>> add(torch.tensor([1.0, -1.0]), tokens=-1)(torch.zeros(1, 3, 2))
    tensor([[[ 0.,  0.],
             [ 0.,  0.],
             [ 1., -1.]]])
    """
    return _Add(
        "add", "value", value, Slices(axes, batch=batch, heads=heads, rows=rows, columns=columns, tokens=tokens)
    )


def replace(
    value: Any,
    *,
    batch: Chosen = None,
    heads: Chosen = None,
    rows: Chosen = None,
    columns: Chosen = None,
    tokens: Chosen = None,
    axes: str | None = None,
) -> ReadyMade:
    """Put something else in its place.

    Args:
        value: a number, or a tensor or an array that broadcasts to the part, as for `scale`.
        batch, heads, rows, columns, tokens, axes: as for `zero`.

    >>> import torch
    >>> replace(7.0, rows=1, columns=slice(2))(torch.zeros(2, 3))
    tensor([[0., 0., 0.],
            [7., 7., 0.]])
    """
    return _Replace(
        "replace", "value", value, Slices(axes, batch=batch, heads=heads, rows=rows, columns=columns, tokens=tokens)
    )


def clamp(
    min: Any = None,  # noqa: A002
    max: Any = None,  # noqa: A002
    *,
    batch: Chosen = None,
    heads: Chosen = None,
    rows: Chosen = None,
    columns: Chosen = None,
    tokens: Chosen = None,
    axes: str | None = None,
) -> ReadyMade:
    """Limit to a range. NaN stays NaN.

    Args:
        min, max: numbers, or None for no limit on that side. The ``value`` of the edit is both.
        batch, heads, rows, columns, tokens, axes: as for `zero`.

    Raises:
        EditError: both are None, or one is no number.

    >>> import torch
    >>> clamp(0, 1)(torch.tensor([-2.0, 0.5, 2.0]))
    tensor([0.0000, 0.5000, 1.0000])
    """
    return _Clamp(_ends(min, max), Slices(axes, batch=batch, heads=heads, rows=rows, columns=columns, tokens=tokens))


def mean(
    *,
    over: Sequence[str] | str = ("batch", "rows"),
    batch: Chosen = None,
    heads: Chosen = None,
    rows: Chosen = None,
    columns: Chosen = None,
    tokens: Chosen = None,
    axes: str | None = None,
) -> ReadyMade:
    """Put the mean in the place of each value.

    Args:
        over: the axes that are averaged, of "batch", "heads", "rows", "columns" and "tokens". They are averaged
            whole, even if only a part along them is changed.
        batch, heads, rows, columns, tokens, axes: as for `zero`.

    Raises:
        EditError: one of ``over`` is no name of an axis.

    >>> import torch
    >>> mean(over="rows", rows=0)(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([[2., 3.],
            [3., 4.]])
    """
    names = (over,) if isinstance(over, str) else tuple(over)
    known = ("batch", "heads", "rows", "columns", "tokens")
    for name in names:
        if name not in known:
            raise EditError(f"mean(over={over!r}): {name!r} is no axis: write some of {', '.join(known)}")
    if not names:
        raise EditError("mean(over=()) averages nothing: name an axis")
    return _Mean(names, Slices(axes, batch=batch, heads=heads, rows=rows, columns=columns, tokens=tokens))


def project_out(
    direction: Any,
    *,
    batch: Chosen = None,
    heads: Chosen = None,
    rows: Chosen = None,
    columns: Chosen = None,
    tokens: Chosen = None,
    axes: str | None = None,
) -> ReadyMade:
    """Remove a direction: what is left is orthogonal to it.

    It gives ``x - (x * d).sum(-1, keepdim=True) / (d * d).sum() * d``, in float32 where ``x`` is of half precision.

    Args:
        direction: a tensor or an array with as many numbers as the last axis of the part; its length does not matter.
        batch, heads, rows, columns, tokens, axes: as for `zero`.

    Raises:
        EditError: it has another number of axes than one, or is zero.

    >>> import torch
    >>> project_out([1.0, 1.0])(torch.tensor([[3.0, 1.0]]))
    tensor([[ 1., -1.]])
    """
    made = _ProjectOut(
        "project_out",
        "direction",
        direction,
        Slices(axes, batch=batch, heads=heads, rows=rows, columns=columns, tokens=tokens),
    )
    given = made.value
    if not hasattr(given, "shape") or len(given.shape) != 1:
        raise EditError(f"project_out({in_words(given)}): a direction has one axis, such as a row of a weight")
    if not bool((given != 0).any()):
        raise EditError("project_out: the direction is zero")
    return made


def _ends(low: Any, high: Any) -> tuple[Any, Any]:
    if low is None and high is None:
        raise EditError("clamp(): pass min, max or both")
    for end in (low, high):
        if end is not None and not isinstance(end, (int, float)) and getattr(end, "shape", None) != ():
            raise EditError(f"clamp({low!r}, {high!r}): the ends are numbers")
    return low, high
