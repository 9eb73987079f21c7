"""A real FastAPI application: each request has its own values, in endpoints of every kind, however they overlap."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import astcapture

fastapi = pytest.importorskip("fastapi")
httpx = pytest.importorskip("httpx")

SOURCE = """\
import asyncio

from fastapi import FastAPI
import torch
from torch import nn

import astcapture


class Attention(nn.Module):
    def forward(self, x):
        attn = (x @ x.mT).softmax(-1)
        return attn @ x


net = Attention()
app = FastAPI()
gate = None  # where requests wait for one another


def run(n):
    gate.wait(30)
    net(torch.ones(1, n + 2, 2))
    gate.wait(30)


def shapes(rec):
    return [list(value.shape) for value in rec.select()]


@app.get("/sync/{n}")
def sync_endpoint(n: int):
    with astcapture.recording() as rec, astcapture.tag(request=n):
        run(n)
    return shapes(rec)


@app.get("/to_thread/{n}")
async def thread_endpoint(n: int):
    with astcapture.recording() as rec, astcapture.tag(request=n):
        await asyncio.to_thread(run, n)
    return shapes(rec)


@app.get("/async/{n}")
async def async_endpoint(n: int):
    with astcapture.recording() as rec, astcapture.tag(request=n):
        await meeting()
        net(torch.ones(1, n + 2, 2))
        await meeting()
    return shapes(rec)


@app.get("/tagged/{n}")
def tagged_endpoint(n: int):
    with astcapture.tag(request=n):
        run(n)
    return []


@app.get("/plain/{n}")
def plain_endpoint(n: int):
    run(n)
    return []


waiting = []


async def meeting(parties=2):
    ready = asyncio.get_running_loop().create_future()
    waiting.append(ready)
    if len(waiting) == parties:
        for one in waiting:
            one.set_result(None)
        waiting.clear()
    await ready
"""


@pytest.fixture
def server(make_package: Callable[..., Path], fresh_imports: Any) -> Any:
    make_package({"asgi_server.py": SOURCE})
    with astcapture.install("asgi_server:Attention.forward=attn"):
        import asgi_server

        asgi_server.gate = threading.Barrier(2)
        yield asgi_server


def get(server: Any, *paths: str) -> list[Any]:
    """Answers to requests that are made at once."""

    async def ask() -> list[Any]:
        transport = httpx.ASGITransport(app=server.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            answers = await asyncio.gather(*(client.get(path) for path in paths))
        assert [answer.status_code for answer in answers] == [200] * len(paths)
        return [answer.json() for answer in answers]

    return asyncio.run(ask())


def shape(n: int) -> list[list[int]]:
    return [[1, n + 2, n + 2]]


@pytest.mark.parametrize("kind", ["sync", "to_thread", "async"])
def test_each_of_two_requests_at_once_records_its_own_values(server: Any, kind: str) -> None:
    for _ in range(3):  # workers that served one request serve another
        assert get(server, f"/{kind}/0", f"/{kind}/1") == [shape(0), shape(1)]
        assert get(server, f"/{kind}/3", f"/{kind}/2") == [shape(3), shape(2)]
    assert len(astcapture.cache.select(label="attn")) == 0


def test_requests_of_both_kinds_that_overlap_have_their_own_values(server: Any) -> None:
    for _ in range(3):
        assert get(server, "/sync/0", "/to_thread/1") == [shape(0), shape(1)]
        assert get(server, "/to_thread/4", "/sync/5") == [shape(4), shape(5)]


def test_a_request_without_a_tag_beside_one_with_has_none(server: Any) -> None:
    for _ in range(3):
        get(server, "/tagged/1", "/plain/0")
        tags = {record.value.shape[-1] - 2: dict(record.tags) for record in astcapture.cache.select().records}
        assert tags == {1: {"request": 1}, 0: {}}
        astcapture.cache.clear()


def test_a_worker_of_one_request_that_serves_another_while_the_first_goes_on_has_the_others_tags(server: Any) -> None:
    """The first request waits in its block while its worker thread is used by a second one."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        from concurrent.futures import ThreadPoolExecutor

        loop.set_default_executor(ThreadPoolExecutor(1))
        server.gate = threading.Barrier(1)
        in_block, go_on = asyncio.Event(), asyncio.Event()

        async def first() -> None:
            with astcapture.tag(request="first"):
                await asyncio.to_thread(server.run, 0)
                in_block.set()
                await go_on.wait()

        task = asyncio.create_task(first())
        await in_block.wait()
        with astcapture.tag(request="second"):
            await asyncio.to_thread(server.run, 1)
        await asyncio.to_thread(server.run, 2)
        go_on.set()
        await task

    asyncio.run(main())
    tags = {record.value.shape[-1] - 2: record.tags.get("request") for record in astcapture.cache.select().records}
    assert tags == {0: "first", 1: "second", 2: None}
