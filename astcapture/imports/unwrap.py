"""Finds the functions inside the result of decorators."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from types import CellType, FunctionType
from typing import Any

from astcapture.rewrite.transform import PREFIX

#: Where decorators keep what they decorate.
INSIDE = ("__func__", "__wrapped__", "fget", "func")
_FUNCTIONS = (FunctionType, staticmethod, classmethod, functools.partial)
_EMPTY = CellType()
#: How many objects are searched inside a marked one; an object may claim to wrap others without end.
_ENOUGH = 100


def functions_in(marked: object) -> Iterator[FunctionType]:
    """The functions inside the result of decorators: in staticmethods, properties, wrappers and closures."""
    waiting = [marked]
    for _ in range(_ENOUGH):
        if not waiting:
            return
        one: Any = waiting.pop(0)
        if isinstance(one, FunctionType):
            yield one
            # Only functions: inspecting other objects in a closure may run their code.
            contents = (cell.cell_contents for cell in one.__closure__ or () if cell != _EMPTY)
            waiting += [content for content in contents if isinstance(content, _FUNCTIONS)]
        waiting += [inner for name in INSIDE if (inner := getattr(one, name, None)) is not None]


def is_rewritten(function: FunctionType) -> bool:
    """Whether a function has rewritten code."""
    return any(name.startswith(PREFIX) for name in function.__code__.co_names)
