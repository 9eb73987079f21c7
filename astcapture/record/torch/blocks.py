"""Tensors that are computed block by block, so that their inputs never exist in full.

A `Blocks` has a shape and can compute any part of itself. A derived one (a selection, a mean) computes only the parts
of its source that it needs: selecting one row of a mean over heads computes one row.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from astcapture.record.torch.unseen import Unseen, is_watched

#: For each axis the positions along it: a ``range``, or a list in any order.
Region = tuple[Sequence[int], ...]

#: The smallest and the largest number of elements in a block before the softmax; in between, a share of the whole.
SMALLEST, LARGEST, PARTS = 2**18, 2**21, 32


class Blocks:
    """A tensor of which any part can be computed.

    Attributes:
        shape: its shape.
        dtype: its torch dtype.
        device: its torch device.
        apart: for each axis, whether a part along it costs no more than its share. The keys are the one axis of
            attention weights along which it does: a softmax needs the whole row.
        most: the elements that one block may compute.
    """

    shape: tuple[int, ...]
    dtype: Any
    device: Any
    apart: tuple[bool, ...]
    most: int

    def cost(self, region: Region) -> int:
        """The number of elements that are computed for a part."""
        raise NotImplementedError

    def block(self, region: Region) -> Any:
        """A part, as a tensor whose axes are as long as those of `region`."""
        raise NotImplementedError

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * int(self.dtype.itemsize)

    @property
    def is_one_block(self) -> bool:
        """Whether the whole tensor is computed at once."""
        return math.prod(self.shape) <= self.most


def block_size(elements: int) -> int:
    """The elements of one block of a tensor that has so many."""
    return min(LARGEST, max(SMALLEST, elements // PARTS))


def whole(shape: Iterable[int]) -> Region:
    """The region that is everything."""
    return tuple(range(length) for length in shape)


def split(blocks: Blocks, region: Region, axes: Iterable[int]) -> Iterator[Region]:
    """A region in parts along these axes, of which none costs more than ``blocks.most`` where that can be had."""
    cost = blocks.cost(region)
    axis = next((axis for axis in axes if len(region[axis]) > 1), None)
    if cost <= blocks.most or axis is None:
        yield region
        return
    positions = region[axis]
    step = max(1, len(positions) * blocks.most // cost)
    for start in range(0, len(positions), step):
        part = (*region[:axis], positions[start : start + step], *region[axis + 1 :])
        yield from split(blocks, part, axes)


@contextmanager
def unseen() -> Iterator[None]:
    """A context without autograd graphs, in which no mode and no tensor class of the user sees operations."""
    torch = sys.modules["torch"]
    # Removing modes takes longer than computing a small map.
    without_modes = Unseen() if is_watched() else nullcontext()
    with torch.no_grad(), torch._C.DisableTorchFunction(), without_modes:
        yield


def evaluate(blocks: Blocks, dtype: Any = None) -> Any:
    """The whole tensor in new memory, in `dtype` if given; besides it, only one block exists at a time."""
    with unseen():
        return _evaluate(blocks, dtype)


def _evaluate(blocks: Blocks, dtype: Any) -> Any:
    torch = sys.modules["torch"]
    everything, dtype = whole(blocks.shape), dtype or blocks.dtype
    if blocks.cost(everything) <= blocks.most:
        made = blocks.block(everything).to(dtype)
        return made if made.untyped_storage().nbytes() == made.nbytes else made.clone()
    result = torch.empty(blocks.shape, dtype=dtype, device=blocks.device)
    for region in split(blocks, everything, _apart(blocks)):
        result[_slices(region)] = blocks.block(region)
    return result


def evaluate_along(blocks: Blocks, axis: int, function: Callable[[Any], Any], like: Sequence[Any]) -> list[Any]:
    """The result of a function along one axis for the whole tensor, computed in parts of the other axes.

    Args:
        blocks: the tensor.
        axis: the axis that `function` needs in full.
        function: from a block to a tensor or a tuple of tensors, in which `axis` is there or is gone.
        like: tensors with the shapes and dtypes of its results, on any device.
    """
    with unseen():
        return _evaluate_along(blocks, axis, function, like)


def _evaluate_along(blocks: Blocks, axis: int, function: Callable[[Any], Any], like: Sequence[Any]) -> list[Any]:
    torch = sys.modules["torch"]
    results = [torch.empty(one.shape, dtype=one.dtype, device=blocks.device) for one in like]
    for region in split(blocks, whole(blocks.shape), _apart(blocks, without={axis})):
        made = function(blocks.block(region))
        for result, part in zip(results, made if isinstance(made, tuple) else (made,), strict=True):
            kept = result.dim() == len(region)
            places = [slice(None) if index == axis else one for index, one in enumerate(_slices(region))]
            result[tuple(places[: axis + kept] + places[axis + 1 :])] = part
    return results


def _apart(blocks: Blocks, without: Iterable[int] = ()) -> list[int]:
    return [axis for axis, apart in enumerate(blocks.apart) if apart and axis not in without]


def _slices(region: Region) -> tuple[slice, ...]:
    """A region without gaps."""
    return tuple(slice(one[0], one[-1] + 1) if len(one) else slice(0, 0) for one in region)


def take(tensor: Any, axis: int, positions: Sequence[int]) -> Any:
    """The positions of a tensor along an axis, as a view where they are evenly spaced.

    Args:
        tensor: of any shape.
        axis: counted from the first.
        positions: along `axis`.
    """
    if isinstance(positions, range):
        if positions == range(tensor.size(axis)):
            return tensor
        return tensor[(slice(None),) * axis + (slice(positions.start, positions.stop, positions.step),)]
    return tensor.index_select(axis, as_tensor(positions, tensor.device))


def as_tensor(positions: Sequence[int], device: Any) -> Any:
    """Positions as an integer tensor, shape (number of positions,)."""
    torch = sys.modules["torch"]
    if isinstance(positions, range):  # created on the device, without synchronising
        return torch.arange(positions.start, positions.stop, positions.step, device=device)
    return torch.tensor(list(positions), dtype=torch.long, device=device)


class Selected(Blocks):
    """Positions of another along each of its axes, with axes left out or put in, their order as it was."""

    def __init__(self, of: Blocks, positions: Region, axes: Sequence[int | None]) -> None:
        """Args:
        of: the other.
        positions: for each axis of `of`; an axis that is left out has one.
        axes: the axis of `of` that each axis is; None for a new one of length 1.
        """
        self._of, self._positions, self._axes = of, positions, tuple(axes)
        self.dtype, self.device, self.most = of.dtype, of.device, of.most
        self.shape = tuple(1 if axis is None else len(positions[axis]) for axis in axes)
        self.apart = tuple(axis is not None and of.apart[axis] for axis in axes)

    def _region(self, region: Region) -> Region:
        inner = list(self._positions)
        for axis, wanted in zip(self._axes, region, strict=True):
            if axis is not None:
                inner[axis] = _compose(self._positions[axis], wanted)
        return tuple(inner)

    def cost(self, region: Region) -> int:
        return self._of.cost(self._region(region)) if all(map(len, region)) else 0

    def block(self, region: Region) -> Any:
        return self._of.block(self._region(region)).reshape([len(one) for one in region])


def _compose(positions: Sequence[int], wanted: Sequence[int]) -> Sequence[int]:
    if isinstance(wanted, range):
        return positions[wanted.start : wanted.stop : wanted.step]
    return [positions[one] for one in wanted]


class Permuted(Blocks):
    """A tensor with its axes in another order."""

    def __init__(self, of: Blocks, order: Sequence[int]) -> None:
        self._of, self._order = of, tuple(order)
        self.dtype, self.device, self.most = of.dtype, of.device, of.most
        self.shape = tuple(of.shape[axis] for axis in order)
        self.apart = tuple(of.apart[axis] for axis in order)

    def _region(self, region: Region) -> Region:
        return tuple(region[self._order.index(axis)] for axis in range(len(region)))

    def cost(self, region: Region) -> int:
        return self._of.cost(self._region(region))

    def block(self, region: Region) -> Any:
        return self._of.block(self._region(region)).permute(self._order)


class Pointwise(Blocks):
    """The result of an elementwise function of one or several tensors of the same shape."""

    def __init__(self, of: Sequence[Blocks], function: Callable[..., Any], dtype: Any) -> None:
        self._of, self._function, self.dtype = tuple(of), function, dtype
        first = of[0]
        self.shape, self.device, self.most = first.shape, first.device, first.most
        self.apart = tuple(all(apart) for apart in zip(*(one.apart for one in of), strict=True))

    def cost(self, region: Region) -> int:
        return sum(one.cost(region) for one in self._of)

    def block(self, region: Region) -> Any:
        return self._function(*(one.block(region) for one in self._of))


#: The reductions that can be put together from parts: how two parts are, and what a part is reduced by.
COMBINED = {"sum": ("add", "sum"), "mean": ("add", "sum"), "amax": ("maximum", "amax"), "amin": ("minimum", "amin")}


class Reduced(Blocks):
    """The sum, mean, amax or amin of a tensor over some of its axes."""

    def __init__(
        self, of: Blocks, name: str, axes: Sequence[int], keepdim: bool, dtype: Any, given: Any = None
    ) -> None:
        """Args:
        of: the other.
        name: ``"sum"``, ``"mean"``, ``"amax"`` or ``"amin"``.
        axes: the axes that are reduced.
        keepdim: whether they stay, with length 1.
        dtype: of the result.
        given: the ``dtype=`` that the user's call has, if any.
        """
        self._of, self._name, self._gone, self._keepdim, self._given = of, name, sorted(axes), keepdim, given
        self.dtype, self.device, self.most = dtype, of.device, of.most
        axes = range(len(of.shape))
        self._axes = [axis for axis in axes if keepdim or axis not in self._gone]
        self.shape = tuple(1 if axis in self._gone else of.shape[axis] for axis in self._axes)
        self.apart = tuple(axis not in self._gone and of.apart[axis] for axis in self._axes)

    def _region(self, region: Region) -> Region:
        inner: list[Sequence[int]] = list(whole(self._of.shape))
        for axis, wanted in zip(self._axes, region, strict=True):
            if axis not in self._gone:
                inner[axis] = wanted
        return tuple(inner)

    def cost(self, region: Region) -> int:
        return self._of.cost(self._region(region))

    def block(self, region: Region) -> Any:
        inner = self._region(region)
        parts = list(split(self._of, inner, [axis for axis in self._gone if self._of.apart[axis]]))
        if len(parts) == 1:
            return self._reduced(self._of.block(inner), self._name, self._given)
        return self._combined(parts).to(self.dtype)

    def _combined(self, parts: Sequence[Region]) -> Any:
        torch = sys.modules["torch"]
        combine, name = COMBINED[self._name]
        # Half precision is accumulated in float32, as torch does within one call.
        dtype = torch.float32 if name == "sum" and self.dtype in (torch.float16, torch.bfloat16) else None
        total: Any = None
        for part in parts:
            made = self._reduced(self._of.block(part), name, dtype or self._given)
            total = made if total is None else getattr(torch, combine)(total, made)
        return total / self._count() if self._name == "mean" else total

    def _count(self) -> int:
        return math.prod(self._of.shape[axis] for axis in self._gone)

    def _reduced(self, block: Any, name: str, dtype: Any) -> Any:
        options = {} if dtype is None else {"dtype": dtype}
        if not self._gone:  # a tensor without axes
            return block.to(self.dtype)
        return getattr(block, name)(self._gone, self._keepdim, **options)
