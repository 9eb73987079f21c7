"""Values on their way to a store: what `cache` goes on to give, when shards are written, and what goes wrong."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy
import pytest

import astcapture
from astcapture import CaptureError, CaptureWarning, cache
from astcapture.record.events import events as waiting
from astcapture.store import process_folder
from astcapture.store.background import Background
from astcapture.values import open_store as stores
from astcapture.values import streaming


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.005)


def shards_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.safetensors"))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.mark.slow
def test_what_is_captured_is_on_disk_within_seconds_and_cache_goes_on_to_give_it(module: ModuleType, store: Path):
    before = threading.enumerate()
    with astcapture.install("streamed:f=y", store=store):
        for number in range(5):
            module.f(numpy.full(3, number))
        until(lambda: shards_in(store) and not cache.held.records and not waiting)
        assert len(cache["f"]) == 5 and cache["f"][3].tolist() == [3, 3, 3]
        module.f(numpy.full(3, 5))
        assert [int(value[0]) for value in cache["f"]] == [0, 1, 2, 3, 4, 5]
        assert [record.call for record in cache["f"].records] == [0, 1, 2, 3, 4, 5]
        assert threading.enumerate() == before and threading.active_count() == len(before)
        assert "streamed:f  y          6  (3,)   int64  144 B" in cache.summary()
        assert repr(cache) == "<Cache: 6 values of 1 function>"
    assert [int(value[0]) for value in cache["f"]] == [0, 1, 2, 3, 4, 5]
    run = astcapture.load(store)
    numpy.testing.assert_array_equal(run["f"].stack(), cache["f"].stack())
    assert run.summary() == cache.summary()


@pytest.mark.slow
def test_a_shard_is_written_as_soon_as_it_is_full(module: ModuleType, store: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("astcapture.store.background.PERIOD", 1000.0)
    monkeypatch.setattr("astcapture.store.background.LONGEST_PERIOD", 1000.0)
    with astcapture.install("streamed:f=y", store=store):
        for _ in range(streaming.MOST):
            module.f(1)
        until(lambda: shards_in(store))
        for _ in range(3):
            module.f(numpy.zeros(streaming.FULL // 2, "u1"))
        until(lambda: len(shards_in(store)) >= 2)
    assert sum(map(len, astcapture.load(store).processes[0].shards)) == streaming.MOST + 3


@pytest.mark.slow
def test_records_in_order_over_many_shards_are_all_there(
    module: ModuleType, store: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(streaming, "MOST", 7)
    with astcapture.install("streamed:f=y", store=store):
        for number in range(1000):
            module.f(number)
    run = astcapture.load(store)
    assert list(run["f"]) == list(range(1000)) == list(cache["f"])
    assert len(run.processes[0].shards) > 100


@pytest.mark.slow
def test_what_was_captured_before_stays_in_memory_and_is_not_stored(module: ModuleType, store: Path):
    with astcapture.install("streamed:f=y"):
        module.f("before")
        with astcapture.install("streamed:g=z", store=store):
            module.f("during")
        module.f("after")
        assert list(cache["f"]) == ["before", "during", "after"]
    assert list(astcapture.load(store)["f"]) == ["during"]


def test_a_block_of_its_own_stays_in_memory(module: ModuleType, store: Path):
    with astcapture.install("streamed:f=y", store=store):
        with astcapture.recording() as rec:
            module.f("inside")
        module.f("outside")
    assert list(rec["f"]) == ["inside"]
    assert list(astcapture.load(store)["f"]) == ["outside"] == list(cache["f"])


def test_clearing_the_cache_loses_nothing_that_is_to_be_stored(module: ModuleType, store: Path):
    with astcapture.install("streamed:f=y", store=store):
        for number in range(10):
            module.f(number)
            if number in (3, 7):
                cache.clear()
        assert list(cache["f"]) == [8, 9]
        stores.current().flush()
        cache.clear()
        assert len(cache["f"]) == 0
        module.f(10)
    assert list(cache["f"]) == [10]
    assert list(astcapture.load(store)["f"]) == list(range(11))


def test_tags_and_layers_go_to_the_store_as_they_were_when_the_value_came(module: ModuleType, store: Path):
    with astcapture.install("streamed:f=y", store=store):
        for image in ("a.jpg", "b.jpg"):
            with astcapture.tag(image=image):
                module.f(image)
        module.f("none")
    run = astcapture.load(store)
    assert list(run.select(image="b.*")) == ["b.jpg"]
    assert dict(run["f"].records[2].tags) == {}


def test_what_was_missed_is_told_by_the_stored_run_as_well(module: ModuleType, store: Path):
    with astcapture.install(["streamed:g=z", "streamed:f=y"], store=store):
        module.g(None)
        module.g(None)
        module.g(1)
        assert "missed" in cache.summary()
    run = astcapture.load(store)
    assert list(run) == ["streamed:f", "streamed:g"] == list(cache)
    assert len(run["f"]) == 0
    assert run.summary() == cache.summary()


def test_a_run_in_which_nothing_was_captured_says_so(module: ModuleType, store: Path):
    with astcapture.install("streamed:f=y", store=store):
        pass
    run = astcapture.load(store)
    assert list(run) == ["streamed:f"] and "it was not called while recording was on" in run.summary()


def test_values_that_cannot_be_stored_are_counted_and_warned_of_once(module: ModuleType, store: Path):
    with pytest.warns(CaptureWarning) as caught, astcapture.install("streamed:f=y", store=store):  # noqa: PT031
        for value in (1, object(), object(), 2):
            module.f(value)
    assert len(caught) == 1
    message = str(caught[0].message)
    assert "streamed:f: 'y'" in message and "type object" in message and "reduce=" in message
    run = astcapture.load(store)
    assert list(run["f"]) == [1, 2] == list(cache["f"])
    assert "'y' was not stored 2 times: a value of type object" in run.summary() == cache.summary()


@pytest.mark.slow
def test_eight_threads_lose_nothing(module: ModuleType, store: Path):
    def work(thread: int) -> None:
        for number in range(2000):
            module.f((thread, number))

    with astcapture.install("streamed:f=y", store=store):
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    stored = list(astcapture.load(store)["f"])
    assert sorted(stored) == [(thread, number) for thread in range(8) for number in range(2000)]
    for thread in range(8):
        assert [number for one, number in stored if one == thread] == list(range(2000))


@pytest.mark.slow
def test_a_folder_that_holds_another_run_is_added_to(module: ModuleType, store: Path):
    for number in range(3):
        with astcapture.install("streamed:f=y", store=store):
            module.f(number)
    assert [path.name for path in shards_in(store)] == [f"{number:06}.safetensors" for number in range(3)]
    assert list(astcapture.load(store)["f"]) == [0, 1, 2]


@pytest.mark.slow
def test_two_hooks_share_a_store_and_the_last_closes_it(module: ModuleType, store: Path):
    one = astcapture.install("streamed:f=y", store=store)
    other = astcapture.install("streamed:g=z", store=str(store))
    module.f(1)
    one.uninstall()
    module.g(2)
    other.uninstall()
    assert stores.current() is None
    run = astcapture.load(store)
    assert list(run["f"]) == [1] and list(run["g"]) == [2]
    assert run.processes[0].about["targets"] == ["streamed:f=y", "streamed:g=z"]


def test_a_second_store_at_the_same_time_is_refused(module: ModuleType, store: Path, tmp_path: Path):
    with astcapture.install("streamed:f=y", store=store):
        with pytest.raises(CaptureError, match=r"streams to .*run.* already"):
            astcapture.install("streamed:g=z", store=tmp_path / "other")
        module.f(1)
    assert list(astcapture.load(store)["f"]) == [1]


def test_a_store_that_cannot_be_one_is_refused_at_once(module: ModuleType, tmp_path: Path):
    file = tmp_path / "file"
    file.write_text("mine")
    for path in (file, file / "below"):
        with pytest.raises(CaptureError, match="is a file or inside a file: name a folder"):
            astcapture.install("streamed:f=y", store=path)
    with pytest.raises(CaptureError, match="is not a valid path"):
        astcapture.install("streamed:f=y", store="a\0b")
    assert file.read_text() == "mine" and stores.current() is None
    module.f(1)
    assert len(cache) == 0


# What goes wrong while it runs


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Makes every write fail as on a full disk, or succeed again."""
    write = process_folder.write_shard
    failing = False

    def write_or_fail(*arguments: object, **named: object) -> object:
        if failing:
            raise OSError(28, os.strerror(28))
        return write(*arguments, **named)

    def switch(on: bool) -> None:
        nonlocal failing
        failing = on

    monkeypatch.setattr(process_folder, "write_shard", write_or_fail)
    return switch


