"""Tests of editing that need torch, and a model that is trained for them once."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2] / "examples")]

if importlib.util.find_spec("torch") is None:
    collect_ignore_glob = ["test_*.py"]


def _trained(heads: int) -> Iterator[Any]:
    import induction_model
    import torch

    threads, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(1)
    model = induction_model.train(seed=0, heads=heads)
    torch.set_rng_state(state)
    yield model.requires_grad_(False)
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def model() -> Iterator[Any]:
    """The model of examples/induction_model.py after training: two blocks of one head."""
    yield from _trained(1)


@pytest.fixture(scope="session")
def four_heads() -> Iterator[Any]:
    """The same with four heads in each block."""
    yield from _trained(4)
