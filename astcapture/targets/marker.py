"""The marker that a function carries in its own source. It does nothing: the rewriter reads it from the syntax tree."""

from __future__ import annotations

# Importing `typing` would take longer than all the rest of `import astcapture`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    F = TypeVar("F")

#: Where a capture can be taken.
POINTS = ("return", "assign", "sdpa", "call", "input", "enter", "yield")

#: Called with each marked object while a hook is installed, so that a marked function that was
#: not rewritten is noticed. Set and reset by the hook; None costs one comparison.
notice: Callable[[object], None] | None = None


def capture(*captures: str, at: str = "return", **labelled: str) -> Callable[[F], F]:
    """Mark a function: its locals named here are captured when a hook is installed before its module is imported.

    The decorator returns what it is given and sets nothing on it; without a hook the function
    is the one that was written.

    Args:
        *captures: names of locals, or expressions over them, each its own label.
        at: where the values are taken: ``"return"`` (at every executed return, and at the end of the body),
            ``"assign"`` (at every binding of the name), ``"call"`` (the result of every call of the function with
            that name, in this function), ``"input"`` (what such a call gets first), ``"enter"`` (a parameter, before
            the body binds it anew), ``"yield"`` (at every ``yield`` of a generator) or ``"sdpa"`` (at every call of
            fused attention, such as torch's ``scaled_dot_product_attention``).
        **labelled: expressions under a label of one's choice.

    Raises:
        TypeError: a capture that is not a string, an unknown ``at``, nothing to capture, or
            a class in place of a function.

    >>> @capture("total", mean="total / len(values)")
    ... def score(values):
    ...     total = sum(values)
    ...     return total > 3
    >>> score([1, 2, 3])
    True
    """
    for expression in (*captures, *labelled.values()):
        if not isinstance(expression, str):
            raise TypeError(
                f'capture() takes the names of locals as strings, not {expression!r}: write @capture("attn")'
            )
    if not captures and not labelled:
        raise TypeError('capture() has nothing to capture: write @capture("attn")')
    if at not in POINTS:
        *first, last = (f'"{point}"' for point in POINTS)
        raise TypeError(f"capture(at={at!r}): write at={', '.join(first)} or {last}")

    def mark(function: F) -> F:
        if isinstance(function, type):
            raise TypeError(
                f"@capture marks functions, and {function.__qualname__} is a class: "
                "put it on the method that binds the local, forward for instance"
            )
        if notice is not None:
            notice(function)
        return function

    return mark
