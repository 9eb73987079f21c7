"""Where captured values go and how they are asked for: the cache, its records, blocks, tags, pauses and threads."""

from __future__ import annotations

import contextlib
import pickle
import sys
import threading
from collections.abc import Callable, Iterator

import numpy
import pytest

import astcapture
from astcapture import CaptureError, cache, pause, recording, resume, tag
from astcapture.record import recorder, switch
from astcapture.values.record import Record, describe
from astcapture.values.records import Records
from astcapture.values.why_empty import WHY_NOT_CALLED

pytestmark = pytest.mark.usefixtures("fresh_imports")


@pytest.fixture(autouse=True)
def on(fresh_imports: object) -> Iterator[None]:
    """Recording on, as with a hook installed."""
    switch.installed(+1)
    yield
    switch.installed(-1)


def declare(*keys: str, labels: tuple[str, ...] = ("a",), skipped: tuple[tuple[str, str], ...] = ()) -> None:
    for key in keys:
        module, _, function = key.partition(":")
        recorder.declare(module, ((function, 1, labels),), skipped)


def take(value: object, label: str = "a", key: str = "m:f", line: int = 3) -> None:
    module, _, function = key.partition(":")
    recorder.record(None, (module, function, label, line), value)


def miss(label: str = "a", key: str = "m:f") -> None:
    module, _, function = key.partition(":")
    recorder.missed((module, function, label, 3))


# The mapping


def test_a_key_is_there_and_empty_before_its_function_has_run():
    declare("m:f")
    assert list(cache) == ["m:f"]
    assert len(cache["m:f"]) == 0
    assert "m:f" in cache
    assert len(cache) == 1


def test_values_come_in_call_order_and_labels_tell_them_apart():
    for step in range(3):
        take(step, "q")
        take(-step, "k")
    assert list(cache["m:f"]) == [0, 0, 1, -1, 2, -2]
    assert list(cache["m:f"]["q"]) == [0, 1, 2]
    assert cache["m:f"][3] == -1
    assert list(cache["m:f"][1:3]) == [0, 1]
    assert cache["m:f"]["k"][-1] == -2


def test_a_bare_qualname_works_where_it_is_unambiguous():
    take(1, key="one:C.f")
    assert list(cache["C.f"]) == [1]
    assert "C.f" in cache
    assert cache.get("C.g") is None


def test_an_ambiguous_qualname_is_an_error_that_lists_the_candidates():
    declare("one:C.f", "two:C.f")
    with pytest.raises(KeyError) as error:
        cache["C.f"]
    assert str(error.value) == "'C.f' is ambiguous: write 'one:C.f' or 'two:C.f'"
    assert "C.f" not in cache


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("Attention.forwrd", "'Attention.forwrd' is not captured; did you mean 'Attention.forward'?"),
        ("vit:Attention.forwrd", "'vit:Attention.forwrd' is not captured; did you mean 'vit:Attention.forward'?"),
        ("zzz", "'zzz' is not captured; captured are: vit:Attention.forward, vit:mlp"),
        (3, "3 is not captured: write 'MODULE:QUALNAME' or 'QUALNAME'"),
    ],
)
def test_an_unknown_key_is_told_with_the_nearest_or_with_all(key, text):
    declare("vit:Attention.forward", "vit:mlp")
    with pytest.raises(KeyError) as error:
        cache[key]
    assert str(error.value) == text


def test_a_label_asked_for_as_a_function_is_told_where_it_is():
    declare("vit:Attention.forward", labels=("attn", "q"))
    take(3, "attn", "vit:Attention.forward")
    with pytest.raises(KeyError) as error:
        cache["attn"]
    told = "'attn' is a label: write ['vit:Attention.forward']['attn'], or select(label='attn')"
    assert str(error.value) == told
    assert list(cache["vit:Attention.forward"]["attn"]) == list(cache.select(label="attn")) == [3]
    declare("vit:Other.forward", labels=("attn",))
    with pytest.raises(KeyError) as error:
        cache["attn"]
    assert str(error.value) == told + " for those of all 2 functions"


def test_asking_when_nothing_is_captured_says_what_to_call():
    with pytest.raises(KeyError) as error:
        cache["f"]
    assert str(error.value) == (
        "'f' is not captured, and neither is any other function: "
        "call astcapture.install([...]) or astcapture.attention(model) first"
    )