def test_a_full_disk_is_one_warning_with_how_much_is_lost_and_the_program_goes_on(
    module: ModuleType, store: Path, full: Callable[[bool], None]
):
    with pytest.warns(CaptureWarning) as caught:  # noqa: PT031
        with astcapture.install("streamed:f=y", store=store):
            module.f(0)
            stores.current().flush()
            full(True)
            for number in range(1, 4):
                module.f(number)
                stores.current().flush()
            assert list(cache["f"]) == [0, 1, 2, 3]  # kept, and tried again
    assert len(caught) == 1
    assert "No space left on device" in str(caught[0].message) and "3 values are lost" in str(caught[0].message)
    assert list(astcapture.load(store)["f"]) == [0]


def test_a_disk_that_has_room_again_has_lost_nothing(module: ModuleType, store: Path, full: Callable[[bool], None]):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with astcapture.install("streamed:f=y", store=store):
            full(True)
            for number in range(10):
                module.f(number)
            stores.current().flush()
            full(False)
    assert list(astcapture.load(store)["f"]) == list(range(10))


def test_with_a_full_disk_memory_stays_bounded(
    module: ModuleType, store: Path, full: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(streaming, "PATIENCE", 1_000_000)
    full(True)
    with pytest.warns(CaptureWarning, match=r"values are lost") as caught:  # noqa: PT031
        with astcapture.install("streamed:f=y", store=store):
            for _ in range(100):
                module.f(numpy.zeros(100_000, "u1"))
                stores.current().flush()
                assert sum(record.value.nbytes for record in cache.held.records) <= 1_100_000
    assert 1 <= len(caught) <= 2
    assert "100 values are lost" in str(caught[-1].message)


@pytest.mark.slow
def test_strict_raises_what_went_wrong_where_the_user_looks_and_on_uninstall(
    module: ModuleType, store: Path, full: Callable[[bool], None]
):
    hook = astcapture.install("streamed:f=y", store=store, strict=True)
    full(True)
    assert module.f(1) == 1
    stores.current().flush()
    assert module.f(2) == 2  # the program itself is left alone
    with pytest.raises(CaptureError, match=r"cannot be written to: No space left on device"):
        len(cache["f"])
    full(False)
    hook.uninstall()
    other = astcapture.install("streamed:f=y", store=store, strict=True)
    module.f(3)
    full(True)
    with pytest.raises(CaptureError, match="No space left"), pytest.warns(CaptureWarning, match="1 value is lost"):
        other.uninstall()
    assert stores.current() is None


def test_a_folder_that_vanishes_is_made_again_and_what_was_in_it_is_named_when_it_is_asked_for(
    module: ModuleType, store: Path
):
    with astcapture.install("streamed:f=y", store=store):
        module.f(numpy.ones(3))
        stores.current().flush()
        for path in shards_in(store):
            path.unlink()
            path.parent.rmdir()
        store.rmdir()
        module.f(2)
    assert list(astcapture.load(store)["f"]) == [2]
    with pytest.raises(CaptureError, match=r"000000.safetensors cannot be read, and its values are gone"):
        list(cache["f"])


@pytest.mark.slow
def test_a_bug_in_the_writer_is_told_and_not_the_programs(
    module: ModuleType, store: Path, monkeypatch: pytest.MonkeyPatch
):
    told = threading.Event()
    monkeypatch.setattr(streaming, "warn", lambda text: told.set())
    with astcapture.install("streamed:f=y", store=store):
        monkeypatch.setattr(streaming.Stream, "_write_some", lambda *_: 1 / 0)
        module.f(1)
        assert told.wait(20)
        monkeypatch.undo()
    assert list(astcapture.load(store)["f"]) == [1]


# The thread


def test_the_thread_stops_when_it_is_told_and_starts_again():
    worked = threading.Semaphore(0)
    background = Background(worked.release, lambda: False)
    for _ in range(3):
        background.start()
        background.start()
        background.wake()
        assert worked.acquire(timeout=20)
        background.stop()
        background.stop()
        assert not background.running


def test_save_writes_what_is_in_memory_and_what_is_stored(module: ModuleType, store: Path, tmp_path: Path):
    with astcapture.install("streamed:f=y", store=store):
        with astcapture.tag(image="a"):
            module.f(numpy.arange(3))
        stores.current().flush()
        module.f((1, None))
        cache.save(tmp_path / "saved")
    run = astcapture.load(tmp_path / "saved")
    assert run["f"][0].tolist() == [0, 1, 2] and run["f"][1] == (1, None)
    assert run.select(image="a").records[0].call == 0
    run.save(tmp_path / "again")
    assert astcapture.load(tmp_path / "again").summary() == cache.summary()


def test_save_says_what_it_cannot_write(module: ModuleType, tmp_path: Path):
    with astcapture.install("streamed:f=y"):
        module.f(object())
        module.f(1)
    with pytest.warns(CaptureWarning, match="1 of 2 values are not saved, .*type object"):
        cache.save(tmp_path / "saved")
    assert list(astcapture.load(tmp_path / "saved")["f"]) == [1]
    (tmp_path / "file").write_text("")
    with pytest.raises(CaptureError, match="name a folder"):
        cache.save(tmp_path / "file")


def test_records_become_arrays(module: ModuleType, store: Path):
    with astcapture.install("streamed:f=y", store=store):
        for number in range(6):
            module.f(numpy.full((2, 3), number, "f4"))
        module.f(7)
    records = astcapture.load(store)["f"][:6]
    array = records.to_numpy()
    assert array.shape == (6, 2, 3) and array.dtype == "float32" and array[:, 1, 2].tolist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(CaptureError, match="different shapes do not stack"):
        astcapture.load(store)["f"].to_numpy()
    with pytest.raises(CaptureError, match="are empty"):
        records[:0].to_numpy()


def test_a_value_can_be_written_to_and_the_file_stays_as_it_is(module: ModuleType, store: Path):
    with astcapture.install("streamed:f=y", store=store):
        module.f(numpy.arange(5))
    before = shards_in(store)[0].read_bytes()
    value = astcapture.load(store)["f"][0]
    value[:] = 9
    assert shards_in(store)[0].read_bytes() == before
    assert astcapture.load(store)["f"][0].tolist() == [0, 1, 2, 3, 4]


def test_values_of_more_shards_than_there_are_file_descriptors_can_be_held(
    module: ModuleType, store: Path, monkeypatch: pytest.MonkeyPatch
):
    import resource

    monkeypatch.setattr(streaming, "MOST", 1)
    monkeypatch.setattr("astcapture.store.maps._MOST_ALIVE", 20)
    monkeypatch.setattr("astcapture.store.maps._MOST", 10)
    with astcapture.install("streamed:f=y", store=store):
        for number in range(200):
            module.f(numpy.full(3, number))
    records = astcapture.load(store)["f"]
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 60, limits[1]))
    try:
        values = list(records)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert [int(value[0]) for value in values] == list(range(200))


