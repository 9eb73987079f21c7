"""The reference names every argument: the docstrings that it is made of tell of those that there are, and no other."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest

import astcapture
from astcapture import plot
from astcapture.plot import formulas

FUNCTIONS = [
    astcapture.capture,
    astcapture.install,
    astcapture.load,
    astcapture.show,
    *(getattr(plot, name) for name in plot.__all__ if name != "formulas"),
    *(getattr(formulas, name) for name in formulas.__all__ if name != "Fusion"),
]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda one: f"{one.__module__}.{one.__name__}")
def test_a_docstring_names_every_argument_of_its_function_and_no_other(function: Callable[..., Any]) -> None:
    arguments = (inspect.getdoc(function) or "").partition("Args:\n")[2].partition("\n\n")[0]
    named = [name for names in re.findall(r"^    \*{0,2}(\w[\w, ]*):", arguments, re.M) for name in names.split(", ")]
    if named:
        assert sorted(named) == sorted(inspect.signature(function).parameters)
