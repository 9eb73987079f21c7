"""Pictures of text: token by token, and one text shaded by what a token attends to."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection
from pictures import assert_readable, attention, bars, drawn, records

from astcapture import plot

WORDS = ["[CLS]", "the", "cat", "that", "chased", "the", "mice", "was", "tired", "[SEP]"]
WEIGHTS = attention(4, 10, 10)


def ground(text) -> tuple[float, ...]:
    return text.get_bbox_patch().get_facecolor()


def is_framed(text) -> bool:
    return text.get_bbox_patch().get_edgecolor()[3] == 1


def test_without_a_query_all_tokens_by_all_tokens_are_drawn():
    ax = plot.tokens(WEIGHTS, WORDS)
    assert np.allclose(drawn(ax), WEIGHTS.mean(dim=0))
    for labels in (ax.get_xticklabels(), ax.get_yticklabels()):
        assert [label.get_text() for label in labels] == WORDS
    assert ax.get_title() == "mean of 4 heads"
    assert_readable(ax.figure)


def test_tokens_left_out_are_gone_from_both_axes_and_the_range():
    ax = plot.tokens(WEIGHTS, WORDS, without=("[CLS]", "[SEP]"), head=2)
    assert np.array_equal(drawn(ax), WEIGHTS[2, 1:-1, 1:-1])
    assert [label.get_text() for label in ax.get_yticklabels()] == WORDS[1:-1]
    assert bars(ax.figure)[0].get_ylim() == pytest.approx((0, float(WEIGHTS[2, 1:-1, 1:-1].max())))


def test_a_query_shades_the_text_by_its_row_and_is_framed():
    ax = plot.tokens(records([WEIGHTS]), WORDS, query="mice", head=1)
    assert [text.get_text() for text in ax.texts] == WORDS
    row, colours = WEIGHTS[1, 6], mpl.colormaps["magma_r"]
    for text, weight in zip(ax.texts, row.tolist(), strict=True):
        assert ground(text) == pytest.approx(colours(weight / float(row.max())), abs=0.01)
    assert [is_framed(text) for text in ax.texts] == [word == "mice" for word in WORDS]
    assert bars(ax.figure)[0].get_ylim() == pytest.approx((0, float(row.max())))
    assert ax.get_title() == "'mice' attends to (layer blocks.0.attn, head 1)"
    assert_readable(ax.figure)


def test_a_query_is_counted_in_all_tokens_also_where_some_are_left_out():
    ax = plot.tokens(WEIGHTS, WORDS, query=5, without=("[CLS]", "[SEP]"))
    assert [text.get_text() for text in ax.texts if is_framed(text)] == ["the"]
    assert is_framed(ax.texts[4])
    assert bars(ax.figure)[0].get_ylim()[1] == pytest.approx(float(WEIGHTS.mean(dim=0)[5, 1:-1].max()))
    assert is_framed(plot.tokens(WEIGHTS, WORDS, query=-2).texts[8])


def test_dark_grounds_have_white_letters():
    weights = np.zeros((3, 3))
    weights[0] = [0.0, 0.1, 0.9]
    ax = plot.tokens(weights, ["a", "b", "c"], query="a")
    assert [text.get_color() for text in ax.texts] == ["black", "black", "white"]


def test_a_long_text_goes_on_in_the_next_line_without_words_on_each_other():
    words = [f"word{number}" for number in range(120)]
    ax = plot.tokens(attention(120, 120), words, query=7)
    assert_readable(ax.figure)
    heights = [text.xyann[1] for text in ax.texts]
    assert len(set(heights)) > 5 and heights == sorted(heights, reverse=True)


@pytest.mark.parametrize("count", [1, 2, 30])
def test_texts_of_any_length_and_any_letters_are_readable(count):
    words = (["$5", "_", "a\nb", "\t", "x^2", "Ġthe", "▁cat", "##ing", "%", "\\", "i", "W" * 20, " ", ""] * 3)[:count]
    for options in ({"query": 0}, {}):
        assert_readable(plot.tokens(attention(2, count, count), words, title="layer 3", **options).figure)


def test_line_breaks_and_tabs_are_written_as_they_are_escaped():
    ax = plot.tokens(np.eye(2), ["a\n", "\tb"], query=0)
    assert [text.get_text() for text in ax.texts] == ["a\\n", "\\tb"]


def test_dollars_make_no_formula_of_a_text():
    ax = plot.tokens(np.eye(2), ["$6$", "b"], query="$6$")
    assert not any(text.get_parse_math() for text in [*ax.texts, ax.title])


def test_a_text_is_drawn_in_the_axes_it_is_given():
    _, axes = mpl.pyplot.subplots(1, 2)
    assert plot.tokens(WEIGHTS, WORDS, query=0, ax=axes[1]) is axes[1]
    assert axes[1].texts and not axes[0].texts


def test_no_weight_at_all_and_negative_and_nan_weights_are_drawn():
    assert bars(plot.tokens(np.zeros((2, 2)), ["a", "b"], query=0).figure)[0].get_ylim() == (0, 1)
    signed = plot.tokens(np.array([[-1.0, 0.5], [0, 0]]), ["a", "b"], query=0)
    assert bars(signed.figure)[0].get_ylim() == (-1, 1)
    assert ground(signed.texts[0])[2] > ground(signed.texts[0])[0]  # blue below zero
    missing = plot.tokens(np.array([[np.nan, 0.5], [0, 0]]), ["a", "b"], query=0)
    assert ground(missing.texts[0]) == pytest.approx((0.75, 0.75, 0.75, 1))


@pytest.mark.parametrize(
    ("shape", "words", "options", "message"),
    [
        ((3, 3), "a b", {}, r"2 tokens do not label attention of shape \(3, 3\): give one for each of the 3"),
        ((2, 3), "a b", {}, r"attention of shape \(2, 3\) is not from tokens to the same tokens"),
        ((3,), "a b c", {}, r"attention has shape \(3,\); accepted are"),
        ((3, 3), "a b a", {"query": "a"}, "query='a' is the token at 0, 2: pass one of these numbers"),
        ((3, 3), "a b c", {"query": "d"}, "query='d' is none of the tokens: 'a', 'b', 'c'"),
        ((3, 3), "a b c", {"query": 3}, "query=3 is outside the 3 tokens: it goes from 0 to 2"),
        ((2, 2), "a b", {"without": "ab"}, r"without=\['a', 'b'\] leaves none of the 2 tokens"),
        ((2, 3, 3, 3), "a b c", {}, "has 2 along its batch axis"),
        ((4, 3, 3), "a b c", {"head": 4}, "head=4 is outside attention"),
    ],
)
def test_a_text_that_cannot_be_drawn_says_why(shape, words, options, message):
    with pytest.raises(ValueError, match=message):
        plot.tokens(torch.ones(shape), words.split(), **options)


def test_lines_of_a_difference_have_both_signs_in_the_colours_of_its_map():
    values = torch.tensor([[-0.9, 0.1, 0.8], [0.3, -0.3, 0.0], [0.0, 0.0, 0.0]])
    ax = plot.tokens(values, list("abc"), style="lines")
    (lines,) = [one for one in ax.collections if isinstance(one, LineCollection)]
    drawn = sorted((round(float(alpha), 3), red > blue) for red, _, blue, alpha in lines.get_colors())
    assert drawn == [(0.111, True), (0.333, False), (0.333, True), (0.889, True), (1.0, False)]
