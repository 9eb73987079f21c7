"""A small module whose function is captured, and a writer of shards that needs no program."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from astcapture.record import budget
from astcapture.store.shard import Written, write_shard
from astcapture.values import open_store as stores
from astcapture.values.record import Record

MODULE = """
def f(x):
    y = x
    return y

def g(x):
    if x is None:
        return 0
    z = x
    return z
"""


@pytest.fixture
def module(make_package: Callable[..., Path], fresh_imports: object) -> Iterator[ModuleType]:
    """A module with functions `f` and `g` that bind `y` and `z`; no store is open afterwards."""
    make_package({"streamed.py": MODULE})
    yield importlib.import_module("streamed")
    stream = stores.current()
    if stream is not None:
        stream.users = 1
        stream.strict, stream._raise = False, None
        stores.close_store()
    assert budget.spill is None


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Written]:
    """Store values in a shard in the test's folder, each as label "a" of m:f."""
    numbers = itertools.count()

    def written(values: Sequence[Any], folder: Path = tmp_path / "run" / "host-0-1", **about: Any) -> Written:
        given = {"label": "a", "module": "m", "function": "f", "lineno": 3, **about}
        records = [Record(value=value, call=call, **given) for call, value in enumerate(values)]
        return write_shard(folder, next(numbers), records, first=0, run={"host": "host", "rank": 0, "pid": 1}, notes={})

    return written
