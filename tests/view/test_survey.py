"""What one pass over a map finds is what NumPy finds in many: with ties, zeros, ragged sizes and all bands."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unpacked import attention

from astcapture.view import survey as module
from astcapture.view.largest import UNUSED, largest_of_rows
from astcapture.view.pooled import pooled
from astcapture.view.survey import survey

HOSTILE = [0.0, 0.0, 0.125, 0.5, 0.5, 1.0, 1e-3, 1e-30, 1e-42, 3e38]


@st.composite
def maps(draw: st.DrawFn) -> np.ndarray:
    """Maps with many equal numbers, and rows that are all equal or zero; causal ones too."""
    rows, columns = draw(st.integers(1, 40)), draw(st.integers(1, 600))
    elements = draw(st.lists(st.sampled_from(HOSTILE), min_size=1, max_size=5))
    found = np.random.default_rng(draw(st.integers(0, 9))).choice(np.array(elements, np.float32), (rows, columns))
    if draw(st.booleans()) and columns >= rows:
        found *= np.tri(rows, columns, columns - rows, dtype=np.float32)
    for row in draw(st.lists(st.integers(0, rows - 1), max_size=3)):
        found[row] = draw(st.sampled_from([0.0, 0.25]))
    return found


def expected_rows(weights: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The columns and the numbers of the k largest that are more than half a step of 8 bits, by a stable sort."""
    columns = np.full((len(weights), k), UNUSED, np.uint16)
    values = np.zeros((len(weights), k), np.float32)
    for number, row in enumerate(weights):
        largest = np.argsort(-row, kind="stable")[:k]
        found = sorted(one for one in largest if row[one] > row.max() / np.float32(510))
        columns[number, : len(found)], values[number, : len(found)] = found, row[found]
    return columns, values


@settings(max_examples=150, deadline=None)
@given(maps(), st.integers(1, 70), st.integers(1, 40), st.sampled_from([2**6, 2**11, 2**17]))
def test_a_pass_over_bands_finds_what_numpy_finds(weights: np.ndarray, k: int, blocks: int, band: int) -> None:
    rows, columns = weights.shape
    k, blocks = min(k, columns), min(blocks, rows)
    offset = columns - rows if columns >= rows else None
    before, module._CELLS_AT_ONCE = module._CELLS_AT_ONCE, band
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            found = survey(weights, blocks, offset=offset, k=k)
    finally:
        module._CELLS_AT_ONCE = before
    assert found is not None
    assert np.array_equal(found.largest, weights.max(axis=1))
    assert found.causal == (columns >= rows and not np.triu(weights, columns - rows + 1).any())
    assert np.array_equal(
        pooled(found.tall, blocks, columns, signed=False), pooled(weights, blocks, columns, signed=False)
    )
    expected, values = expected_rows(weights, k)
    assert found.rows is not None
    assert np.array_equal(found.rows.columns, expected) and np.array_equal(found.rows.values, values)
    exact = weights.astype(np.float64)
    if weights.max() > 1e30:
        return
    assert found.sums == pytest.approx(exact.sum(axis=1), rel=1e-5)
    entropies = (exact * np.log(np.maximum(exact, np.finfo(np.float32).tiny))).sum(axis=1)
    assert found.entropies == pytest.approx(entropies, rel=1e-4, abs=1e-5)
    if offset is not None:
        apart = np.abs(np.arange(rows)[:, None] + offset - np.arange(columns))
        assert found.distances == pytest.approx((exact * apart).sum(axis=1), rel=1e-5)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf, -1e-45, -0.5, -0.0])
@pytest.mark.parametrize("place", [(0, 0), (0, 299), (150, 20), (150, 290), (299, 299)])
@pytest.mark.parametrize("causal", [False, True])
def test_one_number_that_is_no_weight_is_found_wherever_it_is(odd: float, place: tuple[int, int], causal: bool) -> None:
    weights = attention(300, 300, causal=causal)
    assert survey(weights, 128, offset=0) is not None
    weights[place] = odd
    assert survey(weights, 128, offset=0) is None


@pytest.mark.parametrize("place", [(0, 1), (0, 299), (150, 151), (150, 299), (298, 299)])
def test_the_least_weight_ahead_makes_a_map_not_causal(place: tuple[int, int]) -> None:
    weights = attention(300, 300, causal=True)
    weights[place] = 1e-45
    found = survey(weights, 128, offset=0, k=4)
    assert found is not None and not found.causal
    assert found.tall[place[0] * 128 // 300 : place[0] * 128 // 300 + 2, place[1]].max() > 0


def test_the_largest_are_those_that_are_found_without_a_pass() -> None:
    for weights in (attention(1500, 1500, causal=True, power=12), attention(900, 1100, power=12)):
        found = survey(weights, 128, offset=None, k=24)
        assert found is not None and found.rows is not None
        other = largest_of_rows(weights, 24, weights.max(axis=1) / 510, sums=found.sums)
        assert all(np.array_equal(*pair) for pair in zip(found.rows, other, strict=True))


def test_memory_does_not_grow_with_the_square_of_the_rows() -> None:
    import tracemalloc

    weights = attention(50_000, 3)
    tracemalloc.start()
    try:
        assert survey(weights, 128, offset=0) is not None
        assert tracemalloc.get_traced_memory()[1] < 30e6
    finally:
        tracemalloc.stop()


def test_small_sums_have_the_entropy_of_large_ones() -> None:
    weights = attention(40, 40, power=0.1)
    one = survey(weights, 4, offset=0)
    other = survey(weights * np.float32(1e-36), 4, offset=0)
    assert one is not None and other is not None
    entropy = [np.log(each.sums) - each.entropies / each.sums for each in (one, other)]
    assert entropy[0] == pytest.approx(entropy[1], rel=1e-3)
