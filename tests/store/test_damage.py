"""Files that are not what was written: named and left out, and never a crash, a hang or a wrong value."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import resource
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import astcapture
from astcapture import CaptureError, CaptureWarning

FAST = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)

VALUES = [
    numpy.arange(600.0).reshape(2, 300),
    "text",
    {"a": [numpy.ones(3, "u1"), 2]},
    numpy.arange(20_000, dtype="i8"),
    "long" * 1000,
    None,
]


@pytest.fixture
def run(write: Callable[..., object], tmp_path: Path) -> Path:
    """A run with a whole shard, and one to be damaged: host-0-1/000001.safetensors."""
    write(["whole"])
    write(VALUES, layer="blocks.0")
    return tmp_path / "run"


def shard_of(run: Path) -> Path:
    return run / "host-0-1" / "000001.safetensors"


def same(back: object, value: object) -> bool:
    if isinstance(value, numpy.ndarray):
        return isinstance(back, numpy.ndarray) and back.dtype == value.dtype and back.tobytes() == value.tobytes()
    if isinstance(value, dict):
        return isinstance(back, dict) and same(back["a"][0], value["a"][0]) and back["a"][1] == 2
    return type(back) is type(value) and back == value


def check(run: Path) -> int:
    """Load a run of which one shard may be anything; the number of its values that are had.

    The whole shard is there. Of the other, each value is right, or an error names the file; or none is
    there, and a warning names it.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded = astcapture.load(run)
    records = loaded.select().records
    assert records[0].value == "whole"
    loaded.summary()
    if shard_of(run) in loaded.damaged:
        assert len(caught) == 1 and issubclass(caught[0].category, CaptureWarning)
        assert str(shard_of(run)) in str(caught[0].message)
        assert len(records) == 1
        return 0
    assert not caught and len(records) == 1 + len(VALUES)
    had, told = 0, []
    for record, value in zip(records[1:], VALUES, strict=True):
        try:
            back = record.value
        except CaptureError as error:
            told.append(str(error))
        else:
            assert same(back, value)
            had += 1
    assert all(str(shard_of(run)) in one for one in told)
    return had


def test_a_whole_run_is_read_whole(run: Path):
    assert check(run) == len(VALUES)


@FAST
@given(data=st.data())
def test_a_shard_cut_anywhere_is_left_out(run: Path, data: st.DataObject):
    whole = shard_of(run).read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    length = data.draw(
        st.one_of(
            st.integers(0, 9),
            st.integers(8, start),
            st.integers(start - 3, start + 3),
            st.integers(start, len(whole) - 1),
        )
    )
    try:
        shard_of(run).write_bytes(whole[:length])
        assert check(run) == 0
    finally:
        shard_of(run).write_bytes(whole)


@FAST
@given(data=st.data())
def test_a_flipped_bit_anywhere_is_seen(run: Path, data: st.DataObject):
    whole = bytearray(shard_of(run).read_bytes())
    start = 8 + int.from_bytes(whole[:8], "little")
    where = st.one_of(st.integers(0, 7), st.integers(8, start - 1), st.integers(start, len(whole) - 1))
    damaged = bytearray(whole)
    for position, bit in data.draw(st.lists(st.tuples(where, st.integers(0, 7)), min_size=1, max_size=4, unique=True)):
        damaged[position] ^= 1 << bit
    try:
        shard_of(run).write_bytes(damaged)
        had = check(run)
        if any(one != other for one, other in zip(damaged[start:], whole[start:], strict=True)):
            assert had < len(VALUES)
    finally:
        shard_of(run).write_bytes(whole)


@FAST
@given(
    text=st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(
                    st.sampled_from(["__metadata__", "astcapture", "checksum", "dtype", "a"]), inner, max_size=4
                )
            ),
            max_leaves=15,
        ).map(lambda value: json.dumps(value).encode()),
    ),
    rest=st.binary(max_size=50),
)
def test_any_header_at_all_is_left_out(run: Path, text: bytes, rest: bytes):
    whole = shard_of(run).read_bytes()
    try:
        shard_of(run).write_bytes(len(text).to_bytes(8, "little") + text + rest)
        assert check(run) == 0
    finally:
        shard_of(run).write_bytes(whole)


def forge(run: Path, change: Callable[[dict[str, object]], object]) -> None:
    """Change what the header says, its checksum with it: somebody wants to be believed."""
    from astcapture.store.header import metadata

    whole = shard_of(run).read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8:start])
    about = json.loads(header["__metadata__"]["astcapture"])
    change(about)
    header["__metadata__"] = metadata(json.dumps(about))
    text = json.dumps(header).encode()
    shard_of(run).write_bytes(len(text).to_bytes(8, "little") + text + whole[start:])


KEYS = "version run first bytes sites layers models tags forms groups group call sums values gradients notes".split()  # noqa: SIM905
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@FAST
@given(key=st.sampled_from(KEYS), value=ODD)
def test_a_forged_header_with_a_right_checksum_is_no_crash(run: Path, key: str, value: object):
    whole = shard_of(run).read_bytes()
    try:
        forge(run, lambda about: about.update({key: value}))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CaptureWarning)
            loaded = astcapture.load(run)
        loaded.summary()
        for record in loaded.select().records:
            with contextlib.suppress(CaptureError):
                repr(record), record.value, record.grad
    finally:
        shard_of(run).write_bytes(whole)


