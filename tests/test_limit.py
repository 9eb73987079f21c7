"""``limit=``: values are weighed, recording stops with one warning and goes on when there is room. Without torch."""

from __future__ import annotations

import gc
import importlib
import sys
import threading
import warnings
from pathlib import Path

import numpy
import pytest

import astcapture
from astcapture.errors import CaptureWarning
from astcapture.record import budget, recording
from astcapture.record.free_memory import free_on
from astcapture.record.limit import in_words, read_limit
from astcapture.record.weight import EVENT, Scale

SOURCE = {
    "limited.py": """
        import numpy

        def f(x):
            y = x * 1
            return y

        def view(x):
            y = x[:1]
            return 0

        def number(x):
            y = x + 1
            return y
    """
}
KB = numpy.zeros(125)  # 1000 bytes


@pytest.fixture
def limited(make_package, fresh_imports):
    make_package(SOURCE)
    yield lambda: importlib.import_module("limited")
    astcapture.cache.clear()


def fill(f, count, value=KB):
    for _ in range(count):
        f(value)


def kept():
    return len(astcapture.cache["limited:f"])


@pytest.mark.parametrize(
    ("written", "size"),
    [
        (1000, 1000),
        ("1000", 1000),
        ("2GB", 2 * 10**9),
        ("2 gb", 2 * 10**9),
        ("512MiB", 512 * 2**20),
        ("0.5GB", 5 * 10**8),
        ("1_000kB", 10**6),
        ("10B", 10),
        ("3G", 3 * 10**9),
        ("auto", "auto"),
        ("AUTO", "auto"),
        ("none", None),
        (None, None),
    ],
)
def test_a_limit_is_a_number_or_a_size_in_words(written, size):
    assert read_limit(written) == size


@pytest.mark.parametrize(
    ("size", "words"), [(999, "999 bytes"), (64_000_000, "64 MB"), (1_234_567, "1.23 MB"), (5e12, "5 TB")]
)
def test_a_size_is_told_in_the_units_that_limits_are_written_in(size, words):
    assert in_words(size) == words
    assert abs(read_limit(words.replace(" bytes", "")) - size) <= size / 100


def test_at_the_limit_recording_stops_with_one_warning_and_the_program_goes_on(limited):
    with astcapture.install(["limited:f=y"], limit=20_000):
        f = limited().f
        with pytest.warns(CaptureWarning) as caught:
            fill(f, 100)
        assert f(KB).shape == (125,)
        before = kept()
        fill(f, 5)
        assert kept() == before
    assert 14 <= before <= 16  # of 1000 bytes and what a record takes besides
    (warning,) = caught
    text = str(warning.message)
    assert text.startswith("recording has stopped: ")
    assert "limit='20 kB' allows no more" in text
    for remedy in ("store=", "reduce=", "dtype=", "limit=", "cache.clear()"):
        assert remedy in text
    assert (
        f"'y' was not stored {106 - before} times: recording had stopped at the memory limit"
        in astcapture.cache.summary()
    )


def test_no_more_is_held_than_the_limit_allows(limited):
    with astcapture.install(["limited:f=y"], limit=50_000), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fill(limited().f, 200)
        held = sum(value.nbytes for value in astcapture.cache["limited:f"])
        assert 0.6 * 50_000 < held <= 50_000
        assert sum(budget.weigh().values()) <= 50_000


def test_a_value_that_does_not_fit_is_not_copied(limited):
    big = numpy.zeros(10**6)
    copies = []

    class Counting(numpy.ndarray):
        def copy(self, order="C"):
            copies.append(self.nbytes)
            return super().copy(order)

    with astcapture.install(["limited:view=x"], limit="1MB"), pytest.warns(CaptureWarning, match="has stopped"):
        limited().view(big.view(Counting))
    assert copies == []
    with astcapture.install(["limited:view=x"], limit=None):
        limited().view(big.view(Counting))
    assert copies == [8 * 10**6]


def test_clearing_the_cache_makes_room_and_recording_goes_on(limited):
    with astcapture.install(["limited:f=y"], limit=20_000):
        f = limited().f
        with pytest.warns(CaptureWarning):
            fill(f, 50)
        astcapture.cache.clear()
        assert kept() == 0
        fill(f, 5)
        assert kept() == 5
        with pytest.warns(CaptureWarning):
            fill(f, 50)


def test_a_block_that_is_dropped_makes_room(limited):
    with astcapture.install(["limited:f=y"], limit=20_000):
        f = limited().f
        with pytest.warns(CaptureWarning), astcapture.recording() as rec:
            fill(f, 50)
        fill(f, 5)
        assert kept() == 0
        assert len(rec["limited:f"]) > 10
        del rec
        gc.collect()
        fill(f, 5)
        assert kept() == 5


