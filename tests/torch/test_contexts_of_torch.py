"""Blocks with torch: threads and tasks that run compiled code, and the workers of a loader."""

from __future__ import annotations

import asyncio
import gc
import importlib
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import astcapture

SOURCE = """\
import torch
from torch import nn


class Attention(nn.Module):
    def forward(self, x):
        attn = (x @ x.mT).softmax(-1)
        return attn @ x


class Data(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        item = torch.full((2,), float(index))
        return item
"""


@pytest.fixture
def served(tmp_path: Path, fresh_imports: Any) -> Iterator[Any]:
    (tmp_path / "served_net.py").write_text(SOURCE)
    torch._dynamo.reset()
    with astcapture.install(["served_net:Attention.forward=attn", "served_net:Data.__getitem__=item"]):
        yield importlib.import_module("served_net")
    torch._dynamo.reset()


HOW: dict[str, Callable[[Any], Any]] = {
    "eager": lambda net: net,
    "compiled": lambda net: torch.compile(net, backend="eager", fullgraph=True, dynamic=True),
}
how_it_runs = pytest.mark.parametrize("how", HOW)


def request(n: int) -> torch.Tensor:
    """Each has a size of its own."""
    return torch.ones(1, n + 2, 3)


def sizes(records: Any) -> list[int]:
    return [value.shape[-1] - 2 for value in records]


def in_threads(*works: Callable[[], Any]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.slow
@how_it_runs
def test_two_threads_that_run_one_model_each_have_their_tags_and_their_recording(served: Any, how: str) -> None:
    net = HOW[how](served.Attention())
    for n in (0, 1):
        net(request(n))
    astcapture.cache.clear()
    gate = threading.Barrier(2)
    got: dict[int, list[int]] = {}

    def handle(n: int) -> None:
        with astcapture.tag(request=n):
            gate.wait(30)
            net(request(n))
            gate.wait(30)
        with astcapture.recording() as rec:
            gate.wait(30)
            net(request(n)), net(request(n))
            gate.wait(30)
        got[n] = sizes(rec.select(label="attn"))

    in_threads(lambda: handle(0), lambda: handle(1))
    assert got == {0: [0, 0], 1: [1, 1]}
    for n in (0, 1):
        assert sizes(astcapture.cache.select(request=n)) == [n]
    assert len(astcapture.cache.select(label="attn")) == 2


@pytest.mark.slow
@how_it_runs
def test_two_tasks_that_run_one_model_each_have_their_tags_and_their_recording(served: Any, how: str) -> None:
    net = HOW[how](served.Attention())
    got: dict[int, list[int]] = {}

    async def handle(n: int, turns: list[asyncio.Event]) -> None:
        with astcapture.tag(request=n), astcapture.recording() as rec:
            for step in range(3):
                await turns[2 * step + n].wait()
                net(request(n))
                turns[2 * step + n + 1].set()
            await turns[-1].wait()
        got[n] = sizes(rec.select(request=n))

    async def main() -> None:
        turns = [asyncio.Event() for _ in range(7)]
        turns[0].set()
        await asyncio.gather(handle(0, turns), handle(1, turns))

    asyncio.run(main())
    assert got == {0: [0] * 3, 1: [1] * 3}
    assert len(astcapture.cache.select()) == 0


@pytest.mark.slow
@how_it_runs
def test_blocks_that_follow_one_another_each_have_the_runs_inside(served: Any, how: str) -> None:
    net = HOW[how](served.Attention())
    for n in range(3):
        with astcapture.tag(n=n):
            net(request(n))
            net(request(n))
        net(request(n))
    tags = [record.tags.get("n") for record in astcapture.cache.select(label="attn").records]
    assert tags == [0, 0, None, 1, 1, None, 2, 2, None]


@pytest.mark.slow
@how_it_runs
def test_of_a_run_that_is_paused_nothing_is_recorded_and_the_next_is(served: Any, how: str) -> None:
    net = HOW[how](served.Attention())
    with astcapture.pause():
        net(request(0))  # compiled while it is paused
        net(request(0))
    net(request(1))
    with astcapture.pause():
        net(request(2))
    net(request(3))
    assert sizes(astcapture.cache.select(label="attn")) == [1, 3]


@pytest.mark.slow
@how_it_runs
def test_one_thread_pauses_while_another_runs_the_same_model(served: Any, how: str) -> None:
    net = HOW[how](served.Attention())
    for n in (0, 1):
        net(request(n))
    astcapture.cache.clear()
    gate = threading.Barrier(2)

    def paused() -> None:
        with astcapture.pause():
            gate.wait(30)
            net(request(0))
            gate.wait(30)

    def records() -> None:
        gate.wait(30)
        net(request(1))
        gate.wait(30)

    in_threads(paused, records)
    assert sizes(astcapture.cache.select(label="attn")) == [1]


@pytest.mark.slow
@how_it_runs
def test_threads_started_in_a_block_run_the_model_under_its_tags(served: Any, how: str) -> None:
    net = HOW[how](served.Attention())
    with astcapture.tag(batch=7), astcapture.recording() as rec:
        in_threads(*[lambda n=n: net(request(n)) for n in (0, 1)])  # type: ignore[misc]
    assert sorted(sizes(rec.select(batch=7))) == [0, 1]
    assert len(astcapture.cache.select()) == 0


@pytest.mark.slow
@how_it_runs
def test_the_cache_of_a_block_is_let_go_of_with_the_last_that_holds_it(served: Any, how: str) -> None:
    net = HOW[how](served.Attention())
    net(request(0))

    def work() -> None:
        nonlocal rec
        with astcapture.recording() as rec:
            net(request(1))

    rec: Any = None
    for run in (work, lambda: in_threads(work)):
        run()
        assert sizes(rec.select()) == [1]
        gone = weakref.ref(rec)
        rec = None
        gc.collect()
        assert gone() is None
    with astcapture.tag(n=1):
        net(request(2))
    # What has not been looked at yet keeps the tags of then.
    net(request(3))
    tags = [dict(record.tags) for record in astcapture.cache.select(label="attn").records]
    assert tags == [{}, {"n": 1}, {}]


@pytest.mark.skipif("fork" not in torch.multiprocessing.get_all_start_methods(), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_workers_of_a_loader_that_are_started_in_a_block_belong_to_it(served: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with astcapture.install("served_net:Data.__getitem__=item", store=run):
        data = served.Data()
        loader = torch.utils.data.DataLoader(data, batch_size=2, num_workers=2, multiprocessing_context="fork")
        with astcapture.tag(split="val"):
            batches = list(loader)
        data[3]
    assert [batch[:, 0].tolist() for batch in batches] == [[0, 1], [2, 3]]
    records = astcapture.load(run).select(label="item").records
    found = sorted((float(record.value[0]), record.tags.get("split", "")) for record in records)
    assert found == [(0, "val"), (1, "val"), (2, "val"), (3, ""), (3, "val")]


def test_the_threads_that_replicas_run_in_belong_to_the_block_of_who_starts_them(served: Any) -> None:
    net = served.Attention()
    replicas = [net._replicate_for_data_parallel() for _ in range(2)]
    for replica in replicas:
        replica._is_replica = True
    with astcapture.tag(step=1):
        in_threads(*[lambda n=n: replicas[n](request(n)) for n in range(2)])  # type: ignore[misc]
    net(request(2))
    records = astcapture.cache.select(step=1).records
    assert sorted(record.value.shape[-1] for record in records) == [2, 3]
    (original,) = [one for one in astcapture.cache.select(label="attn").records if "step" not in one.tags]
    assert {(record.layer, record.model) for record in records} == {("", original.model)}
