"""Where a value is edited: what a change that takes two parameters gets as its second."""

from __future__ import annotations

from typing import NamedTuple


class Site(NamedTuple):
    """Where a value is edited.

    Attributes:
        layer: the path of the module that runs, ``"blocks.3.attn"``; None outside of modules.
        call: the number of this execution of the function on that layer, from 0; None in compiled code.
        label: the name of the value, ``"attn"``.
        lineno: the line of the binding, the call or the return.
    """

    layer: str | None
    call: int | None
    label: str
    lineno: int