def test_an_unknown_label_is_told_with_those_there_are():
    take(1, "q")
    with pytest.raises(KeyError) as error:
        cache["m:f"]["attn"]
    assert str(error.value) == "no value labelled 'attn'; labels here: q"
    with pytest.raises(KeyError, match="there are no labels here"):
        Records()["attn"]


def test_two_caches_that_hold_the_same_are_still_two():
    assert cache != astcapture.Cache()
    assert len({cache, astcapture.Cache()}) == 2


def test_the_cache_and_its_records_describe_themselves():
    take(numpy.zeros((2, 3)))
    take(1, "b")
    assert repr(cache) == "<Cache: 2 values of 1 function>"
    assert repr(cache["m:f"]) == "<Records: 2 × a, b, the first float64 (2, 3)>"
    assert repr(Records()) == "<Records: empty>"
    assert repr(cache["m:f"].records[0]) == "<Record m:f a float64 (2, 3)>"


def test_a_class_of_arrays_is_described_as_the_class_it_is():
    assert describe(numpy.ndarray) == "type"
    take(numpy.ndarray)
    take(numpy.float32)
    assert "type" in cache.summary()


# Records


def test_a_record_knows_where_and_by_whom_it_was_taken():
    take(5, "q", "pkg.mod:C.f", line=12)
    (record,) = cache["C.f"].records
    assert (record.value, record.label, record.module, record.function) == (5, "q", "pkg.mod", "C.f")
    assert (record.lineno, record.layer, record.call, record.rank) == (12, None, 0, 0)
    assert record.thread == threading.get_ident()
    assert dict(record.tags) == {}
    assert record.key == "pkg.mod:C.f"


def test_the_rank_is_that_of_the_launcher(monkeypatch):
    monkeypatch.setenv("RANK", "3")
    take(5)
    assert cache["m:f"].records[0].rank == 3


def test_records_stack_along_a_new_leading_axis():
    take(numpy.zeros((2, 3)))
    take(numpy.ones((2, 3)))
    assert cache["m:f"].stack().shape == (2, 2, 3)
    assert Records([Record(1.5, "a", "m", "f", 1)]).stack().tolist() == [1.5]


def test_what_does_not_stack_says_why():
    with pytest.raises(CaptureError, match="nothing to stack: these Records are empty"):
        Records().stack()
    take(numpy.zeros(2))
    take(numpy.zeros(3))
    with pytest.raises(CaptureError, match=r"different shapes do not stack \(\(2,\), \(3,\)\)"):
        cache["m:f"].stack()


def test_records_by_layer_keep_the_order_of_first_appearance():
    records = Records([Record(n, "a", "m", "f", 1, layer=layer) for n, layer in enumerate(["b.1", "b.0", "b.1", None])])
    assert {layer: list(found) for layer, found in records.by_layer().items()} == {"b.1": [0, 2], "b.0": [1], None: [3]}
    assert list(records.by_layer()) == ["b.1", "b.0", None]


SELECTED: list[tuple[dict[str, object], list[int]]] = [
    ({"label": "q"}, [0, 2]),
    ({"label": "*"}, [0, 1, 2, 3]),
    ({"layer": "blocks.*.attn"}, [0, 1, 2]),
    ({"layer": "blocks.1.*", "label": "k"}, [1]),
    ({"call": 1}, [2]),
    ({"call": [0, 1], "label": ("q",)}, [0, 2]),
    ({"call": {0}}, [0, 1, 3]),
    ({"lineno": lambda line: line > 11}, [2, 3]),
    ({"image": "dog*"}, [0, 1]),
    ({"function": "f", "module": "m"}, [0, 1, 2]),
    ({"key": "m:g"}, [3]),
    ({"layer": None}, [3]),
    ({"no_such_tag": 1}, []),
    ({}, [0, 1, 2, 3]),
]


@pytest.mark.parametrize(("filters", "values"), SELECTED)
def test_select_filters_by_fields_and_tags_by_wildcard_membership_question_or_equality(filters, values):
    dog = {"image": "dog.jpg"}
    records = Records(
        [
            Record(0, "q", "m", "f", 10, "blocks.1.attn", 0, tags=dog),
            Record(1, "k", "m", "f", 11, "blocks.1.attn", 0, tags=dog),
            Record(2, "q", "m", "f", 12, "blocks.2.attn", 1, tags={"image": "cat.jpg"}),
            Record(3, "v", "m", "g", 13, None, 0),
        ]
    )
    assert list(records.select(**filters)) == values


