"""For whom ``tag``, ``recording`` and ``pause`` hold: threads, tasks, pools, processes, each held where it matters."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import astcapture
from astcapture import cache, pause, recording, resume, tag
from astcapture.record import scope

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(autouse=True)
def f(make_package: Callable[..., Any], fresh_imports: object) -> Iterator[Callable[[Any], Any]]:
    """A captured function, which gives back what it is given."""
    make_package({"served.py": "def f(x):\n    y = x\n    return y\n"})
    with astcapture.install("served:f=y"):
        import served

        yield served.f
    assert type(threading._limbo) is dict  # type: ignore[attr-defined]
    assert scope._open == 0


def in_threads(*works: Callable[[], Any]) -> None:
    failures: list[BaseException] = []

    def guarded(work: Callable[[], Any]) -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert not failures, failures


def tags_of(records: Any = None) -> dict[Any, dict[str, Any]]:
    """The tags of each value."""
    return {record.value: dict(record.tags) for record in (records or cache["served:f"]).records}


class Meeting:
    """Tasks wait here until so many are there."""

    def __init__(self, parties: int) -> None:
        self.parties, self.there = parties, 0
        self.all_there = asyncio.Event()

    async def wait(self) -> None:
        self.there += 1
        if self.there == self.parties:
            self.there, met = 0, self.all_there
            self.all_there = asyncio.Event()
            met.set()
        else:
            await self.all_there.wait()


# Threads


def test_each_of_two_threads_has_its_own_recording(f: Any):
    gate = threading.Barrier(2)
    got: dict[int, list[Any]] = {}

    def handle(n: int) -> None:
        with recording() as rec:
            gate.wait(10)
            f(n)
            gate.wait(10)
        got[n] = list(rec["f"])

    in_threads(lambda: handle(0), lambda: handle(1))
    assert got == {0: [0], 1: [1]}
    assert len(cache.select()) == 0


def test_each_of_two_threads_has_its_own_tags(f: Any):
    gate = threading.Barrier(2)

    def handle(n: int) -> None:
        with tag(request=n):
            gate.wait(10)
            f(n)
            gate.wait(10)

    in_threads(lambda: handle(0), lambda: handle(1))
    assert tags_of() == {0: {"request": 0}, 1: {"request": 1}}


def test_a_thread_without_a_block_beside_one_with_has_none(f: Any):
    gate = threading.Barrier(2)
    rec: Any = None

    def handle() -> None:
        nonlocal rec
        with tag(request=0), recording() as rec:
            gate.wait(10)
            f("tagged")
            gate.wait(10)

    def other() -> None:
        gate.wait(10)
        f("untagged")
        gate.wait(10)

    in_threads(handle, other)
    assert tags_of() == {"untagged": {}}
    assert tags_of(rec["f"]) == {"tagged": {"request": 0}}


def test_one_thread_pauses_while_another_records(f: Any):
    gate = threading.Barrier(2)

    def paused() -> None:
        with pause():
            gate.wait(10)
            f("paused")
            gate.wait(10)
        f("resumed")

    def records() -> None:
        gate.wait(10)
        f("other")
        resume()  # nothing is paused here
        f("other again")
        gate.wait(10)

    in_threads(paused, records)
    assert sorted(cache["f"]) == ["other", "other again", "resumed"]


def test_threads_that_are_started_in_a_block_belong_to_it_and_those_that_they_start_too(f: Any):
    def inner() -> None:
        f("inner")

    def outer() -> None:
        f("outer")
        in_threads(inner)

    with tag(request=1), recording() as rec:
        in_threads(outer)
    assert tags_of(rec["f"]) == {"outer": {"request": 1}, "inner": {"request": 1}}
    with pause():
        in_threads(outer)
    assert len(cache.select()) == 0


def test_a_thread_started_in_a_block_has_the_tags_that_hold_as_it_records(f: Any):
    started, closed = threading.Event(), threading.Event()

    def work() -> None:
        f("inside")
        with tag(own=1):
            f("in its own")
        started.set()
        assert closed.wait(10)
        f("after the block")
        with tag(own=2):
            f("in its own after the block")

    with tag(outer=1), tag(request=1):
        thread = threading.Thread(target=work)
        thread.start()
        assert started.wait(10)
    closed.set()
    thread.join(10)
    assert tags_of() == {
        "inside": {"outer": 1, "request": 1},
        "in its own": {"outer": 1, "request": 1, "own": 1},
        "after the block": {},
        "in its own after the block": {"own": 2},
    }


def test_a_thread_that_was_started_before_the_block_does_not_belong_to_it(f: Any):
    go, done = threading.Event(), threading.Event()

    def work() -> None:
        assert go.wait(10)
        f("older")
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    with tag(request=1):
        go.set()
        assert done.wait(10)
    thread.join(10)
    assert tags_of() == {"older": {}}


def test_a_thread_made_outside_and_started_inside_belongs_to_the_block_of_who_starts_it(f: Any):
    thread = threading.Thread(target=f, args=("x",))
    with tag(request=1):
        thread.start()
        thread.join(10)
    assert tags_of() == {"x": {"request": 1}}


def test_a_pool_in_a_block_belongs_to_it(f: Any):
    with tag(request=1), recording() as rec, ThreadPoolExecutor(2) as pool:
        list(pool.map(f, range(4)))
    assert tags_of(rec["f"]) == {n: {"request": 1} for n in range(4)}


HANDED_ON: dict[str, Callable[[ThreadPoolExecutor, Any, Any], None]] = {
    "copy_context().run": lambda pool, f, x: pool.submit(contextvars.copy_context().run, f, x).result(10),
    "run_in_executor": lambda pool, f, x: asyncio.run(_in_executor(pool, f, x)),
}


async def _in_executor(pool: ThreadPoolExecutor, f: Any, x: Any) -> None:
    await asyncio.get_running_loop().run_in_executor(pool, contextvars.copy_context().run, f, x)


@pytest.mark.parametrize("how", HANDED_ON)
@pytest.mark.parametrize("first_is_open", [True, False])
def test_a_worker_that_one_block_started_serves_another_under_the_others_tags(f: Any, how: str, first_is_open: bool):
    hand_on = HANDED_ON[how]
    with ThreadPoolExecutor(1) as pool:
        with contextlib.ExitStack() as first:
            first.enter_context(tag(request=0))
            hand_on(pool, f, "first")
            if not first_is_open:
                first.close()

            def other() -> None:
                hand_on(pool, f, "without a block")
                with tag(request=1):
                    hand_on(pool, f, "second")

            # A thread that is no child of the block: of an older pool.
            older.submit(other).result(10)
    assert tags_of() == {"first": {"request": 0}, "without a block": {}, "second": {"request": 1}}


older = ThreadPoolExecutor(1)
older.submit(int).result()


def test_a_worker_that_one_request_started_serves_another_by_to_thread(f: Any):
    async def request(n: int | None, x: str) -> None:
        with contextlib.nullcontext() if n is None else tag(request=n):
            await asyncio.to_thread(f, x)

    async def main() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        first_done = asyncio.Event()

        async def stays_open() -> None:
            with tag(request=0):
                await asyncio.to_thread(f, "first")
                first_done.set()
                await last.wait()

        last = asyncio.Event()
        task = asyncio.create_task(stays_open())
        await first_done.wait()
        await request(1, "second")
        await request(None, "third")
        last.set()
        await task
        await request(2, "fourth")

    asyncio.run(main())
    assert tags_of() == {
        "first": {"request": 0}, "second": {"request": 1}, "third": {}, "fourth": {"request": 2},
    }  # fmt: skip


def test_many_threads_each_with_blocks_of_their_own_mix_nothing_up(f: Any):
    gate = threading.Barrier(8)

    def work(n: int) -> None:
        gate.wait(10)
        for step in range(50):
            with tag(thread=n), tag(step=step):
                f((n, step))

    in_threads(*(lambda n=n: work(n) for n in range(8)))  # type: ignore[misc]
    assert tags_of() == {(n, step): {"thread": n, "step": step} for n in range(8) for step in range(50)}


# Tasks


def test_each_of_two_tasks_has_its_own_tags_and_recording(f: Any):
    got: dict[int, Any] = {}

    async def handle(n: int, meeting: Meeting) -> None:
        with tag(request=n):
            await meeting.wait()
            f(("tag", n))
            await meeting.wait()
        with recording() as rec:
            await meeting.wait()
            f(("recording", n))
            await meeting.wait()
        got[n] = list(rec["f"])

    async def main() -> None:
        meeting = Meeting(2)
        await asyncio.gather(handle(0, meeting), handle(1, meeting))

    asyncio.run(main())
    assert tags_of() == {("tag", 0): {"request": 0}, ("tag", 1): {"request": 1}}
    assert got == {0: [("recording", 0)], 1: [("recording", 1)]}


def test_a_task_pauses_for_itself_and_for_what_it_awaits(f: Any):
    async def awaited() -> None:
        f("awaited")
        await asyncio.to_thread(f, "in a thread")

    async def paused(meeting: Meeting) -> None:
        with pause():
            await meeting.wait()
            f("paused")
            await awaited()
            await meeting.wait()

    async def records(meeting: Meeting) -> None:
        await meeting.wait()
        f("other")
        await meeting.wait()

    async def main() -> None:
        meeting = Meeting(2)
        await asyncio.gather(paused(meeting), records(meeting))

    asyncio.run(main())
    assert list(cache["f"]) == ["other"]


def test_what_a_task_hands_to_a_thread_has_its_tags(f: Any):
    async def handle(n: int, gate: threading.Barrier) -> None:
        with tag(request=n):
            await asyncio.to_thread(lambda: (gate.wait(10), f(n), gate.wait(10)))

    async def main() -> None:
        gate = threading.Barrier(2)
        await asyncio.gather(handle(0, gate), handle(1, gate))

    asyncio.run(main())
    assert tags_of() == {0: {"request": 0}, 1: {"request": 1}}


def test_a_task_that_outlives_the_block_it_was_made_in_belongs_to_it_until_it_closes(f: Any):
    rec: Any = None

    async def main() -> None:
        nonlocal rec
        inside, closed = asyncio.Event(), asyncio.Event()

        async def outlives() -> None:
            f("inside")
            inside.set()
            await closed.wait()
            f("after")
            with tag(own=1):
                f("own")

        with tag(request=1), recording() as rec:
            task = asyncio.create_task(outlives())
            await inside.wait()
        closed.set()
        await task

    asyncio.run(main())
    assert tags_of(rec["f"]) == {"inside": {"request": 1}}
    assert tags_of() == {"after": {}, "own": {"own": 1}}


def test_the_caches_of_closed_blocks_are_not_kept_by_tasks_and_threads(f: Any):
    import gc
    import weakref

    held = threading.Event()
    with recording() as rec:
        thread = threading.Thread(target=held.wait, args=(10,))
        thread.start()
        f("x")
        context = contextvars.copy_context()
    gone = weakref.ref(rec)
    del rec
    gc.collect()
    assert gone() is None
    context.run(f, "y")
    held.set()
    thread.join(10)
    assert list(cache["f"]) == ["y"]


# Blocks in blocks, and blocks that are left elsewhere


def test_a_recording_in_a_tag_has_it_and_a_tag_in_a_recording_goes_to_it(f: Any):
    with tag(a=1, b=1):
        with recording() as outer:
            f(1)
            with tag(b=2), recording() as inner:
                f(2)
            f(3)
        f(4)
    assert tags_of(outer["f"]) == {1: {"a": 1, "b": 1}, 3: {"a": 1, "b": 1}}
    assert tags_of(inner["f"]) == {2: {"a": 1, "b": 2}}
    assert tags_of() == {4: {"a": 1, "b": 1}}


def test_a_block_that_is_left_in_another_context_holds_no_more_in_its_own(f: Any):
    context = contextvars.copy_context()
    block = tag(request=1)
    context.run(block.__enter__)
    context.run(f, "inside")
    f("outside")
    block.__exit__(None, None, None)
    context.run(f, "left")
    assert tags_of() == {"inside": {"request": 1}, "outside": {}, "left": {}}


def test_an_outer_block_that_is_left_first_leaves_the_inner_one(f: Any):
    outer, inner = tag(outer=1), tag(inner=1)
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    f("inner")
    inner.__exit__(None, None, None)
    f("none")
    assert tags_of() == {"inner": {"inner": 1}, "none": {}}


def test_the_block_of_an_async_generator_that_another_task_closes_holds_no_more(f: Any):
    async def stream() -> Any:
        with tag(request=1):
            yield f("first")
            yield f("second")

    async def main() -> None:
        values = stream()
        await values.__anext__()
        await asyncio.gather(values.aclose())
        f("after")

    asyncio.run(main())
    assert tags_of() == {"first": {"request": 1}, "after": {}}


def test_a_context_in_which_thousands_of_blocks_were_entered_and_left_elsewhere_is_as_any_other(f: Any):
    context = contextvars.copy_context()
    for n in range(5000):
        block = tag(n=n)
        context.run(block.__enter__)
        block.__exit__(None, None, None)
    with tag(last=1):
        f("here")
    context.run(f, "there")
    with contextlib.ExitStack() as stack:
        context.run(stack.enter_context, tag(last=2))
        context.run(f, "inside")
    assert tags_of() == {"here": {"last": 1}, "there": {}, "inside": {"last": 2}}


def test_a_block_may_be_entered_again_and_in_several_threads(f: Any):
    block = tag(request=1)
    gate = threading.Barrier(2)

    def work() -> None:
        with block:
            gate.wait(10)
            f(threading.get_ident())
            gate.wait(10)

    in_threads(work, work)
    with block, block:
        f("twice")
    f("outside")
    assert sorted(map(len, tags_of().values())) == [0, 1, 1, 1]


def test_pauses_that_are_resumed_in_another_order_all_end(f: Any):
    first = pause()
    with pause():
        resume()
        f("paused still")
    first.__exit__(None, None, None)
    f("on")
    resume()
    assert list(cache["f"]) == ["on"]


def test_the_threads_of_a_process_are_watched_only_while_a_block_is_open(f: Any):
    plain = threading._limbo  # type: ignore[attr-defined]
    assert type(plain) is dict
    with tag(a=1):
        assert type(threading._limbo) is not dict  # type: ignore[attr-defined]
        with recording(), pause():
            pass
        assert isinstance(threading._limbo, dict)  # type: ignore[attr-defined]
        assert type(threading._limbo) is not dict  # type: ignore[attr-defined]
    assert type(threading._limbo) is dict  # type: ignore[attr-defined]


def test_a_thread_that_cannot_be_started_leaves_nothing_behind(f: Any, monkeypatch: pytest.MonkeyPatch):
    def refuse(*given: Any, **named: Any) -> None:
        raise RuntimeError("can't start new thread")

    name = next(name for name in ("_start_joinable_thread", "_start_new_thread") if hasattr(threading, name))
    with tag(a=1):
        monkeypatch.setattr(threading, name, refuse)
        thread = threading.Thread(target=f, args=("x",))
        with pytest.raises(RuntimeError):
            thread.start()
        assert not threading._limbo  # type: ignore[attr-defined]
        del thread
        monkeypatch.undo()
        in_threads(lambda: f("y"))
    assert not scope._started
    assert tags_of() == {"y": {"a": 1}}


# Processes


@needs_fork
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of a fork where threads run
def test_a_process_that_is_forked_in_a_block_belongs_to_it(f: Any):
    reads, writes = os.pipe()
    with tag(request=1):
        child = os.fork()
        if child == 0:
            f("child")
            with tag(own=1):
                f("own")
            in_threads(lambda: f("thread"))
            os.write(writes, repr(tags_of()).encode())
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        f("parent")
    os.close(writes)
    with os.fdopen(reads) as file:
        told = file.read()
    assert told == repr({"child": {"request": 1}, "own": {"request": 1, "own": 1}, "thread": {"request": 1}})
    assert tags_of() == {"parent": {"request": 1}}


@needs_fork
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_worker_process_that_is_forked_in_a_recording_takes_what_it_records_there(f: Any):
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()

    with tag(request=1), recording() as rec:

        def work() -> None:
            f("worker")
            answers.put((tags_of(rec["f"]), len(cache.select())))

        process = context.Process(target=work)
        process.start()
        assert answers.get() == ({"worker": {"request": 1}}, 0)
        process.join(10)
        assert process.exitcode == 0
        f("parent")
    assert list(rec["f"]) == ["parent"]


@needs_fork
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_while_another_thread_opens_a_block_can_open_one(f: Any):
    holds, done = threading.Event(), threading.Event()

    def hold() -> None:
        with scope._lock:
            holds.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert holds.wait(10)
    child = os.fork()
    if child == 0:
        import signal

        signal.alarm(5)  # a lock that nobody releases would be waited for without end
        with tag(a=1):
            f(1)
        os._exit(0 if tags_of() == {1: {"a": 1}} else 1)
    status = os.waitpid(child, 0)[1]
    done.set()
    thread.join(10)
    assert status == 0
