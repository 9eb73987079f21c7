"""Pairs the code objects of one source that was compiled twice."""

from __future__ import annotations

from collections.abc import Iterator
from types import CodeType


def paired(old: CodeType, new: CodeType) -> Iterator[tuple[CodeType, CodeType]]:
    """The code objects of two compilations that differ only inside functions, side by side."""
    stack = [(old, new)]
    while stack:
        one, other = stack.pop()
        yield one, other
        stack.extend(_side_by_side(_nested(one), _nested(other)))


def _side_by_side(old: list[CodeType], new: list[CodeType]) -> Iterator[tuple[CodeType, CodeType]]:
    """Pair code objects with the same name and line, in order.

    One side can have more: Python drops the code of an unreachable ``def`` if no constant comes after it.
    """
    if len(old) == len(new):
        yield from zip(old, new, strict=True)
        return
    rest = list(new)
    for one in old:
        place = (one.co_name, one.co_firstlineno)
        at = next((index for index, other in enumerate(rest) if (other.co_name, other.co_firstlineno) == place), None)
        if at is not None:
            yield one, rest[at]
            del rest[: at + 1]


def _nested(code: CodeType) -> list[CodeType]:
    return [constant for constant in code.co_consts if isinstance(constant, CodeType)]