@pytest.mark.parametrize("claimed", [2**64 - 1, 2**63, 2**40, 200_000_000])
def test_an_absurd_length_is_refused_without_allocating_it(run: Path, claimed: int):
    whole = bytearray(shard_of(run).read_bytes())
    whole[:8] = claimed.to_bytes(8, "little")
    shard_of(run).write_bytes(whole)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert check(run) == 0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


def test_an_array_whose_place_is_said_to_be_elsewhere_is_not_believed(run: Path):
    whole = shard_of(run).read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    for begin, end in ((-8, 4792), (0, 2**40), (8, 4808), (4800, 0), (0, 10**30), (0.5, 4800.5)):
        header = json.loads(whole[8:start])
        header["m:f/a/blocks.0/0"]["data_offsets"] = [begin, end]
        text = json.dumps(header).encode()
        shard_of(run).write_bytes(len(text).to_bytes(8, "little") + text + whole[start:])
        assert check(run) == len(VALUES) - 1


def test_two_values_that_have_changed_places_are_not_taken_for_each_other(run: Path, write: Callable[..., object]):
    path = write([numpy.arange(5.0), numpy.ones(5)], run / "other").path
    whole = path.read_bytes()
    one, other = (array.tobytes() for array in (numpy.arange(5.0), numpy.ones(5)))
    assert whole.endswith(one + other)
    path.write_bytes(whole[: -len(one + other)] + other + one)
    for record in astcapture.load(run).select().records[-2:]:
        with pytest.raises(CaptureError, match="checksum"):
            _ = record.value


def test_all_that_is_damaged_can_be_found_at_once(run: Path):
    whole = bytearray(shard_of(run).read_bytes())
    whole[-1] ^= 1
    shard_of(run).write_bytes(whole)
    with pytest.warns(CaptureWarning, match="000001.safetensors is left out"):
        loaded = astcapture.load(run, verify=True)
    assert list(loaded.damaged) == [shard_of(run)] and list(loaded["f"]) == ["whole"]


@pytest.mark.parametrize("read_before", [False, True])
def test_a_file_that_shrinks_after_it_was_opened_is_an_error_that_names_it(run: Path, read_before: bool):
    records = astcapture.load(run).select().records
    if read_before:
        assert same(records[1].value, VALUES[0])
    with open(shard_of(run), "r+b") as file:
        file.truncate(100)
    with pytest.raises(CaptureError, match=r"000001.safetensors.*size"):
        _ = records[4].value


def test_a_file_that_goes_after_it_was_opened_is_an_error_that_names_it(run: Path):
    records = astcapture.load(run).select().records
    shard_of(run).unlink()
    with pytest.raises(CaptureError, match=r"000001.safetensors.*No such file"):
        _ = records[4].value


def test_nothing_is_unpickled(run: Path):
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(run / "sprung"),)

    shard_of(run).write_bytes(pickle.dumps(Trap()))
    (run / "host-0-1" / "000002.safetensors").write_bytes((10).to_bytes(8, "little") + pickle.dumps(Trap()))
    with pytest.warns(CaptureWarning, match="and 1 more"):
        astcapture.load(run).summary()
    assert not (run / "sprung").exists()


def test_links_are_not_followed_and_nothing_else_in_the_folder_is_touched(run: Path, tmp_path: Path):
    outside = tmp_path / "outside"
    shutil.copytree(run / "host-0-1", outside)
    (run / "link").symlink_to(outside)
    (run / "host-0-1" / "000009.safetensors").symlink_to(outside / "000000.safetensors")
    (run / "host-0-1" / ".000003-1.tmp").write_bytes(b"half")
    (run / "host-0-1" / "000007.safetensors").mkdir()
    (run / "notes.txt").write_text("mine")
    (run / "empty").mkdir()
    assert check(run) == len(VALUES)
    assert len(astcapture.load(run).processes) == 1


def test_a_safetensors_file_of_somebody_else_is_left_out(run: Path):
    from safetensors.numpy import save_file

    save_file({"a": numpy.ones(2)}, run / "host-0-1" / "000005.safetensors")
    with pytest.warns(
        CaptureWarning, match=r"000005.safetensors is left out: it is a safetensors file that astcapture did"
    ):
        assert len(astcapture.load(run).select()) == 1 + len(VALUES)


def test_a_shard_of_a_later_format_is_left_out_by_its_version(run: Path):
    forge(run, lambda about: about.update(version=2))
    with pytest.warns(CaptureWarning, match="version 2, but this astcapture reads version 1"):
        astcapture.load(run)


@pytest.mark.parametrize("make", ["nothing", "file", "empty", "foreign"])
def test_what_is_no_run_is_an_error_that_says_so(tmp_path: Path, make: str):
    path = tmp_path / "x"
    if make == "file":
        path.write_text("")
    elif make != "nothing":
        path.mkdir()
        (path / "a.txt").write_text("")
    with pytest.raises(CaptureError) as error:
        astcapture.load(path)
    expected = {"nothing": "there is no folder", "file": "is a file"}.get(make, "nothing was stored in")
    assert expected in str(error.value) and str(path) in str(error.value)
