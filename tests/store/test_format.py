"""What is in a shard: values of every kind, come back as they were, in a file that any safetensors reader opens."""

from __future__ import annotations

import datetime
import json
import math
import os
import zlib
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path

import numpy
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

import astcapture
from astcapture.store import shard as shards
from astcapture.store.checksum import checksum
from astcapture.store.reading import open_shard
from astcapture.store.shard import next_number

Write = Callable[..., shards.Written]

PLAIN = [
    None, True, False, 0, -7, 2**63 - 1, -(2**63), 2**63, -(2**20_000),
    0.0, -0.0, 1.5, 5e-324, 1.7e308, math.inf, -math.inf,
    "", "text", "a\ud800b", "\0", "\x1b ü 漢 \U0001f600", "x" * 10_000,
    [], [1, [2.0, "a"]], (), (1, (2,), [3]), {}, {"a": {"b": (1,)}}, {"tuple": 1}, {"array": [0, 1]}, [True, 1, 1.0],
]  # fmt: skip


@pytest.mark.parametrize("value", PLAIN, ids=range(len(PLAIN)))
def test_plain_values_come_back_equal_and_of_the_same_types(write: Write, value: object):
    back = open_shard(write([value]).path).value(0)
    assert back == value and type(back) is type(value)
    assert isinstance(value, int) or repr(back) == repr(value)
    assert not isinstance(value, float) or math.copysign(1, back) == math.copysign(1, value)


def test_not_a_number_comes_back_as_that(write: Write):
    assert math.isnan(open_shard(write([math.nan]).path).value(0))


DTYPES = "u1 i1 u2 i2 u4 i4 u8 i8 f2 f4 f8 c8 c16 ? >f4 >i8 M8[s] m8[D] S3 U5 longdouble"

ARRAYS = [
    *(numpy.arange(6).astype(dtype).reshape(2, 3) for dtype in DTYPES.split(" ")),
    numpy.array(3.5),
    numpy.empty((0, 4), "f4"),
    numpy.empty((3, 0)),
    numpy.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1),
    numpy.arange(20)[::-3],
    numpy.asfortranarray(numpy.arange(6.0).reshape(2, 3)),
    numpy.array([(1, 2.5), (3, 4.5)], dtype=[("number", "i4"), ("value", ">f8")]),
    numpy.array([((1, 2),)], dtype=[("nested", [("a", "u1"), ("b", "f2")])]),
    numpy.zeros(2, dtype={"names": ["a"], "formats": ["i4"], "offsets": [4], "itemsize": 12}),
    numpy.array([numpy.nan, -0.0, numpy.inf]),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}"[:40])
def test_arrays_come_back_with_their_dtype_shape_and_bits(write: Write, array: numpy.ndarray):
    back = open_shard(write([array]).path).value(0)
    assert type(back) is numpy.ndarray and back.dtype == array.dtype and back.shape == array.shape
    assert back.tobytes() == array.tobytes()


@pytest.mark.parametrize(
    "number", [numpy.float32(1.5), numpy.int8(-3), numpy.bool_(True), numpy.datetime64("2026-11-21")]
)
def test_numbers_of_numpy_stay_what_they_are(write: Write, number: numpy.generic):
    back = open_shard(write([number]).path).value(0)
    assert type(back) is type(number) and back == number


def test_containers_of_arrays_come_back_with_arrays_in_their_places(write: Write):
    value = {"q": numpy.arange(3), "rest": [(numpy.ones((2, 2)), "text"), numpy.float64(2)], "long": "x" * 5000}
    back = open_shard(write([1, value, 2]).path).value(1)
    assert list(back) == ["q", "rest", "long"] and back["long"] == value["long"]
    assert type(back["rest"][0]) is tuple and back["rest"][0][1] == "text" and back["rest"][1] == 2
    numpy.testing.assert_array_equal(back["q"], value["q"])
    numpy.testing.assert_array_equal(back["rest"][0][0], value["rest"][0][0])


class Colour(IntEnum):
    RED = 1


class Refuses:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


Point = namedtuple("Point", "x y")
itself: list[object] = []
itself.append(itself)

REFUSED = [
    (object(), "type object"), (Refuses(), "Refuses"), ({1, 2}, "type set"), (b"bytes", "type bytes"),
    (2j, "type complex"), (Colour.RED, "Colour"), (Point(1, 2), "Point"), (OrderedDict(a=1), "collections.OrderedDict"),
    ({1: 2}, "a key that is not a string, 1"), (numpy.array([None]), "Python objects"),
    (numpy.ma.array([1, 2], mask=[0, 1]), "masked"), ([1, {"a": object()}], "type object"), (itself, "contains itself"),
    (datetime.date(2026, 1, 1), "datetime.date"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "why"), REFUSED, ids=lambda one: one if isinstance(one, str) else "")
