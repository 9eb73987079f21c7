"""Two maps and their difference; maps of decoding steps; numbers over many calls."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection, PathCollection
from pictures import assert_readable, attention, bars, drawn, records, written

from astcapture import CaptureError, plot
from astcapture.plot import formulas
from astcapture.values.record import Record
from astcapture.values.records import Records

A, B = attention(3, 4, 9, 9), attention(3, 4, 9, 9, seed=1)

# Comparison


def test_compare_draws_both_maps_in_one_scale_and_the_difference_with_white_at_zero():
    figure = plot.compare(A[0], B[0], head=2, names=("before", "after"))
    first, second, difference = (ax for ax in figure.axes if ax.images)
    assert np.allclose(drawn(first), A[0, 2])
    assert np.allclose(drawn(second), B[0, 2])
    assert np.allclose(drawn(difference), A[0, 2] - B[0, 2])
    assert first.images[0].get_clim() == second.images[0].get_clim()
    low, high = difference.images[0].get_clim()
    assert -low == high == pytest.approx(float((A[0, 2] - B[0, 2]).abs().max()))
    assert difference.images[0].to_rgba(np.zeros((1, 1)), norm=True)[0, 0, :3] == pytest.approx([1] * 3, abs=0.04)
    assert [ax.get_title() for ax in (first, second, difference)] == ["before", "after", "before − after"]
    assert figure.get_suptitle() == "head 2"
    assert_readable(figure)


def test_compare_of_records_has_a_row_for_each_layer():
    figure = plot.compare(records(A), records(B))
    panels = [ax for ax in figure.axes if ax.images]
    assert len(panels) == 9
    for number in range(3):
        assert np.allclose(drawn(panels[3 * number + 2]), (A - B)[number].mean(dim=0), atol=1e-6)
        assert panels[3 * number].get_ylabel() == f"layer blocks.{number}.attn"
    assert len(bars(figure)) == 2
    assert_readable(figure)


@pytest.mark.parametrize("shape", [(9, 9), (12, 5), (5, 12), (20, 6), (1, 12)])
@pytest.mark.parametrize(
    "names",
    [
        ("fine-tuned for 3 epochs on ImageNet-21k", "the pretrained checkpoint before any training"),
        ("runs/2024/vit_base_patch16_224.augreg_in21k_ft_in1k", "VIT-BASE-PATCH16-224-AUGREG-IN21K-FT-IN1K"),
    ],
)
def test_long_names_are_written_in_several_lines(shape, names):
    figure = plot.compare(attention(*shape), attention(*shape, seed=1), names=names)
    titles = ["".join(ax.get_title().split()) for ax in figure.axes[:3]]
    one, other = ("".join(name.split()) for name in names)
    assert titles == [one, other, f"{one}−{other}"]
    assert_readable(figure)


def test_long_names_fit_a_figure_that_was_given():
    names = ("fine-tuned for 3 epochs on ImageNet-21k", "the pretrained checkpoint")
    assert_readable(plot.compare(A[0], B[0], names=names, figure=plt.figure(figsize=(7, 3.5), layout="constrained")))


@pytest.mark.parametrize("shape", [(4, 1, 12), (4, 5, 12), (4, 12, 5), (300, 300)])
def test_compare_takes_maps_of_any_shape(shape):
    assert_readable(plot.compare(attention(*shape), attention(*shape, seed=1)))


def test_compare_of_equal_maps_has_a_difference_of_zero_everywhere():
    assert np.all(drawn([ax for ax in plot.compare(A[0], A[0]).axes if ax.images][2]) == 0)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (A[0], B[0, :, :5], r"the maps have the shapes \(9, 9\) and \(5, 9\)"),
        (records(A), records(B)[:2], "hold 3 and 2 values, which do not pair"),
        (records(A), records(B, layer="h.{}"), "pair 0 is of the layer 'blocks.0.attn' and 'h.0'"),
        (Records(), Records(), "both Records are empty: the Records hold no value"),
        (records(A).select(layer="h.9"), records(B).select(layer="h.9"), "no value has layer='h.9'"),
    ],
)
def test_what_cannot_be_compared_says_why(a, b, message):
    with pytest.raises(ValueError, match=message):
        plot.compare(a, b)


# Differences of records


def captured(values, **options) -> Records:
    return Records([Record(one, "attn", "m", "f", 1, f"h.{number}", **options) for number, one in enumerate(values)])


def test_the_difference_of_records_is_that_of_their_values_with_what_is_known_of_the_left():
    difference = captured(A, call=3, tags={"image": "dog"}) - captured(B, call=0)
    assert all(torch.equal(one, a - b) for one, a, b in zip(difference, A, B, strict=True))
    assert [record.layer for record in difference.records] == ["h.0", "h.1", "h.2"]
    assert (difference.records[0].call, difference.records[0].tags) == (3, {"image": "dog"})


def test_the_differences_of_unsigned_and_boolean_values_may_be_negative():
    for kind in (np.uint8, torch.uint8, bool):
        one, other = ([[0, 1]], [[1, 0]])
        make = np.array if kind is not torch.uint8 else torch.tensor
        difference = captured([make(one, dtype=kind)]) - captured([make(other, dtype=kind)])
        assert difference[0].tolist() == [[-1, 1]]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (captured(B[:2]), r"hold 3 and 2 values, which do not pair: pick as many of both with select\("),
        (captured(B[:, :2]), r"pair 0, layer 'h.0', has the shapes \(4, 9, 9\) and \(2, 9, 9\)"),
        (captured(B[[0, 1, 2]])[::-1], "pair 0 is of the layer 'h.0' and 'h.2'"),
        (Records([Record(one, "q", "m", "f", 1, f"h.{n}") for n, one in enumerate(B)]), "of the label 'attn' and 'q'"),
        (Records([Record(one, "attn", "m", "g", 1, f"h.{n}") for n, one in enumerate(B)]), "of the function 'm:f'"),
        (captured(["a", "b", "c"]), r"pair 0, layer 'h.0', has the shapes \(4, 9, 9\) and None"),
    ],
)
def test_records_that_do_not_pair_say_which_and_how(other, message):
    with pytest.raises(CaptureError, match=message):
        captured(A) - other


def test_records_of_other_steps_do_not_pair():
    steps = [[Record(A[0], "attn", "m", "f", 1, "h.0", call) for call in calls] for calls in ((0, 1), (4, 5), (4, 6))]
    first, later, apart = map(Records, steps)
    assert len(later - first) == 2  # the same steps, counted from the first
    with pytest.raises(CaptureError, match=r"pair 1, layer 'h.0', is of call 1 and call 6"):
        first - apart


def test_values_without_a_difference_say_so():
    words = Records([Record("a", "attn", "m", "f", 1, "h.0")])
    with pytest.raises(CaptureError, match=r"pair 0, layer 'h.0': there is no difference of str"):
        words - words
    with pytest.raises(TypeError):
        words - 1  # type: ignore[operator]


# Decoding steps and cross attention


def test_tokens_draws_a_decoding_step_and_cross_attention_with_the_texts_of_both():
    weights = attention(4, 2, 5)
    ax = plot.tokens(weights, list("abcde"), queries=["x", "y"])
    assert np.allclose(drawn(ax), weights.mean(dim=0))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["x", "y"]
    assert [label.get_text() for label in ax.get_xticklabels()] == list("abcde")
    assert_readable(ax.figure)
    text = plot.tokens(weights, list("abcde"), queries=["x", "y"], query="y")
    assert [one.get_text() for one in text.texts] == list("abcde")
    assert text.get_title() == "'y' attends to (mean of 4 heads)"
    with pytest.raises(ValueError, match=r"3 queries do not label attention of shape \(2, 5\)"):
        plot.tokens(weights, list("abcde"), queries=["x", "y", "z"])


def test_what_cannot_draw_a_decoding_step_says_what_can():
    step = attention(4, 1, 17)
    for draw in (
        lambda: plot.patch_to_patch(step, np.zeros((40, 40)), 0),
        lambda: plot.distance([step]),
        lambda: plot.tokens(step, ["a"] * 17),
    ):
        with pytest.raises(ValueError, match=r"is not from tokens to the same tokens.*tokens\(queries=\).*join_steps"):
            draw()
    with pytest.raises(ValueError, match=r"layer 0 has shape \(4, 1, 17\)"):
        plot.rollout([step])
    assert plot.head(step, head=0).images and plot.layers([step]).images and plot.entropy([step]).images


def test_cls_attention_takes_a_layer_in_which_cls_alone_attends():
    weights = attention(3, 17, 17)
    panels = [ax for ax in plot.cls_attention(weights[:, :1]).axes if ax.images]
    assert all(np.allclose(drawn(ax), one[0, 1:].reshape(4, 4)) for ax, one in zip(panels, weights, strict=False))


# Words with lines


def test_lines_between_words_are_as_opaque_as_the_weights():
    weights = attention(3, 3)
    ax = plot.tokens(weights, list("abc"), style="lines")
    (lines,) = [one for one in ax.collections if isinstance(one, LineCollection)]
    # Words from the top down; from the left, the query, to the right, the key.
    place = {y: number for number, y in enumerate(sorted({segment[0][1] for segment in lines.get_segments()}))}
    for segment, colour in zip(lines.get_segments(), lines.get_colors(), strict=True):
        query, key = (2 - place[y] for y in segment[:, 1])
        assert colour[3] == pytest.approx(float(weights[query, key] / weights.max()), abs=1e-3)
    assert [text.get_text() for text in ax.texts] == list("abcabc")
    assert [label.get_text() for label in ax.get_xticklabels()] == ["attends from", "attends to"]
    assert_readable(ax.figure)


def test_a_new_figure_of_tokens_has_the_lines_beside_the_map_unless_there_are_many():
    both = plot.tokens(attention(9, 9), list("abcdefghi"))
    assert both.images and len(both.figure.axes) == 3
    assert len(plot.tokens(attention(50, 50), ["w"] * 50).figure.axes) == 2
    assert len(plot.tokens(attention(9, 9), list("abcdefghi"), style="map").figure.axes) == 2
    with pytest.raises(ValueError, match='style="both" draws a figure of its own'):
        plot.tokens(attention(9, 9), list("abcdefghi"), style="both", ax=both)
    with pytest.raises(ValueError, match='style=\'x\'; accepted are "both", "map" and "lines"'):
        plot.tokens(attention(9, 9), list("abcdefghi"), style="x")


def test_weights_that_are_missing_or_all_zero_have_no_line():
    ax = plot.tokens(np.array([[math.nan, 1.0], [0.0, math.inf]]), ["a", "b"], style="lines")
    assert len(ax.collections[0].get_segments()) == 1
    assert len(plot.tokens(np.zeros((2, 2)), ["a", "b"], style="lines").collections[0].get_segments()) == 0


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float64])
def test_pictures_of_differences_say_that_they_are(kind):
    change = records(A.to(kind)) - records(B.to(kind))
    by_head, model, one = plot.heads(change[:1]), plot.layers(change), plot.head(change[:1], head=2)
    assert by_head.get_suptitle() == "layer blocks.0.attn, difference"
    assert model.get_title() == "difference"
    assert one.get_title() == "layer blocks.0.attn, head 2, difference"
    for figure in (by_head, model.figure, one.figure):
        assert "difference" in [bar.get_ylabel() for bar in bars(figure)]
        assert "weight" not in " ".join(written(figure))
        assert_readable(figure)
    assert bars(plot.heads(change[:1], label="change"))[0].get_ylabel() == "change"


def test_scores_before_softmax_are_neither_weights_nor_differences():
    figure = plot.heads(A[0].log())
    assert (bars(figure)[0].get_ylabel(), figure.get_suptitle()) == ("value", "")


# Steps put together


def test_steps_put_together_are_the_map_of_the_whole_text():
    whole = attention(2, 4, 6, 6).tril()
    steps = [whole[:, :, :3, :3], whole[:, :, 3:4, :4], whole[:, :, 4:6, :6]]
    assert np.array_equal(formulas.join_steps(steps), whole)
    calls = Records([Record(one, "attn", "m", "f", 1, "h.0", call) for call, one in enumerate(steps)])
    assert np.array_equal(formulas.join_steps(calls), whole)


def test_steps_after_the_first_have_the_rows_that_are_known():
    whole = attention(6, 6).tril()
    assert np.array_equal(formulas.join_steps([whole[3:4, :4], whole[4:5, :5]]), whole[3:5, :5])


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([], "join_steps of no steps"),
        ([np.ones((2, 5)), np.ones((2, 5))], "step 1 has 2 queries and 5 keys, after 5 keys .*static cache"),
        (
            [np.ones((9, 9)), np.ones((1, 4))],
            "begins at step 1, or the keys are a window.*static cache",
        ),
        ([np.ones((2, 2)), np.ones((1, 3)), np.ones((2, 2))], r"begins at step 2; join the steps .*, steps\[:2\]$"),
        ([np.ones((2, 2)), np.ones((3, 3))], "Or the model keeps no cache"),
        ([np.ones((3, 2))], "step 0 has 3 queries and 2 keys, after 0 keys"),
        ([np.ones((2, 2)), np.ones((4, 1, 3))], r"step 1 has shape \(4, 1, 3\) and step 0 \(2, 2\)"),
        (records([np.ones((2, 2)), np.ones((1, 3))]), "of the layers 'blocks.0.attn' and 'blocks.1.attn': pick one"),
    ],
)
def test_what_are_no_steps_says_why(steps, message):
    with pytest.raises(ValueError, match=message):
        formulas.join_steps(steps)


@pytest.mark.parametrize(("more", "calls"), [(1, "[0, 1]"), (5, "range(0, 6)")])
def test_a_second_text_is_named_by_its_first_call_and_the_selection_that_is_advised_works(more, calls):
    text = [np.ones((3, 3)), *(np.ones((1, 4 + number)) for number in range(more))]
    both = Records([Record(one, "attn", "m", "f", 1, "h.0", call) for call, one in enumerate(text * 2)])
    with pytest.raises(ValueError) as refused:
        formulas.join_steps(both)
    first = len(text)
    assert str(refused.value).endswith(
        f"a new text begins at call {first}; select the calls of one text, select(call={calls})"
    )
    assert formulas.join_steps(both.select(call=eval(calls))).shape == (3 + more, 3 + more)


# Many calls

RUN = attention(5, 3, 2, 9, 9)  # calls, layers, heads
CALLS = Records(
    [
        Record(RUN[call, layer] ** (1 + call), "attn", "m", "f", 1, f"h.{layer}", call)
        for call in range(5)
        for layer in range(3)
    ]
)
ENTROPY = np.stack([[formulas.entropy(RUN[call, layer] ** (1 + call)) for layer in range(3)] for call in range(5)])


def test_cells_of_many_calls_are_their_mean_and_the_title_says_so():
    ax = plot.entropy(CALLS)
    assert np.allclose(np.concatenate([image.get_array() for image in ax.images]), ENTROPY.mean(axis=0))
    assert ax.get_title() == "mean of 5 calls"
    assert_readable(ax.figure)


def test_dots_of_many_calls_have_a_bar_of_their_standard_deviation():
    ax = plot.entropy(CALLS, style="dots")
    (dots,) = [one for one in ax.collections if isinstance(one, PathCollection)]
    assert np.allclose(dots.get_offsets()[:, 1], ENTROPY.mean(axis=0).ravel())
    (lines,) = [one for one in ax.collections if isinstance(one, LineCollection)]
    reach = [segment[1, 1] - segment[0, 1] for segment in lines.get_segments()]
    assert np.allclose(reach, 2 * ENTROPY.std(axis=0).ravel())
    assert "standard deviation\nover the calls" in written(ax.figure)
    assert_readable(ax.figure)


def test_calls_are_drawn_one_after_the_other_with_a_line_for_each_layer():
    ax = plot.entropy(CALLS, style="calls")
    assert len(ax.lines) == 3
    for layer, line in enumerate(ax.lines):
        assert line.get_xdata().tolist() == [0, 1, 2, 3, 4]
        assert np.allclose(line.get_ydata(), ENTROPY[:, layer].mean(axis=1))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("call", "mean entropy (nats)")
    assert_readable(ax.figure)


def test_the_distance_of_many_calls_is_drawn_too():
    ax = plot.distance(CALLS, cls=0, style="cells")
    centres = formulas.patch_centres((3, 3))
    expected = np.mean(
        [[formulas.mean_distance(RUN[c, layer] ** (1 + c), centres) for layer in range(3)] for c in range(5)], axis=0
    )
    assert np.allclose(np.concatenate([image.get_array() for image in ax.images]), expected)


def test_calls_that_do_not_have_all_layers_are_refused():
    with pytest.raises(
        CaptureError,
        match=r"recording may have stopped at the memory limit: see summary\(\)",
    ):
        plot.entropy(CALLS[:-1])
