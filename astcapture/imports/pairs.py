"""The code objects of one source, compiled twice, in pairs."""

from __future__ import annotations

from collections.abc import Iterator
from types import CodeType


def paired(old: CodeType, new: CodeType) -> Iterator[tuple[CodeType, CodeType]]:
    """The code objects of two compilations that differ inside functions only, side by side."""
    stack = [(old, new)]
    while stack:
        one, other = stack.pop()
        yield one, other
        stack.extend(_side_by_side(_nested(one), _nested(other)))


def _side_by_side(old: list[CodeType], new: list[CodeType]) -> Iterator[tuple[CodeType, CodeType]]:
    """Pair those of the same name and line, in order.

    One of them can have more: Python drops the code of a ``def`` that is never reached if no constant comes after it.
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