def test_a_filter_that_looks_like_a_slip_is_an_error():
    take(1)
    with pytest.raises(CaptureError) as error:
        cache.select(lable="a")
    assert str(error.value) == "select(lable=...): no record has a tag 'lable'; did you mean 'label'?"
    with tag(lable="mine"):
        take(2)
    assert list(cache.select(lable="mine")) == [2]


def test_select_on_the_cache_goes_over_all_functions_in_call_order():
    take(1, key="m:f")
    take(2, key="n:g")
    take(3, key="m:f")
    assert list(cache.select(label="a")) == [1, 2, 3]


def test_a_record_can_be_pickled():
    take(1)
    record = cache["m:f"].records[0]
    with pytest.raises(AttributeError):
        record.value = 2  # type: ignore[misc]
    plain = Record(1, "a", "m", "f", 3)
    assert pickle.loads(pickle.dumps(plain)) == plain


# Clearing, blocks and tags


def test_clear_forgets_values_and_counts_and_keeps_the_functions():
    declare("m:f")
    take(1)
    miss()
    before = cache["m:f"]
    cache.clear()
    assert list(cache) == ["m:f"]
    assert len(cache["m:f"]) == 0
    assert cache.counts == {}
    assert list(before) == [1]  # what was handed out stays as it was
    take(2)
    assert list(cache["m:f"]) == [2]


def test_a_recording_block_takes_what_runs_inside_and_nothing_else():
    take(1)
    with recording() as rec:
        take(2)
        assert list(rec["m:f"]) == [2]
        with recording() as inner:
            take(3)
        take(4)
    take(5)
    assert list(rec["m:f"]) == [2, 4]
    assert list(inner["m:f"]) == [3]
    assert list(cache["m:f"]) == [1, 5]


def test_an_empty_recording_block_before_anything_is_captured_leaves_the_cache_in_place():
    with recording():
        pass
    take(1)
    assert list(cache["m:f"]) == [1]


def test_a_recording_block_ends_with_the_error_that_leaves_it():
    block = recording()
    with contextlib.suppress(ZeroDivisionError), block as rec:
        take(rec)
        raise ZeroDivisionError
    take(2)
    assert list(cache["m:f"]) == [2]


def test_tags_hold_inside_their_block_and_the_inner_one_wins():
    take(0)
    with tag(image="dog.jpg", split="val"):
        take(1)
        with tag(image="cat.jpg"):
            take(2)
        take(3)
    take(4)
    assert [dict(record.tags) for record in cache["m:f"].records] == [
        {},
        {"image": "dog.jpg", "split": "val"},
        {"image": "cat.jpg", "split": "val"},
        {"image": "dog.jpg", "split": "val"},
        {},
    ]
    assert list(cache.select(split="val")) == [1, 2, 3]


def test_a_tag_holds_for_the_threads_that_its_own_thread_starts_and_not_for_another_thread_with_tags():
    barrier = threading.Barrier(2)

    def tagged(name: str) -> None:
        with tag(name=name):
            barrier.wait()
            take(name)
            barrier.wait()

    run_all([lambda: tagged("one"), lambda: tagged("two")])
    assert sorted((record.value, record.tags["name"]) for record in cache["m:f"].records) == [
        ("one", "one"),
        ("two", "two"),
    ]
    cache.clear()
    with tag(name="main"):
        run_all([lambda: take(1)])
    assert cache["m:f"].records[0].tags["name"] == "main"


# Pausing


def test_nothing_is_recorded_while_paused_and_pauses_nest():
    take(1)
    pause()
    with pause():
        take(2)
        take(numpy.zeros(1))
        miss()
    take(3)
    resume()
    take(4)
    resume()  # once too often does nothing
    take(5)
    assert list(cache["m:f"]) == [1, 4, 5]
    assert cache.counts == {}


def test_after_the_last_hook_is_gone_nothing_is_recorded():
    switch.installed(-1)
    try:
        take(1)
        take(numpy.zeros(1))
        assert len(cache) == 0
    finally:
        switch.installed(+1)


# Threads


