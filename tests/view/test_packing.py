"""What a file holds is what was captured: read back with NumPy, within the error that the file states."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from unpacked import File, attention, record, records, room_for

from astcapture.view import View
from astcapture.view.largest import UNUSED, largest_of_rows
from astcapture.view.pooled import pooled


def built(value: np.ndarray, label: str = "attn", **options: object) -> File:
    return File(View(records(record(value, label=label)), **options).html)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_every_weight_is_within_the_error_that_the_file_states(dtype):
    maps = attention(2, 3, 17, 17).astype(dtype)
    file = built(maps)
    for batch in range(2):
        item = file.item(batch=batch)
        for head in range(3):
            wrong = np.abs(file.values(item, head) - maps[batch, head].astype(float)).max()
            assert 0 < wrong <= item["maps"][head]["error"] <= maps.max() / 500


def test_a_row_of_small_weights_keeps_its_digits_beside_a_weight_of_one():
    maps = attention(1, 1, 64, 64, causal=True)
    file = built(maps)
    item = file.item()
    assert item["maps"][0]["scale"][1] == pytest.approx(1)
    found = file.values(item, 0)
    assert (np.abs(found - maps[0, 0]) <= maps[0, 0].max(axis=1, keepdims=True) / 509).all()


@pytest.mark.parametrize(
    "value",
    [
        np.random.default_rng(1).normal(size=(1, 2, 9, 9)).astype(np.float32) * 1000,
        np.random.default_rng(1).normal(size=(1, 2, 9, 9)) * 1e-30,
        np.random.default_rng(1).integers(-100, 100, size=(1, 2, 9, 9)),
        np.random.default_rng(1).integers(0, 2, size=(1, 2, 9, 9)).astype(bool),
        np.full((1, 2, 9, 9), 3.0e38, np.float32) * np.array([[1], [-3e-9]] * 4 + [[1]], np.float32),
        np.full((1, 2, 9, 9), 1e300),
        np.zeros((1, 2, 9, 9)),
        np.full((1, 2, 9, 9), 7, np.uint8),
    ],
    ids=["large", "tiny", "integers", "booleans", "the limits of float32", "float64", "zero", "constant"],
)
def test_numbers_of_any_range_are_within_the_error_that_the_file_states(value):
    file = built(value, "scores")
    item = file.item("scores")
    for head in range(2):
        wrong = np.abs(file.values(item, head) - value[0, head].astype(float)).max()
        packed = item["maps"][head]
        assert wrong <= packed["error"]
        assert packed["error"] <= (packed["scale"][1] - packed["scale"][0]) / 500


def test_zero_stays_zero_where_numbers_have_both_signs():
    maps = attention(1, 2, 12, 12, causal=True) - attention(1, 2, 12, 12, causal=True, seed=1)
    file = built(maps, "difference")
    found = file.values(file.item("difference"), 0)
    assert (found[np.triu_indices(12, 1)] == 0).all()
    assert file.series("difference")["signed"]


def large(signed: bool = False) -> np.ndarray:
    maps = attention(1, 2, 300, 300, causal=not signed, power=12)
    return maps - attention(1, 2, 300, 300, seed=1, power=12) if signed else maps


@pytest.mark.parametrize("signed", [False, True], ids=["attention", "a difference"])
def test_of_a_large_map_the_largest_of_each_row_are_kept(signed):
    maps = large(signed)
    file = built(maps, "difference" if signed else "attn", size=room_for(60_000))
    item = file.item("difference" if signed else "attn")
    for head, packed in enumerate(item["maps"]):
        assert packed["form"] == "sparse"
        found, weights = file.values(item, head), maps[0, head].astype(float)
        for row in range(300):
            kept = np.flatnonzero(~np.isnan(found[row]))
            largest = np.argsort(-np.abs(weights[row]), kind="stable")[: packed["k"]]
            # Those that are too small for 8 bits are left out.
            visible = largest[np.abs(weights[row, largest]) > packed["error"] * (1.001 if signed else 0)]
            if signed:
                assert set(visible) <= set(kept) <= set(largest)
            else:
                limit = weights[row].max() / 510
                assert list(kept) == sorted(one for one in largest if weights[row, one] > limit)
            assert np.abs(found[row, kept] - weights[row, kept]).max(initial=0) <= packed["error"]


def test_the_share_of_each_row_that_is_kept_is_stated():
    maps = large()
    file = built(maps, size=room_for(60_000))
    item = file.item()
    for head in range(2):
        there = ~np.isnan(file.values(item, head))
        share = (maps[0, head] * there).sum(axis=1) / maps[0, head].sum(axis=1)
        stated = file.kept(item, head)
        assert np.abs(stated - share).max() <= 1 / 255
        assert ((stated < 1) == (share < 1 - 1e-6)).all()
        assert share.min() < 0.9 < stated[0]
    assert any("largest weights of each row" in note for note in file.meta["notes"])


@pytest.mark.parametrize(("queries", "keys"), [(300, 300), (200, 333)])
def test_a_causal_map_says_that_what_comes_after_a_query_is_zero(queries, keys):
    maps = attention(1, 1, queries, keys, causal=True, power=12)
    ahead = maps.copy()
    ahead[0, 0, 150, 150 + keys - queries + 1] = 1e-30
    for one, causal in ((maps, True), (ahead, False), (attention(1, 1, queries, keys, power=12), False)):
        packed = built(one, size=room_for(60_000)).item()["maps"][0]
        assert packed["form"] == "sparse" and packed.get("causal", False) == causal


def test_a_map_of_few_weights_loses_none_and_is_not_said_to():
    maps = np.kron(np.eye(60), np.full((5, 5), 0.2))[None, None].astype(np.float32)
    file = built(maps, size=room_for(20_000))
    item = file.item()
    assert item["maps"][0]["form"] == "sparse" and item["maps"][0]["k"] >= 5
    assert np.abs(np.nan_to_num(file.values(item, 0)) - maps[0, 0]).max() <= item["maps"][0]["error"]
    assert (file.kept(item, 0) == 1).all() and file.meta["notes"] == []


@pytest.mark.parametrize("shape", [(300, 300), (130, 555), (1000, 40)])
@pytest.mark.parametrize("signed", [False, True])
def test_a_small_picture_holds_the_farthest_from_zero_of_each_block(shape, signed):
    maps = attention(1, 1, *shape)
    if signed:
        maps = maps - attention(1, 1, *shape, seed=1)
    file = built(maps, "difference" if signed else "attn", size=room_for(0))
    item = file.item("difference" if signed else "attn")
    for which in ("overview", "thumb"):
        place = item["maps"][0][which]
        rows, columns = place["rows"], place["columns"]
        assert max(rows, columns) <= {"overview": 128, "thumb": 32}[which]
        found = file.picture(item, 0, which)
        for i in range(rows):
            for j in range(columns):
                block = maps[0, 0][
                    i * shape[0] // rows : (i + 1) * shape[0] // rows,
                    j * shape[1] // columns : (j + 1) * shape[1] // columns,
                ]
                farthest = block.flat[np.abs(block).argmax()]
                assert abs(abs(found[i, j]) - abs(farthest)) <= 2 * item["maps"][0]["scale"][1] / 255
                assert not signed or np.sign(found[i, j]) in (0, np.sign(farthest))


def test_a_single_weight_is_seen_in_the_overview():
    maps = np.zeros((1, 1, 600, 600), np.float32)
    maps[0, 0, :, 0] = 1
    maps[0, 0, 413, 0], maps[0, 0, 413, 501] = 0.999, 0.001
    file = built(maps, size=room_for(0))
    picture = file.picture(file.item(), 0, "overview")
    starts = np.arange(picture.shape[0]) * 600 // picture.shape[0]
    row, column = (np.searchsorted(starts, place, side="right") - 1 for place in (413, 501))
    assert picture[row, column] == pytest.approx(0.001, rel=0.3)
    assert np.count_nonzero(picture[:, 1:]) == 1


def test_cells_that_are_no_number_are_marked_and_the_others_are_scaled_without_them():
    scores = np.random.default_rng(0).normal(size=(1, 1, 6, 6)).astype(np.float32)
    whole = scores.copy()
    scores[0, 0, 0, 1:] = -np.inf
    scores[0, 0, 1, 2:] = np.finfo(np.float32).min
    scores[0, 0, 2, 3:] = -65504
    scores[0, 0, 3, 4], scores[0, 0, 3, 5] = np.nan, np.inf
    file = built(scores, "scores")
    item = file.item("scores")
    marks = file.marks(item, 0)
    assert marks[0].tolist() == [0, 3, 3, 3, 3, 3] and marks[1].tolist() == [0, 0, 4, 4, 4, 4]
    assert marks[2].tolist() == [0, 0, 0, 4, 4, 4] and marks[3].tolist() == [0, 0, 0, 0, 1, 2]
    fine = marks == 0
    assert np.abs(file.values(item, 0) - whole[0, 0])[fine].max() <= item["maps"][0]["error"] < 0.05
    assert item["odd"] == {"nan": 1, "inf": 1, "negative": 0, "off_sum": 0}


def test_a_map_of_nothing_but_nan_is_kept_as_that():
    file = built(np.full((1, 1, 4, 4), np.nan), kind="attention")
    item = file.item()
    assert (file.marks(item, 0) == 1).all()
    assert item["stats"]["entropy"] == [None]


def test_chosen_heads_are_exact():
    maps = large()
    maps[0, 1, 3, 1] = np.nan
    view = View(
        records(record(maps), record(maps, "blocks.1.attn")), exact=[(1, 1), ("blocks.0.*", -2)], size=room_for(60_000)
    )
    file = File(view.html)
    assert [[one["form"] for one in file.item(layer=layer)["maps"]] for layer in range(2)] == [
        ["exact", "sparse"],
        ["sparse", "exact"],
    ]
    item = file.item(layer=1)
    assert np.array_equal(file.values(item, 1), maps[0, 1].astype(float), equal_nan=True)
    assert item["maps"][1]["error"] == 0
    assert file.marks(item, 1)[3, 1] == 1


def test_the_error_of_an_exact_map_of_float64_is_that_of_float32():
    maps = attention(1, 1, 9, 9).astype(np.float64) + 1e-12
    file = built(maps, exact=[(0, 0)])
    item = file.item()
    assert 0 < np.abs(file.values(item, 0) - maps[0, 0]).max() <= item["maps"][0]["error"] < 1e-7


def test_bfloat16_is_read_without_torch():
    from astcapture.view.reading import Numbers

    exact = np.array([1.5, -2.25, 3e38, 0.0], np.float32)
    bits = (exact.view(np.uint32) >> 16).astype(np.uint16)
    assert Numbers(bits, "bfloat16")[:].tolist() == pytest.approx(exact.tolist(), rel=2**-7)


def test_every_number_of_float16_is_read_as_it_is():
    from astcapture.view.reading import Numbers

    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    for numbers in (every, every[:0x7C00], every[:0x7C01], every[0x7C00:], every[:0x7C00][::-3]):
        found = Numbers(numbers)[:]
        assert found.dtype == np.float32
        assert np.array_equal(found, numbers.astype(np.float32), equal_nan=True)


def test_small_numbers_of_float16_stay_where_a_thread_flushes_denormal_ones():
    torch = pytest.importorskip("torch")
    from astcapture.view.reading import Numbers

    small = np.arange(64, dtype=np.uint16).view(np.float16)
    want = small.astype(np.float32)
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot")
    try:
        assert np.array_equal(Numbers(small)[:], want)
    finally:
        torch.set_flush_denormal(False)


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 12), st.integers(1, 400)),
        elements=st.sampled_from([0, 0.125, 0.5, 1, 2, -1, -3]),
    ),
    st.integers(1, 20),
)
def test_the_largest_of_rows_with_ties_are_those_of_a_stable_sort(weights, k):
    rows = largest_of_rows(weights, k)
    for row, found in zip(weights, rows.columns, strict=True):
        expected = [one for one in np.argsort(-np.abs(row), kind="stable")[:k] if row[one] != 0]
        assert [one for one in found if one != UNUSED] == sorted(expected)
    total = np.abs(weights).sum(axis=1)
    assert rows.kept == pytest.approx(
        np.where(total > 0, np.abs(rows.values).sum(axis=1) / np.where(total > 0, total, 1), 1)
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 32), st.booleans())
def test_blocks_of_a_small_picture_cover_every_cell_once(rows, columns, most, signed):
    values = np.random.default_rng(0).normal(size=(rows, columns))
    small = pooled(values, min(rows, most), min(columns, most), signed=signed)
    assert np.abs(small).max() == (np.abs(values).max() if signed else abs(small).max())
    assert small.max() == values.max() if not signed else True


def test_a_file_is_the_same_each_time_that_it_is_made():
    one, other = (View(records(record(large())), size=room_for(60_000)).html for _ in range(2))
    assert one == other
