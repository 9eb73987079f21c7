"""Tests that need torch or matplotlib. Figures are drawn off screen."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

os.environ["MPLBACKEND"] = "Agg"  # before matplotlib is imported, and for child processes


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    import matplotlib.pyplot as plt

    plt.close("all")
