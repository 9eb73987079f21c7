"""Files of stored runs: what is in memory while one is made, damaged shards, other dtypes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import numpy as np
import pytest
from unpacked import File, attention, record

import astcapture
from astcapture.values.saving import save
from astcapture.view.reading import Reader

#: Layers, heads, tokens.
SIZE = 6, 4, 1024


def stored(folder, *several) -> None:
    """Each value in a shard of its own."""
    for one in several:
        save([one], astcapture.Cache().notes(), folder)


@pytest.mark.slow
def test_no_more_than_a_value_is_in_memory(tmp_path, run_python: Callable[..., subprocess.CompletedProcess[str]]):
    layers, heads, tokens = SIZE
    maps = attention(1, heads, tokens, tokens, causal=True)
    stored(tmp_path / "run", *(record(maps, f"h.{layer}") for layer in range(layers)))
    done = run_python(
        f"""
        import json, re
        import astcapture
        from astcapture.view import View

        def memory():
            return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024

        view = View({str(tmp_path / "run")!r}, size=3)
        before = memory()
        path = view.save({str(tmp_path / "map.html")!r})
        print(json.dumps([memory() - before, path.stat().st_size]))
        """,
        env={"OMP_NUM_THREADS": "1"},
    )
    more, size = json.loads(done.stdout)
    one_value = maps.nbytes
    assert more < 3 * one_value < layers * one_value
    assert size < 3.3e6


def test_the_steps_of_a_stored_generation_and_a_stored_value_are_those_in_memory(tmp_path):
    several = [record(attention(1, 2, 1 if step else 3, 3 + step), "h.0", step) for step in range(4)]
    stored(tmp_path / "run", *several)
    assert astcapture.load(tmp_path / "run").view().html == astcapture.Records(several).view().html


def test_a_damaged_value_is_noted_and_the_others_are_shown(tmp_path):
    stored(tmp_path / "run", *(record(attention(1, 1, 9, 9, seed=layer), f"h.{layer}") for layer in range(3)))
    shard = sorted((tmp_path / "run").rglob("*.safetensors"))[1]
    data = bytearray(shard.read_bytes())
    data[-5] ^= 1
    shard.write_bytes(data)
    file = File(astcapture.load(tmp_path / "run").view().html)
    assert [one["layer"] for one in file.series("attn")["items"]] == [0, 2]
    assert any("is damaged: its checksum does not match; it is left out" in note for note in file.meta["notes"])


def test_values_that_were_changed_after_loading_are_shown_as_they_are_stored(tmp_path):
    maps = attention(1, 1, 9, 9)
    stored(tmp_path / "run", record(maps))
    run = astcapture.load(tmp_path / "run")
    own = run.select()[0]
    own[:] = 0
    file = File(run.view().html)
    assert np.abs(file.values(file.item(), 0) - maps[0, 0]).max() < 0.01
    assert not own.any()


def test_a_reader_reads_each_dtype_as_the_store_does(tmp_path):
    dtypes = ["float16", "float32", "float64", "int8", "int64", "uint8", "bool"]
    values = [np.random.default_rng(0).integers(0, 2, (2, 3)).astype(dtype) for dtype in dtypes]
    stored(tmp_path / "run", *(record(value, dtype) for value, dtype in zip(values, dtypes, strict=True)))
    with Reader() as reader:
        for one, value in zip(astcapture.load(tmp_path / "run").select().records, values, strict=True):
            found = reader.read(one)[:]
            assert found.dtype in (np.float32, np.float64) and (found == value).all()


#: A map of so many tokens is verified in a thread, while the one before is worked on.
LARGE = 1100


@pytest.mark.parametrize("in_one_shard", [True, False])
def test_large_values_that_are_verified_ahead_are_those_in_memory(tmp_path, in_one_shard):
    several = [record(attention(2, 1, LARGE, LARGE, seed=layer), f"h.{layer}") for layer in range(3)]
    if in_one_shard:
        save(several, astcapture.Cache().notes(), tmp_path / "run")
    else:
        stored(tmp_path / "run", *several)
    assert astcapture.load(tmp_path / "run").view().html == astcapture.Records(several).view().html


def test_large_values_that_are_damaged_or_gone_are_noted_and_the_others_are_shown(tmp_path):
    run = tmp_path / "run"
    stored(run, *(record(attention(1, 1, LARGE, LARGE, seed=layer), f"h.{layer}") for layer in range(5)))
    loaded = astcapture.load(run)
    damaged, gone = sorted(run.rglob("*.safetensors"))[1:4:2]
    data = bytearray(damaged.read_bytes())
    data[-5] ^= 1
    damaged.write_bytes(data)
    gone.unlink()
    file = File(loaded.view().html)
    assert [one["layer"] for one in file.series("attn")["items"]] == [0, 2, 4]
    for number, why in ((1, "is damaged: its checksum does not match"), (3, "cannot be read: No such file")):
        assert any(f"layer h.{number}" in note and why in note for note in file.meta["notes"])


def test_what_a_reader_has_dropped_can_be_read_again(tmp_path):
    maps = attention(1, 1, LARGE, LARGE)
    stored(tmp_path / "run", record(maps))
    (one,) = astcapture.load(tmp_path / "run").select().records
    with Reader() as reader:
        numbers = reader.read(one)
        for share in (0.0, 0.5, 1.0):
            reader.drop(share)
            assert (numbers[:] == maps).all()
