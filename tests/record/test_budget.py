"""How much room is left for values: what is held, what "auto" allows of what is free, and what is said at the limit."""

from __future__ import annotations

import gc
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from astcapture.errors import CaptureWarning
from astcapture.record import budget
from astcapture.record.scope import Holding
from astcapture.record.weight import EVENT

GB = 2**30
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


class Holder:
    def __init__(self, *values: Any) -> None:
        self.values = values

    def held_values(self) -> Iterable[Any]:
        return self.values


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Nothing is held and no limit is said; what the recorder is told."""
    told: list[str] = []
    for name, value in (
        ("_holders", {}),
        ("_sources", []),
        ("_limits", {}),
        ("_allowed", {}),
        ("_warned", False),
        ("_left_out", type(budget._left_out)()),
        ("spill", None),
        ("on_room", lambda: told.append("room")),
        ("on_limit", lambda: told.append("limit")),
        ("accelerators", list),
        ("free_on", lambda device: GB),
    ):
        monkeypatch.setattr(budget, name, value)
    return told


def texts(size: int, count: int = 1) -> list[str]:
    """So many strings that weigh so much each."""
    return [str(n).ljust(size - sys.getsizeof("")) for n in range(count)]


def test_what_is_held_is_what_holders_and_sources_have_and_a_little_for_each():
    holder = Holder(*texts(1000, 3))
    budget.hold(holder)
    budget.source(lambda: texts(500, 2))
    assert budget.weigh() == {"cpu": 4000 + 5 * EVENT}


def test_a_holder_that_is_gone_makes_room(asked: list[str]):
    gc.collect()  # what other tests have left
    asked.clear()
    holder = Holder(*texts(1000))
    budget.hold(holder)
    assert asked == []
    del holder
    gc.collect()
    assert asked == ["room"]
    assert budget.weigh() == {"cpu": 0}


def test_without_a_limit_there_is_as_much_room_as_one_can_count():
    budget.ask("hook", None)
    budget.source(lambda: pytest.fail("weighed"))
    assert budget.look(10**12) == sys.maxsize


def test_a_limit_allows_what_is_not_held_yet():
    budget.ask("hook", 10_000)
    budget.source(lambda: texts(1000, 2))
    assert budget.look(100) == 10_000 - 2 * (1000 + EVENT)


def test_room_that_is_wanted_exactly_is_given():
    budget.ask("hook", 10_000)
    assert budget.look(10_000) == 10_000
    budget.ask("hook", 1)
    assert budget.look(1) == 1
    budget.ask("hook", 10_000)
    with pytest.warns(CaptureWarning, match="recording has stopped: captured values take 0 bytes"):
        assert budget.look(10_001) == 0


def test_so_near_the_limit_that_weighing_would_take_longer_than_the_room_lasts_there_is_none():
    def room(held: int, values: int) -> int:
        return budget._room(100_000, Counter({"cpu": held}), values, 1)

    assert room(99_500, 1000) == 500
    assert room(99_500, 1001) == 0
    assert room(99_000, 1001) == 1000
    assert room(99_001, 1001) == 0


@pytest.mark.parametrize(
    ("held", "free", "wanted", "room"),
    [
        (0, GB, 1, 64 * 2**20),  # the least that is given
        (0, GB, 100 * 2**20, 100 * 2**20),  # what is wanted, where that is more
        (120 * 2**20, GB, 1, 120 * 2**20),  # as much as is held, where that is more
        (0, GB, GB, GB // 4),  # a quarter of what is free
        (0, 100 * 2**20, 1, 25 * 2**20),
    ],
)
def test_auto_gives_some_of_a_quarter_of_what_is_free(
    monkeypatch: pytest.MonkeyPatch, held: int, free: int, wanted: int, room: int
):
    monkeypatch.setattr(budget, "free_on", lambda device: free)
    assert budget._room("auto", Counter({"cpu": held}), 1, wanted) == room


def test_auto_allows_a_quarter_of_what_was_free_with_what_was_held_then(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(budget, "free_on", lambda device: 3000)
    assert budget._left("cpu", 1000) == 0  # of 4000
    assert budget._left("cpu", 400) == 600
    monkeypatch.setattr(budget, "free_on", lambda device: 1000)
    assert budget._left("cpu", 100) == 500  # half of what is free now
    monkeypatch.setattr(budget, "free_on", lambda device: 1001)
    assert repr(budget._left("cpu", 100)) == "500"  # whole bytes, which are subtracted from sooner


def test_auto_goes_by_the_device_that_has_least(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(budget, "free_on", {"cpu": 40_000, "cuda:0": 8000, "cuda:1": 20_000}.__getitem__)
    assert budget._room("auto", Counter({"cpu": 0}), 1, 1) == 10_000
    assert budget._room("auto", Counter({"cpu": 0, "cuda:1": 1000}), 1, 1) == (20_000 + 1000) // 4 - 1000
    monkeypatch.setattr(budget, "accelerators", lambda: ["cuda:0"])
    assert budget._room("auto", Counter({"cpu": 0}), 1, 1) == 2000


def test_another_limit_has_the_room_looked_at_anew(asked: list[str], monkeypatch: pytest.MonkeyPatch):
    assert budget._left("cpu", 0) == GB // 4
    monkeypatch.setattr(budget, "free_on", lambda device: 4000)
    budget.ask("hook", "auto")
    assert asked == ["room", "limit"]
    assert budget._left("cpu", 0) == 1000
    budget.release("other")
    assert asked == ["room", "limit"]
    budget.release("hook")
    assert asked == ["room", "limit"] * 2


def test_the_limit_is_that_of_the_newest_hook_that_says_one():
    for hook, limit in (("a", 1000), ("b", 2000), ("c", "auto")):
        budget.ask(hook, limit)
    assert budget.limit() == 2000
    budget.release("b")
    assert budget.limit() == 1000
    budget.release("a")
    assert budget.limit() == "auto"


def at_the_limit(limit: int | str, held: int) -> str:
    budget.ask("hook", limit)
    budget.source(lambda: texts(held - EVENT))
    with pytest.warns(CaptureWarning) as caught:
        assert budget.look(10**12) == 0
    (warning,) = caught
    assert (warning.filename, warning.lineno) == ("astcapture", 0)
    return str(warning.message)


REMEDIES = (
    "The program continues, and cache.summary() counts the values that are left out. To keep all values, stream them "
    "to disk with store=DIR; to keep more, make them smaller with reduce= or dtype=, or raise limit=. After "
    "cache.clear() recording resumes"
)


def test_at_a_limit_it_is_said_how_much_is_held_and_what_can_be_done():
    assert at_the_limit(20_000, 5000) == (
        f"recording has stopped: captured values take 5 kB, and limit='20 kB' allows no more. {REMEDIES}"
    )


def test_at_the_limit_of_auto_it_is_said_what_that_allows():
    assert at_the_limit("auto", 5000) == (
        'recording has stopped: captured values take 5 kB, and limit="auto" allows a quarter of the free '
        f"memory. {REMEDIES}"
    )


def test_it_is_said_once_until_there_is_room():
    budget.ask("hook", 100)
    with pytest.warns(CaptureWarning) as caught:
        assert [budget.look(1000), budget.look(1000)] == [0, 0]
    assert len(caught) == 1
    budget.made_room()
    with pytest.warns(CaptureWarning):
        budget.look(1000)


def test_where_warnings_are_errors_it_is_written_to_standard_error(capsys: pytest.CaptureFixture[str]):
    budget.ask("hook", 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert budget.look(1000) == 0
    error = capsys.readouterr().err
    assert error.startswith("CaptureWarning: recording has stopped: ")
    assert error.endswith("recording resumes\n")


def storing(monkeypatch: pytest.MonkeyPatch, held: list[str], *, frees: bool) -> list[int]:
    spilled: list[int] = []

    def spill() -> None:
        spilled.append(len(held))
        if frees:
            held.clear()

    monkeypatch.setattr(budget, "spill", spill)
    budget.source(lambda: held)
    budget.ask("hook", 10_000)
    return spilled


def test_with_a_store_what_is_held_is_stored_first(monkeypatch: pytest.MonkeyPatch):
    spilled = storing(monkeypatch, texts(2000, 4), frees=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert budget.look(1000) == 10_000 - 4 * (2000 + EVENT)
        assert spilled == []
        assert budget.look(2000) == 10_000
        assert spilled == [4]
        assert budget.look(50_000) == 50_000  # one value that is larger than the limit


def test_with_a_store_auto_counts_what_has_become_free_by_storing(monkeypatch: pytest.MonkeyPatch):
    held = texts(2000, 4)
    spilled = storing(monkeypatch, held, frees=True)
    budget.ask("hook", "auto")
    monkeypatch.setattr(budget, "free_on", lambda device: 40_000 - 2000 * len(held))
    assert budget.look(9000) == (40_000 + 4 * EVENT) // 4
    assert spilled == [4]


def test_with_a_store_that_frees_nothing_recording_stops(monkeypatch: pytest.MonkeyPatch):
    spilled = storing(monkeypatch, texts(5000, 2), frees=False)
    with pytest.warns(CaptureWarning):
        assert budget.look(1) == 0
    assert spilled == [2]


def test_what_is_recorded_while_it_is_weighed_is_let_through():
    inner: list[int | None] = []

    def values() -> list[str]:
        inner.append(budget.look(10))
        return []

    budget.ask("hook", 10_000)
    budget.source(values)
    assert budget.look(10) == 10_000
    assert inner == [64 * 2**20]
    assert budget.look(10) == 10_000  # and it is weighed again afterwards


def test_weighing_that_fails_leaves_no_trace():
    def values() -> list[str]:
        if fails:
            raise OSError
        return []

    budget.ask("hook", 10_000)
    budget.source(values)
    fails = True
    with pytest.raises(OSError):
        budget.look(10)
    fails = False
    assert budget.look(10) == 10_000


def test_values_that_are_left_out_are_counted_by_site_and_cache_until_they_are_asked_for():
    one = Holding({}, "one", False)
    for site, holding in (("a", None), ("b", None), ("a", None), ("a", one), ("a", Holding({"k": 1}, "one", False))):
        budget.leave_out(site, holding)
    assert budget.take_left_out() == {("a", None): 2, ("b", None): 1, ("a", "one"): 2}
    assert budget.take_left_out() == {}


def in_fork(work: Callable[[], bool]) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on, of threads that may run
        child = os.fork()
    if child == 0:
        os._exit(0 if work() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@needs_fork
def test_a_fork_made_while_another_thread_weighs_can_weigh(monkeypatch: pytest.MonkeyPatch):
    import threading

    budget.ask("hook", 10_000)
    holds, done = threading.Event(), threading.Event()

    def weigh() -> list[str]:
        holds.set()
        done.wait(10)
        return []

    def count() -> None:
        with budget._counting:
            holding.set()
            done.wait(10)

    holding = threading.Event()
    sources: list[Callable[[], Iterable[Any]]] = [weigh]
    monkeypatch.setattr(budget, "_sources", sources)
    threads = [threading.Thread(target=budget.look, args=(10,)), threading.Thread(target=count)]
    for thread in threads:
        thread.start()
    assert holds.wait(10)
    assert holding.wait(10)
    sources.clear()

    def work() -> bool:
        import signal

        signal.alarm(5)  # a lock that nobody releases would be waited for without end
        budget.leave_out("a")
        return budget.look(10) == 10_000 and budget.take_left_out() == {("a", None): 1}

    assert in_fork(work)
    done.set()
    for thread in threads:
        thread.join()