def run_all(works: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_eight_threads_lose_no_record_while_others_read():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            cache.summary()
            list(cache)
            cache.select(label="a")

    def write(number: int) -> None:
        for step in range(2000):
            declare(f"m{step % 50}:f{number}")
            take((number, step), key=f"m:f{number}")

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        run_all([lambda number=number: write(number) for number in range(8)])  # type: ignore[misc]
    finally:
        done.set()
        for reader in readers:
            reader.join()
        sys.setswitchinterval(interval)
    for number in range(8):
        assert list(cache[f"m:f{number}"]) == [(number, step) for step in range(2000)]


def test_a_forked_child_reads_and_records_for_itself(run_python):
    run_python("""
        import os, sys, threading
        from astcapture import cache
        from astcapture.record import recorder, switch
        from astcapture.values import cache as caches
        from astcapture.values.shared import shared
        switch.installed(+1)
        recorder.record(None, ("m", "f", "a", 1), 1)
        if not hasattr(os, "fork"): sys.exit()
        held, let_go = threading.Event(), threading.Event()
        def hold():
            with shared.lock:
                held.set(); let_go.wait()
        thread = threading.Thread(target=hold); thread.start(); held.wait()
        child = os.fork()
        if child == 0:
            recorder.record(None, ("m", "f", "a", 1), 2)
            os._exit(0 if list(cache["m:f"]) == [1, 2] else 1)
        let_go.set(); thread.join()
        assert os.waitpid(child, 0)[1] == 0
        assert list(cache["m:f"]) == [1]
    """)


# The summary

BRANCH = "m:empty: 'x' is empty because it was not bound at the one return that ran: a branch that does not bind it ran"


def test_the_summary_of_nothing_says_what_may_be_wrong():
    assert cache.summary() == (
        "astcapture: nothing was captured, because no function was rewritten. "
        "Is the module in the targets, and does the program import it?"
    )


def test_the_summary_is_a_table_with_what_was_missed_and_why():
    declare("m:f", labels=("attn", "q"))
    declare("m:never")
    declare("m:empty", labels=("x",), skipped=(("other", "x"),))
    take(numpy.zeros((2, 3), "float32"), "attn")
    take(numpy.zeros((2, 4), "float32"), "attn")
    take(3, "q")
    miss("q")
    miss("x", "m:empty")
    try:
        raise KeyError("gone")
    except KeyError:
        recorder.failed(("m", "f", "b", 3))
    assert cache.summary().splitlines() == [
        "function  label  count  shape           dtype    bytes  missed",
        "--------  -----  -----  --------------  -------  -----  ------",
        "m:f       attn       2  (2, 3), (2, 4)  float32   56 B",
        "m:f       q          1                  int                  1",
        "m:never   a          0",
        "m:empty   x          0                                       1",
        "m:f       b          0",
        "",
        f"m:never: {WHY_NOT_CALLED}",
        BRANCH,
        "m:f: 'b' failed once; the first time with KeyError: 'gone'",
        "m:other: skipped, it does not bind 'x'",
    ]


def test_large_sizes_and_many_shapes_are_put_shortly():
    for size in (10, 1_000, 400_000):
        take(numpy.zeros(size))
    assert "(10,) … (400000,) (3 kinds)" in cache.summary()
    assert "3.21 MB" in cache.summary()


def test_who_asks_for_a_value_that_is_not_there_is_told_why() -> None:
    declare("m:f", labels=("a", "b", "c"))
    with pytest.raises(IndexError, match=f"there is no value here: {WHY_NOT_CALLED}"):
        cache["f"][0]
    recorder.missed(("m", "f", "a", 3))
    with pytest.raises(IndexError, match="there is no value here: 'a' is empty because it was not bound at the one"):
        cache["f"][0]
    take(1, "b")
    with pytest.raises(
        KeyError, match="no value labelled 'a'; 'a' is empty because it was not bound at the one return"
    ):
        cache["f"]["a"]
    with pytest.raises(KeyError, match="no value labelled 'c'; it ran, but no line that assigns 'c' did"):
        cache["f"]["c"]
    with pytest.raises(KeyError, match="no value labelled 'z'; labels here: b"):
        cache["f"]["z"]


def test_lines_are_told_apart_where_one_execution_takes_several_values(tmp_path, monkeypatch) -> None:
    source = "def f(x):\n    y = x\n    y = y + 1\n    for y in (7, 8):\n        pass\n    return y\n"
    (tmp_path / "rebinding.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    with astcapture.install("rebinding:f=y@assign,x"), recording() as rec:
        import rebinding

        rebinding.f(1), rebinding.f(2)
        rows = [line.split("  ") for line in rec.summary().splitlines()[2:]]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert [row[1:4] for row in cells[:3]] == [
        ["y", "2: y = x", "2"],
        ["y", "3: y = y + 1", "2"],
        ["y", "4: for y in (7, 8):", "4"],
    ]
    assert cells[3][1:3] == ["x", "2"]
    assert list(rec["f"].select(lineno=3)) == [2, 3]
