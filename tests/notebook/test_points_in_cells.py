"""Calls, entries and yields of functions that cells define."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow

pytest.importorskip("IPython")

CELL = """\
def double(x): return x * 2
@capture("double", at="call")
def f(x):
    return double(x) + 1
"""


def test_the_result_of_a_call_in_a_cell_is_recorded(run_cells):
    outcomes = run_cells(
        "import astcapture\nfrom astcapture import capture", CELL, "f(3)", "list(astcapture.cache['f']['double'])"
    )
    assert outcomes[-1].value == "[6]"
