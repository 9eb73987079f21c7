"""What a file says of its maps: kinds, axes, statistics, steps, windows, two runs, and what is odd."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from unpacked import File, attention, record, records

from astcapture import CaptureError
from astcapture.plot import formulas
from astcapture.values.record import Record
from astcapture.view import View


def built(*several: Record, **options: object) -> File:
    return File(View(records(*several), **options).html)


# --- kinds

#: What dropout leaves of weights.
DROPPED = np.random.default_rng(0).choice([0, 1.25], (1, 4, 9, 9))


@pytest.mark.parametrize(
    ("value", "label", "kind", "heads", "shape"),
    [
        (attention(2, 4, 9, 9), "x", "attention", 4, (9, 9)),
        (attention(4, 9, 9), "x", "attention", 4, (9, 9)),
        (attention(9, 9), "x", "attention", 1, (9, 9)),
        (attention(1, 4, 9, 5), "x", "attention", 4, (9, 5)),
        (attention(1, 2, 3, 9, 9), "x", "attention", 3, (9, 9)),
        (attention(1, 4, 9, 9) * DROPPED, "attn", "attention", 4, (9, 9)),
        (np.log(attention(1, 4, 9, 9) + 1e-9), "scores", "map", 4, (9, 9)),
        (np.log(attention(4, 9, 9) + 1e-9), "scores", "map", 4, (9, 9)),
        (attention(1, 4, 9, 9) - attention(1, 4, 9, 9, seed=1), "x", "map", 4, (9, 9)),
        (np.random.default_rng(0).normal(size=(2, 9, 24)), "hidden", "map", 1, (9, 24)),
        (np.random.default_rng(0).normal(size=(9, 24)), "hidden", "map", 1, (9, 24)),
        (np.random.default_rng(0).normal(size=(2, 4, 9, 64)), "q", "map", 4, (9, 64)),
        (np.random.default_rng(0).normal(size=(2, 32, 7, 7)), "features", "channels", 32, (7, 7)),
        (np.random.default_rng(0).normal(size=24), "bias", "strip", 1, (1, 24)),
        (np.float32(3), "loss", "strip", 1, (1, 1)),
    ],
    ids=["attention", "of one example", "of one head", "cross", "five axes", "after dropout", "scores", "scores of one",
         "difference", "hidden states", "two axes", "queries of attention", "features", "one axis", "a number"],
)  # fmt: skip
def test_what_a_value_is_follows_from_its_numbers_and_its_name(value, label, kind, heads, shape):
    known = {"layer": "layer1.0", "function": "Block.forward"} if label == "features" else {}
    file = built(record(value, label=label, **known))
    item = file.series(label)["items"][0]
    assert file.series(label)["kind"] == kind
    assert (item["heads"], (item["rows"], item["columns"])) == (heads, shape)


def test_a_kind_that_is_given_goes_before_what_is_found():
    file = built(record(np.ones((3, 8, 8)), label="x"), kind="channels")
    assert (file.series("x")["kind"], file.item("x")["heads"]) == ("channels", 3)
    with pytest.raises(CaptureError, match="kind='maps': accepted are 'attention', 'map', 'strip', 'channels'"):
        built(record(np.ones(3)), kind="maps")


def test_scores_beside_weights_of_their_shape_are_maps_whatever_they_are_called():
    weights = attention(1, 4, 9, 9)
    file = built(record(np.log(weights + 1e-9), label="q"), record(weights, label="w"))
    assert [file.series(label)["kind"] for label in "qw"] == ["map", "attention"]


# --- layers, calls, series


def test_layers_and_calls_are_those_of_the_records():
    calls = [(layer, call) for call in range(2) for layer in ("h.1", "h.0", "")]
    file = built(*(record(attention(1, 2, 5, 5, seed=call), layer, call) for layer, call in calls))
    series = file.series("attn")
    assert series["layers"] == ["h.1", "h.0", "(the model)"]
    assert [(one["layer"], one["call"]) for one in series["items"]] == [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)]


def test_functions_labels_and_models_are_series_of_their_own():
    maps = attention(1, 2, 5, 5)
    file = built(
        record(maps, function="A.forward", model="M"),
        record(maps, function="B.forward", model="M"),
        record(maps, function="A.forward", model="N", layer=None),
        record(maps, function="A.forward", model="M", label="other"),
    )
    found = [(one["name"], one["label"], one["model"], one["layers"]) for one in file.meta["series"]]
    assert found == [
        ("A.forward", "attn", "M", ["blocks.0.attn"]),
        ("B.forward", "attn", "M", ["blocks.0.attn"]),
        ("A.forward", "attn", "N", ["A.forward"]),
        ("A.forward", "other", "M", ["blocks.0.attn"]),
    ]


def test_values_of_several_lines_in_one_call_are_told_apart_by_the_line():
    maps = attention(1, 2, 5, 5)
    file = built(record(maps, lineno=8), record(maps, lineno=9))
    assert [one["label"] for one in file.meta["series"]] == ["attn (line 8)", "attn (line 9)"]
    assert [one["items"][0]["lineno"] for one in file.meta["series"]] == [8, 9]


def test_values_that_share_a_layer_and_a_call_are_counted():
    file = built(*(record(attention(1, 2, 5, 5), rank=rank) for rank in range(3)))
    assert [one["call"] for one in file.series("attn")["items"]] == [0, 1, 2]
    assert any("counted in order" in note for note in file.meta["notes"])


def test_tags_are_there_as_json_has_them():
    file = built(record(attention(1, 1, 3, 3), tags={"image": "a.png", "n": 3, "x": 0.5, "y": (1, 2)}))
    assert file.item()["tags"] == {"image": "a.png", "n": 3, "x": "0.5", "y": "(1, 2)"}


# --- axes


def test_tokens_name_queries_and_keys():
    file = built(record(attention(2, 2, 3, 3)), tokens=[["[CLS]", "un", "##do"], ["a", "b", "c"]])
    assert file.axis(file.item(), "row") == {
        "kind": "tokens",
        "words": ["[CLS]", "un", "##do"],
        "shown": ["[CLS]", "un", "do"],
        "special": [0],
    }
    assert file.axis(file.item(batch=1), "column")["words"] == ["a", "b", "c"]


def test_cross_attention_has_the_tokens_of_both_sides():
    layers = [(4, 4, "decoder"), (4, 3, "cross"), (3, 3, "encoder")]
    file = built(
        *(record(attention(1, 2, rows, columns), layer) for rows, columns, layer in layers),
        tokens=list("wxyz"),
        key_tokens=list("abc"),
    )
    named = [
        ("".join(file.axis(item, "row")["words"]), "".join(file.axis(item, "column")["words"]))
        for item in file.series("attn")["items"]
    ]
    assert named == [("wxyz", "wxyz"), ("wxyz", "abc"), ("abc", "abc")]


def test_as_many_query_tokens_as_key_tokens_are_not_the_same_axis():
    file = built(record(attention(1, 1, 3, 3)), tokens=list("xyz"), key_tokens=list("abc"))
    item = file.item()
    assert (file.axis(item, "row")["words"], file.axis(item, "column")["words"]) == (list("xyz"), list("abc"))
    assert item["stats"]["diagonal"] == [None]


def test_tokens_of_another_number_are_an_error_with_both_numbers():
    with pytest.raises(
        CaptureError, match=r"^tokens has 2 tokens, and the maps have 5 × 5 \(queries × keys\): pass one"
    ):
        built(record(attention(1, 1, 5, 5)), tokens=["a", "b"])
    with pytest.raises(CaptureError, match="key_tokens has 2 tokens"):
        built(record(attention(1, 1, 5, 5)), tokens=list("abcde"), key_tokens=["a", "b"])
    with pytest.raises(CaptureError, match=r"tokens is one string: pass a list of tokens, tokens=\['the', 'cat'\]"):
        built(record(attention(1, 1, 5, 5)), tokens="the cat")


@pytest.mark.parametrize(
    ("tokens", "size", "grid", "prefix"),
    [
        (17, (32, 32), (4, 4), ["CLS"]),
        (16, (32, 32), (4, 4), []),
        (201, (224, 224), (14, 14), ["CLS", "R1", "R2", "R3", "R4"]),
        (25, (30, 40, 3), (4, 6), ["CLS"]),
        (12, (30, 40, 3), (3, 4), []),
    ],
)
def test_patches_have_the_proportions_of_the_image(tokens, size, grid, prefix):
    shape = (4, 6) if tokens == 25 else None
    file = built(record(attention(1, 1, tokens, tokens)), images=np.random.default_rng(0).random(size), grid=shape)
    axis = file.axis(file.item(), "row")
    assert (axis["kind"], axis["rows"], axis["columns"], axis["prefix_names"]) == ("patches", *grid, prefix)
    assert axis["image"] == 0
    assert (file.meta["images"][0]["height"], file.meta["images"][0]["width"]) == size[:2]


def test_patches_of_a_vision_model_are_found_without_the_image():
    file = built(record(attention(1, 1, 17, 17), model="VisionTransformer"))
    assert file.axis(file.item(), "row")["image"] is None
    assert file.axis(file.item(), "row")["prefix_names"] == ["CLS"]


def test_each_example_has_its_own_image():
    file = built(record(attention(2, 1, 16, 16)), images=[np.zeros((8, 8, 3)), np.ones((8, 8, 3))])
    assert [file.axis(file.item(batch=batch), "row")["image"] for batch in range(2)] == [0, 1]


def test_words_and_patches_are_joined_in_one_axis():
    words = ["<s>", *["<image>"] * 16, "▁a", "▁cat"]
    file = built(record(attention(1, 1, 19, 19)), tokens=words, images=np.zeros((8, 8, 3)))
    axis = file.axis(file.item(), "row")
    parts = [file.meta["axes"][part] for part in axis["parts"]]
    assert [part["kind"] for part in parts] == ["tokens", "patches", "tokens"]
    assert (parts[1]["rows"], parts[1]["columns"], parts[2]["shown"]) == (4, 4, [" a", " cat"])
    same = built(record(attention(1, 1, 19, 19)), tokens=["<s>", "<image>", "▁a", "▁cat"], images=np.zeros((8, 8, 3)))
    assert same.meta["axes"] == file.meta["axes"]


def test_channels_lie_over_the_image():
    features = np.random.default_rng(0).normal(size=(2, 8, 6, 9))
    file = built(record(features, "layer1", label="f", function="Block.forward"), images=np.zeros((12, 18, 3)))
    assert [one["image"] for one in file.series("f")["items"]] == [0, 0]
    assert file.axis(file.item("f"), "column") == {"kind": "index", "n": 9}


def test_an_image_is_a_png_of_its_pixels():
    import base64
    import struct
    import zlib

    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    file = built(record(attention(1, 1, 4, 4)), images=pixels)
    data = base64.b64decode(file.meta["images"][0]["src"].removeprefix("data:image/png;base64,"))
    length = struct.unpack(">I", data[33:37])[0]
    lines = np.frombuffer(zlib.decompress(data[41 : 41 + length]), np.uint8).reshape(5, 22)
    assert (lines[:, 1:].reshape(5, 7, 3) == pixels).all() and not lines[:, 0].any()


def test_what_is_no_image_is_an_error():
    with pytest.raises(CaptureError, match=r"image 0: the image has shape \(5,\)"):
        built(record(attention(1, 1, 4, 4)), images=np.zeros(5))


# --- statistics


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("size", [6, 700], ids=["small", "in bands"])
def test_statistics_are_what_they_say(size, causal):
    maps = attention(1, 2, size, size, causal=causal)
    maps[0, 1, 3] = 0
    file = built(record(maps), tokens=[f"w{place % 4}" for place in range(size)])
    found = file.item()["stats"]
    apart = np.abs(np.arange(size)[:, None] - np.arange(size))
    for head in range(2):
        weights = maps[0, head].astype(float)
        some = [row for row in range(size) if weights[row].any()]
        assert found["entropy"][head] == pytest.approx(float(formulas.entropy(weights)), rel=1e-5)
        assert found["distance"][head] == pytest.approx((weights * apart).sum(axis=1)[some].mean(), rel=1e-4)
        assert found["first"][head] == pytest.approx(weights[some, 0].mean(), rel=1e-5)
        assert found["diagonal"][head] == pytest.approx(np.mean([weights[row, row] for row in some]), rel=1e-5)
        before = np.mean([weights[row, row - 1] for row in some if row])
        assert found["previous"][head] == pytest.approx(before, rel=1e-5)
        # A token that was four before: the one after it.
        after = np.mean([weights[row, row - 3] for row in some if row >= 4])
        assert found["induction"][head] == pytest.approx(after, rel=1e-5)


@pytest.mark.parametrize("grid", [(4, 4), (34, 34)], ids=["small", "in bands"])
def test_the_distance_of_patches_is_that_in_the_image_without_the_special_tokens(grid):
    tokens = grid[0] * grid[1]
    maps = attention(1, 1, tokens + 1, tokens + 1)
    file = built(record(maps), images=np.zeros((17, 17, 3)))
    expected = formulas.mean_distance(maps[0, 0, 1:, 1:], formulas.patch_centres(grid))
    assert file.item()["stats"]["distance"] == [pytest.approx(float(expected), rel=1e-4)]


def test_maps_that_are_no_shares_have_no_statistics():
    maps = attention(1, 3, 6, 6)
    maps[0, 0, 2, 2], maps[0, 1, 2, 2] = -0.1, np.nan
    file = built(record(maps))
    assert [one is None for one in file.item()["stats"]["entropy"]] == [True, True, False]
    assert file.item()["odd"] == {"nan": 1, "inf": 0, "negative": 1, "off_sum": 2}
    assert [note.partition(" (")[0] for note in file.meta["notes"]] == [
        "attn: values contain NaN",
        "attn: values that should be attention have negative numbers, so they have no statistics",
        "attn: values have rows that do not sum to one",
    ]
    assert "stats" not in built(record(np.ones((4, 4)) * 7)).item()


# --- steps and windows


def steps(seed: int = 0) -> list[np.ndarray]:
    return [attention(2, 3, 1 if step else 4, 4 + step, causal=True, seed=seed + step) for step in range(5)]


def test_the_steps_of_a_generation_are_one_map():
    layers = [steps(), steps(10)]
    file = built(*(record(layers[layer][step], f"h.{layer}", step) for step in range(5) for layer in range(2)))
    for layer in range(2):
        for batch in range(2):
            item = file.item(layer=layer, batch=batch)
            whole = formulas.join_steps(layers[layer])[batch]
            assert (item["calls"], item["rows"], item["columns"]) == ([0, 1, 2, 3, 4], 8, 8)
            for head in range(3):
                assert np.abs(file.values(item, head) - whole[head]).max() <= item["maps"][head]["error"]
            assert item["row_axis"] == item["column_axis"]
    assert len(file.series("attn")["items"]) == 4


def test_the_token_that_was_generated_last_is_one_too_many():
    maps = [record(one, "h.0", step) for step, one in enumerate(steps())]
    with pytest.raises(CaptureError, match=r"tokens has 9 tokens, .* The last generated token has no map: .*\[:-1\]$"):
        built(*maps, tokens=list("abcdefghi"))
    with pytest.raises(CaptureError, match=r"special tokens too$"):
        built(*maps, tokens=list("abcdefghij"))
    with pytest.raises(CaptureError, match=r"special tokens too$"):
        built(record(attention(1, 1, 8, 8)), tokens=list("abcdefghi"))


def test_steps_after_the_first_have_the_place_of_their_queries():
    file = built(*(record(one, "h.0", step + 1) for step, one in enumerate(steps()[1:])), tokens=list("abcdefgh"))
    item = file.item(call=1)
    whole = formulas.join_steps(steps()[1:])[0]
    assert (item["rows"], item["columns"]) == (4, 8) == whole.shape[1:]
    assert item["stats"]["diagonal"][0] == pytest.approx(
        np.mean([whole[0, row, row + 4] for row in range(4)]), rel=1e-5
    )


def test_a_new_text_is_a_new_map_and_equal_maps_are_no_steps():
    two = [*steps(), *steps(20)]
    file = built(*(record(one, "h.0", call) for call, one in enumerate(two)))
    assert [one["call"] for one in file.series("attn")["items"] if one["batch"] == 0] == [0, 5]
    file = built(*(record(attention(1, 1, 5, 5), "h.0", call) for call in range(3)))
    assert [one["call"] for one in file.series("attn")["items"]] == [0, 1, 2]
    assert "calls" not in file.item()


def test_cross_attention_at_the_steps_of_a_generation_is_one_map():
    cross = [attention(1, 3, 1, 6, seed=step) for step in range(5)]
    own = [attention(1, 3, 1, 1 + step, causal=True) for step in range(5)]
    several = [(cross, "cross"), (own, "self")]
    file = built(*(record(one[step], layer, step) for step in range(5) for one, layer in several))
    item = file.item(layer=0)
    assert (item["calls"], item["rows"], item["columns"]) == ([0, 1, 2, 3, 4], 5, 6)
    for head in range(3):
        wrong = np.abs(file.values(item, head) - np.concatenate([one[0, head] for one in cross]))
        assert wrong.max() <= item["maps"][head]["error"]
    assert item["stats"]["diagonal"] == [None] * 3
    alone = built(*(record(one, "cross", step) for step, one in enumerate(cross)))
    assert len(alone.series("attn")["items"]) == 5


def test_windows_of_swin_are_put_together():
    def stage(side: int, block: int, stage: int) -> Record:
        value = attention(2 * (side // 4) ** 2, 3, 16, 16, seed=side + block)
        return record(value, f"layers.{stage}.blocks.{block}.attn", function="WindowAttention.forward")

    several = [stage(8, 0, 0), stage(8, 1, 0), stage(4, 0, 1)]
    file = built(*several, images=[np.zeros((32, 32, 3))] * 2)
    for layer, (one, shift) in enumerate(zip(several, (0, 2, 0), strict=True)):
        side = 8 if layer < 2 else 4
        expected = formulas.join_windows(one.value, (side, side), shift=shift)
        for batch in range(2):
            item = file.item(layer=layer, batch=batch)
            assert file.axis(item, "row")["rows"] == side
            for head in range(3):
                wrong = np.abs(file.values(item, head) - expected[batch, head])
                assert wrong.max() <= item["maps"][head]["error"]


# --- two runs


def test_a_second_run_has_the_layers_and_calls_of_the_first():
    one = records(*(record(attention(1, 2, 5, 5), f"h.{layer}", 3) for layer in (0, 1)))
    other = records(*(record(attention(1, 2, 5, 5, seed=1), f"h.{layer}", 7) for layer in (1, 0)))
    file = File(View(one, compare=other).html)
    first, second = file.series("attn"), file.series("attn", run=1)
    assert first["layers"] == second["layers"] == ["h.0", "h.1"]
    assert [(item["layer"], item["call"]) for item in second["items"]] == [(1, 3), (0, 3)]
    item = file.item(layer=1, call=3, run=1)
    assert np.abs(file.values(item, 0) - other[0][0, 0]).max() <= item["maps"][0]["error"]


def test_what_has_nothing_to_be_compared_with_is_noted():
    one = records(record(attention(1, 2, 5, 5)), record(attention(1, 2, 5, 5), label="more"))
    file = File(View(one, compare=records(record(attention(1, 2, 5, 5)))).html)
    assert file.meta["notes"] == [
        "more of Attention.forward is in the first run only, and has nothing to be compared with"
    ]


# --- what is left out


def test_values_that_are_no_arrays_are_noted_and_left_out():
    odd = [(1, 2), None, "text", np.zeros((0, 3)), np.ones(3) * 1j, np.array([object()])]
    file = built(record(attention(1, 1, 3, 3)), *(record(value, f"h.{n}") for n, value in enumerate(odd)))
    assert len(file.series("attn")["items"]) == 1
    said = "\n".join(file.meta["notes"])
    for part in ("no array: tuple", "no array: NoneType", "no array: str", "empty, of shape (0, 3)", "complex numbers"):
        assert part in said, said


def test_nothing_to_show_is_an_error_that_says_why():
    with pytest.raises(
        CaptureError, match=r"nothing here can be shown; attn: a value that is no array: tuple is left out"
    ):
        built(record((1, 2)))
    with pytest.raises(CaptureError, match="there is nothing to look at: no value has layer='x'"):
        View(records(record(np.ones(3))).select(layer="x"))
    with pytest.raises(CaptureError, match="batch=4: no value has so many examples"):
        built(record(attention(2, 1, 3, 3)), batch=4)
    with pytest.raises(CaptureError, match="int is neither Records, nor a cache or a run, nor a folder"):
        View(3)  # type: ignore[arg-type]


def test_ragged_shapes_are_items_of_their_own_sizes():
    sizes = [(2, 5, 5), (4, 7, 7), (2, 3, 9)]
    file = built(*(record(attention(1, *size), f"h.{n}") for n, size in enumerate(sizes)))
    assert [(one["heads"], one["rows"], one["columns"]) for one in file.series("attn")["items"]] == sizes


def test_more_maps_than_a_file_can_hold_are_thinned_and_that_is_said():
    many = [record(attention(4, 2, 3, 3), f"h.{layer}", call) for call in range(100) for layer in range(2)]
    file = built(*many, size=0.2)
    items = file.series("attn")["items"]
    assert sum(len(one["maps"]) for one in items) <= 256
    calls = sorted({one["call"] for one in items})
    assert (calls[0], calls[-1], {one["batch"] for one in items}) == (0, 99, {0})
    assert len({(one["layer"], one["call"]) for one in items}) == len(items) == 2 * len(calls)
    assert any("of 4" in note for note in file.meta["notes"]) and any("of 100" in note for note in file.meta["notes"])
    features = np.random.default_rng(0).normal(size=(1, 2000, 3, 3))
    channels = built(record(features, label="f"), size=0.2, kind="channels")
    assert channels.item("f")["heads"] == len(channels.item("f")["maps"]) == 256


@pytest.mark.parametrize("exact", [[(9, 0)], [("nope", 0)], [(0, 5)]])
def test_an_exact_map_that_there_is_not_is_an_error(exact):
    with pytest.raises(CaptureError, match=r"exact: (there is no layer|layer 0 has 2 heads, 0 to 1, and 5 is none)"):
        built(record(attention(1, 2, 3, 3)), exact=exact)
    with pytest.raises(CaptureError, match=r"it is a list of \(layer, head\)"):
        built(record(attention(1, 2, 3, 3)), exact=[3])


def test_numbers_in_the_data_are_finite():
    def every(data: object) -> Sequence[object]:
        if isinstance(data, dict):
            return [one for value in data.values() for one in every(value)]
        return [one for value in data for one in every(value)] if isinstance(data, list) else [data]

    maps = attention(1, 2, 5, 5)
    maps[0, 0] = np.inf
    numbers = [one for one in every(built(record(maps)).meta) if isinstance(one, float)]
    assert numbers and all(math.isfinite(one) for one in numbers)