@pytest.mark.parametrize(("age", "wait"), [(0, 1), (50, 1), (300, 3), (5000, 10)])
def test_the_wait_between_two_shards_grows_with_a_long_run_up_to_ten_seconds(age: float, wait: float):
    background = Background(lambda: None, lambda: False)
    background._since -= age
    waited = []

    class Bell:
        def acquire(self, timeout: float) -> bool:
            waited.append(timeout)
            return False

    background._bell = Bell()
    assert background._wait()
    assert sum(waited) == pytest.approx(wait, abs=0.2)


def test_a_folder_that_nobody_may_write_to_is_refused(module: ModuleType, store: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # whoever runs the tests may be allowed everything
    with pytest.raises(CaptureError, match=r"cannot write to the store .*: no permission"):
        astcapture.install("streamed:f=y", store=store)


def test_what_waits_behind_a_full_disk_counts_as_held_also_after_the_cache_was_cleared(
    module: ModuleType, store: Path, full: Callable[[bool], None]
):
    from astcapture.record import budget

    full(True)
    with astcapture.install("streamed:f=y", store=store):
        module.f(numpy.zeros(100_000, "u1"))
        cache.clear()
        assert budget.weigh()["cpu"] >= 100_000
        full(False)
        stores.current().flush()
        assert budget.weigh()["cpu"] < 100_000
    assert len(astcapture.load(store)["f"]) == 1


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs the system's list of threads")
def test_a_thread_that_has_stopped_is_none_to_the_system_any_more() -> None:
    # A fork warns of threads by that list.
    before = set(os.listdir("/proc/self/task"))
    for _ in range(100):
        background = Background(lambda: None, lambda: False)
        background.start()
        background.stop()
        assert set(os.listdir("/proc/self/task")) <= before