def test_what_would_not_come_back_the_same_is_refused_by_its_type_and_the_rest_is_stored(
    write: Write, value: object, why: str
):
    written = write([1, value, 3])
    assert [why in one.why for one in written.refused] == [True]
    shard = open_shard(written.path)
    assert [shard.value(index) for index in range(len(shard))] == [1, 3]
    assert list(shard.header.call) == [0, 2]


def test_any_safetensors_reader_opens_a_shard_and_finds_arrays_by_readable_names(write: Write):
    written = write([numpy.arange(3), {"a": numpy.ones(2)}], layer="blocks.3.attn")
    found = load_file(written.path)
    assert sorted(found) == ["m:f/a/blocks.3.attn/0", "m:f/a/blocks.3.attn/1/0"]
    numpy.testing.assert_array_equal(found["m:f/a/blocks.3.attn/0"], [0, 1, 2])
    with safe_open(written.path, "np") as file:
        about = file.metadata()
    text = json.loads(about["astcapture"])
    assert text["version"] == 1 and text["sites"] == [["m", "f", "a", 3]] and text["layers"] == ["blocks.3.attn"]
    assert about["checksum"] == f"{zlib.crc32(about['astcapture'].encode()):08x}"


def test_what_is_known_of_a_record_comes_back(write: Write):
    known = {
        "layer": "x.0",
        "rank": 3,
        "thread": 2**63 + 5,
        "lineno": 17,
        "label": 'l:=a/b "c" \ud800',
        "tags": {"image": "ü", "n": 1},
    }
    folder = write([numpy.ones(2)], **known).path.parents[1]
    (record,) = astcapture.load(folder).select().records
    assert {name: getattr(record, name) for name in known} == known
    assert (record.module, record.function, record.key, record.call) == ("m", "f", "m:f", 0)
    assert record.value.tolist() == [1, 1]


def test_tags_that_json_has_not_are_stored_as_their_repr(write: Write):
    tags = {"path": Path("a"), "tuple": (1, 2), "bad": Refuses(), "nan": math.nan, "list": [1, "x"]}
    (record,) = astcapture.load(write([1], tags=tags).path.parents[1]).select().records
    assert record.tags["path"] == repr(Path("a")) and record.tags["tuple"] == "(1, 2)" and record.tags["nan"] == "nan"
    assert "Refuses instance" in record.tags["bad"] and record.tags["list"] == [1, "x"]


def test_a_call_that_is_not_known_stays_unknown(write: Write):
    assert open_shard(write([1]).path).header.call[0] == 0
    folder = write([1]).path.parent
    record = astcapture.Record(1, "a", "m", "f", 3)
    path = shards.write_shard(folder, 7, [record], first=0, run={}, notes={}).path
    assert [one.call for one in astcapture.load(path.parents[1]).select().records][-1] is None


def test_a_shard_never_takes_the_place_of_another(write: Write, tmp_path: Path):
    folder = tmp_path / "p"
    first = write([1], folder).path
    before = first.read_bytes()
    record = astcapture.Record(2, "a", "m", "f", 3)
    second = shards.write_shard(folder, 0, [record], first=0, run={}, notes={}).path
    assert second != first and first.read_bytes() == before
    assert next_number(folder) == 2
    assert sorted(os.listdir(folder)) == ["000000.safetensors", "000001.safetensors"]


def test_where_there_are_no_hard_links_a_shard_is_renamed_and_takes_no_place_either(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def link(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    for number in range(3):
        assert write([number], tmp_path / "p").path.name == f"{number:06}.safetensors"
    record = astcapture.Record(2, "a", "m", "f", 3)
    assert shards.write_shard(tmp_path / "p", 0, [record], first=0, run={}, notes={}).path.stem == "000003"
    assert len(os.listdir(tmp_path / "p")) == 4


def test_the_checksum_of_large_arrays_sees_every_flipped_bit_and_every_exchange_of_pages():
    data = bytearray(numpy.random.default_rng(0).bytes(300_001))
    whole = checksum(data)
    for bit in [*range(0, 8 * len(data), 9973), 8 * len(data) - 1]:
        data[bit // 8] ^= 1 << bit % 8
        assert checksum(data) != whole
        data[bit // 8] ^= 1 << bit % 8
    assert checksum(data) == whole
    assert checksum(data[4096:8192] + data[:4096] + data[8192:]) != whole
    assert checksum(data[:-1]) != whole and checksum(data + b"\0") != whole


def test_a_header_that_would_be_too_long_is_shared_out_to_several_shards(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(shards, "_LONGEST_HEADER", 5_000)
    cache = astcapture.Cache()
    cache.held.records += [astcapture.Record("x" * 1000, "a", "m", "f", 3, call=call) for call in range(20)]
    cache.save(tmp_path / "run")
    run = astcapture.load(tmp_path / "run")
    assert len(run.processes[0].shards) > 3
    assert [record.call for record in run.select().records] == list(range(20))
    assert [shard.header.first for shard in run.processes[0].shards][:2] == [0, len(run.processes[0].shards[0])]
