"""Tests that need torch or matplotlib. Figures are drawn off screen."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # `pictures` is shared by the tests of what is drawn

os.environ["MPLBACKEND"] = "Agg"  # before matplotlib is imported, and for child processes


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close("all")