@pytest.mark.parametrize("limit", ["auto", "1MB"])
def test_a_cache_that_is_cleared_after_each_step_is_not_weighed_after_each(limited, monkeypatch, limit):
    weighed = []
    weigh = budget._weighed
    monkeypatch.setattr(budget, "_weighed", lambda: weighed.append(1) or weigh())
    with astcapture.install(["limited:f=y"], limit=limit), warnings.catch_warnings():
        warnings.simplefilter("error")
        f = limited().f
        for _ in range(200):
            fill(f, 20)
            assert kept() == 20
            astcapture.cache.clear()
    assert len(weighed) <= (1 if limit == "auto" else 10)  # 4 MB with what is kept of each value, by 1 MB


def test_blocks_that_are_dropped_one_after_another_never_reach_the_limit(limited):
    with astcapture.install(["limited:f=y"], limit=20_000), warnings.catch_warnings():
        warnings.simplefilter("error")
        f = limited().f
        for _ in range(20):
            with astcapture.recording() as rec:
                fill(f, 10)
            assert len(rec["limited:f"]) == 10


def test_blocks_and_the_cache_count_together(limited):
    with astcapture.install(["limited:f=y"], limit=20_000):
        f = limited().f
        fill(f, 10)
        with astcapture.recording() as rec, pytest.warns(CaptureWarning):
            fill(f, 10)
        assert 3 <= len(rec["limited:f"]) <= 6


def test_the_room_that_was_read_before_is_not_given_again(limited):
    def fill_and_read():
        for _ in range(50):
            limited().f(KB)
            kept()  # takes the events into the cache

    with astcapture.install(["limited:f=y"], limit=20_000), pytest.warns(CaptureWarning):
        fill_and_read()
    assert kept() <= 16


def test_a_warning_that_is_an_error_does_not_reach_the_program(limited, capsys):
    with astcapture.install(["limited:f=y"], limit=5_000), warnings.catch_warnings():
        warnings.simplefilter("error")
        fill(limited().f, 20)
    assert capsys.readouterr().err.startswith("CaptureWarning: recording has stopped: ")


def test_without_a_limit_nothing_is_weighed(limited, monkeypatch):
    monkeypatch.setattr(budget, "_weighed", lambda: pytest.fail("weighed"))
    with astcapture.install(["limited:f=y"], limit=None):
        fill(limited().f, 100)
        assert kept() == 100


def test_the_newest_hook_that_says_a_limit_decides(limited):
    with astcapture.install(["limited:f=y"], limit=10**6):
        with astcapture.install(["limited:number=y"]):
            assert budget.limit() == 10**6
            with astcapture.install(["limited:view=y"], limit=None):
                assert budget.limit() is None
        assert budget.limit() == 10**6
    assert budget.limit() == "auto"


def test_numbers_count_too(limited):
    # Events have no check of their own: the garbage collector's rounds are where they are counted.
    with astcapture.install(["limited:number=y"], limit="2MB"), pytest.warns(CaptureWarning, match="has stopped"):
        fill(limited().number, 40_000, 5)
    count = len(astcapture.cache["limited:number"])
    assert 4_000 < count < 12_000
    assert recording._watch_events not in gc.callbacks


def test_the_callback_of_the_collector_is_there_only_while_something_is_installed(limited):
    before = list(gc.callbacks)
    with astcapture.install(["limited:f=y"]):
        assert len(gc.callbacks) == len(before) + 1
    assert gc.callbacks == before


def test_every_thread_stops_at_one_limit(limited):
    with astcapture.install(["limited:f=y"], limit=200_000), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        f = limited().f
        threads = [threading.Thread(target=fill, args=(f, 200)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        count = kept()
    assert len(caught) == 1
    assert 130 <= count <= 170
    assert astcapture.cache.counts["limited:f", "y"].left_out == 1600 - count


def test_at_the_limit_a_store_is_asked_to_take_what_is_held(limited, monkeypatch):
    calls = []

    def spill():
        calls.append(kept())
        astcapture.cache.clear()

    monkeypatch.setattr(budget, "spill", spill)
    with astcapture.install(["limited:f=y"], limit=10_000), warnings.catch_warnings():
        warnings.simplefilter("error")
        fill(limited().f, 100)
        # Larger than the limit: nothing is lost with a store.
        limited().f(numpy.zeros(10_000))
        assert astcapture.cache["limited:f"][-1].nbytes == 80_000
    assert len(calls) > 10


def test_a_reduced_run_stays_flat(make_package, run_python):
    make_package(SOURCE)
    done = run_python(
        """
        import resource, numpy, astcapture, limited
        astcapture.install(["limited:f=y"], reduce=lambda y: y[:2], limit="20MB", imported="patch")
        x = numpy.zeros(500_000)  # 4 MB
        limited.f(x)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(100):  # 400 MB in all
            limited.f(x)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(len(astcapture.cache["limited:f"]), grown // 1024)
        """
    )
    count, grown = map(int, done.stdout.split())
    assert count == 101
    assert grown < 40, "MB"


# --- what values weigh --------------------------------------------------------------------------------------------


def weight(*values):
    scale = Scale()
    for value in values:
        scale.put(value)
    return scale.bytes["cpu"]


def test_a_view_weighs_what_it_keeps_alive():
    array = numpy.zeros(1000)
    assert weight(array[:1]) == 8000
    assert weight(array[:1], array[5:], array) == 8000
    assert weight(array.copy(), array) == 16000


def test_an_array_over_somebody_elses_memory_weighs_that():
    buffer = bytes(5000)
    assert weight(numpy.frombuffer(buffer, "u1")[:10]) >= 5000


def test_other_values_weigh_what_they_are_themselves():
    assert weight("x" * 1000) == sys.getsizeof("x" * 1000)
    assert weight([1] * 100) == sys.getsizeof([1] * 100) + 32 * 100
    shared = "x" * 1000
    assert weight(shared, shared) == weight(shared)


def test_nobodys_code_runs_when_a_value_is_weighed():
    class Odd:
        def __sizeof__(self):
            raise AssertionError("asked for its size")

        def __getattr__(self, name):
            raise AssertionError(f"asked for {name}")

    assert 0 < weight(Odd()) < 1000


def test_a_record_weighs_something_itself(limited):
    with astcapture.install(["limited:number=y"]):
        for value in range(10):
            limited().number(value)
        assert sum(budget.weigh().values()) >= 10 * EVENT


# --- what is free -------------------------------------------------------------------------------------------------


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MEMINFO = "MemTotal:       16000 kB\nMemFree:          100 kB\nMemAvailable:    8000 kB\n"


def test_free_is_what_linux_calls_available(tmp_path):
    proc = write(tmp_path / "proc", {"meminfo": MEMINFO, "self/cgroup": "0::/\n"})
    assert free_on("cpu", proc, tmp_path / "none") == 8000 * 1024


def test_a_container_of_version_two_leaves_less(tmp_path):
    proc = write(tmp_path / "proc", {"meminfo": MEMINFO, "self/cgroup": "0::/pod/app\n"})
    cgroup = write(
        tmp_path / "cgroup",
        {
            "pod/app/memory.max": "max\n",
            "pod/app/memory.current": "900000\n",
            "pod/memory.max": "3000000\n",
            "pod/memory.current": "1500000\n",
            "pod/memory.stat": "anon 1\ninactive_file 500000\n",
        },
    )
    assert free_on("cpu", proc, cgroup) == 3_000_000 - 1_500_000 + 500_000


def test_a_container_of_version_one_leaves_less(tmp_path):
    proc = write(tmp_path / "proc", {"meminfo": MEMINFO, "self/cgroup": "5:cpu:/x\n4:memory:/docker/abc\n"})
    files = {"memory/memory.limit_in_bytes": "2000000\n", "memory/memory.usage_in_bytes": "1500000\n"}
    assert free_on("cpu", proc, write(tmp_path / "cgroup", files)) == 500_000


def test_no_limit_in_version_one_is_a_number_that_no_machine_has(tmp_path):
    proc = write(tmp_path / "proc", {"meminfo": MEMINFO, "self/cgroup": "4:memory:/\n"})
    files = {"memory/memory.limit_in_bytes": "9223372036854771712\n", "memory/memory.usage_in_bytes": "1\n"}
    assert free_on("cpu", proc, write(tmp_path / "cgroup", files)) == 8000 * 1024


def test_where_linux_says_nothing_something_is_assumed(tmp_path):
    assert free_on("cpu", tmp_path, tmp_path) > 0


def test_auto_allows_a_quarter_of_what_is_free(limited, monkeypatch):
    monkeypatch.setattr(budget, "free_on", lambda device: 400_000)
    with (
        astcapture.install(["limited:f=y"]),
        pytest.warns(CaptureWarning, match="a quarter of the free memory"),
    ):
        fill(limited().f, 300)
    assert 70 <= kept() <= 81


def test_auto_leaves_half_of_what_is_free_when_the_program_takes_the_rest(limited, monkeypatch):
    free = [10**9]
    monkeypatch.setattr(budget, "free_on", lambda device: free[0])
    monkeypatch.setattr(budget, "STEP", 10_000)
    with astcapture.install(["limited:f=y"]):
        fill(limited().f, 50)
        free[0] = 1_500
        with pytest.warns(CaptureWarning, match="has stopped"):
            fill(limited().f, 500)
    assert 50 <= kept() < 200
