"""What is drawn: the right weights in the right place, readable, with a colour bar that has a range."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.patches import Rectangle
from pictures import assert_readable, attention, bars, drawn, extremes, written

import astcapture.plot
from astcapture import plot
from astcapture.values.record import Record
from astcapture.values.records import Records

# One head


def test_head_draws_the_map_that_was_asked_for():
    weights = attention(2, 4, 9, 9)
    ax = plot.head(weights, batch=1, head=3)
    assert np.allclose(drawn(ax), weights[1, 3])


def test_head_says_what_the_axes_are_and_has_a_colour_bar_with_its_range():
    weights = attention(9, 9)
    ax = plot.head(weights, title="layer 2")
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("attends to", "attends from", "layer 2")
    (bar,) = bars(ax.figure)
    assert bar.get_ylim() == pytest.approx((0, float(weights.max())))
    ax.figure.draw_without_rendering()
    ticks = [float(label.get_text()) for label in bar.get_yticklabels()]
    assert len(ticks) >= 2
    assert all(0 <= tick <= weights.max() for tick in ticks)
    assert all(len(f"{tick:g}".replace("0", "").replace(".", "")) <= 1 for tick in ticks)  # 0.1, 0.2, ...: round


def test_head_puts_queries_downwards_from_the_top():
    ax = plot.head(attention(5, 7))
    assert ax.get_ylim() == (4.5, -0.5)
    assert ax.get_xlim() == (-0.5, 6.5)


def test_head_draws_in_the_axes_it_is_given_and_shows_nothing(monkeypatch):
    monkeypatch.setattr(plt, "show", lambda *_: pytest.fail("show() was called"))
    figure, axes = plt.subplots(1, 2)
    assert plot.head(attention(5, 5), ax=axes[1]) is axes[1]
    assert axes[1].images
    assert not axes[0].images
    assert plt.get_fignums() == [figure.number]


def test_head_takes_records_of_one_value():
    weights = attention(9, 9)
    ax = plot.head(Records([Record(weights, "attn", "m", "f", 1)]))
    assert np.allclose(drawn(ax), weights)


def test_head_range_can_be_given_and_the_bar_is_pointed_where_weights_lie_outside():
    ax = plot.head(np.array([[0.0, 0.5], [0.5, 1.0]]), vmin=0.2, vmax=0.8)
    assert ax.images[0].get_clim() == (0.2, 0.8)
    assert ax.images[0].norm(0.5) == pytest.approx(0.5)
    (bar,) = bars(ax.figure)
    assert bar._colorbar.extend == "both"


def test_tokens_label_the_axes_and_are_no_formulas():
    tokens = ["it", "costs", "$5", "not", "$6$"]
    ax = plot.head(attention(5, 5), tokens=tokens)
    ax.figure.draw_without_rendering()
    for labels in (ax.get_xticklabels(), ax.get_yticklabels()):
        assert [label.get_text() for label in labels] == tokens
        assert not any(label.get_parse_math() for label in labels)
    assert_readable(ax.figure)


def test_tokens_of_a_generation_step_label_the_keys():
    ax = plot.head(attention(1, 4), tokens=list("abcd"))
    assert [label.get_text() for label in ax.get_xticklabels()] == list("abcd")
    assert [label.get_text() for label in ax.get_yticklabels()] != list("abcd")
    assert_readable(ax.figure)


def test_many_tokens_are_thinned_out_until_they_can_be_read():
    ax = plot.head(attention(150, 150), tokens=[f"token{number}" for number in range(150)])
    assert_readable(ax.figure)
    assert {"token0", "token4"} <= set(written(ax.figure))


def test_tokens_that_fit_no_axis_are_refused():
    with pytest.raises(ValueError, match=r"3 tokens do not label a map of shape \(5, 5\)"):
        plot.head(attention(5, 5), tokens=["a", "b", "c"])


def test_nan_and_infinite_weights_are_grey_and_the_bar_says_so():
    weights = np.array([[0.1, np.nan], [-np.inf, 0.9]])
    ax = plot.head(weights)
    colours = ax.images[0].to_rgba(ax.images[0].get_array(), norm=True)
    grey = (0.75, 0.75, 0.75, 1.0)
    assert tuple(ax.images[0].cmap.get_bad()) == pytest.approx(grey)
    assert not np.allclose(colours[0, 0], grey)
    assert ax.images[0].get_clim() == (0, 0.9)
    assert "weight (grey: not finite)" in written(ax.figure)


def test_an_infinite_weight_is_painted_grey():
    figure = plt.figure(figsize=(1, 1), dpi=100)
    ax = figure.add_axes((0, 0, 0.5, 1))
    plot.head(np.array([[np.inf, 0.5], [0.7, 0.9]]), ax=ax)
    ax.set_position((0, 0, 0.5, 1))
    ax.set_axis_off()
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3] / 255
    assert (np.abs(pixels - 0.75).max(axis=-1) < 0.01).sum() > 50


# All heads


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("count", [1, 2, 6, 12, 16])
def test_the_labels_of_all_heads_never_overlap(count, shared):
    figure = plot.heads(attention(count, 17, 17), shared_scale=shared, title="layer 11")
    assert_readable(figure)


@pytest.mark.parametrize("shape", [(12, 197, 197), (4, 10, 30), (4, 30, 10), (4, 1, 50)])
def test_heads_of_any_shape_are_readable(shape):
    assert_readable(plot.heads(attention(*shape), title="layer 0"))


def test_heads_draws_every_head_and_their_mean():
    weights = attention(2, 6, 9, 9)
    figure = plot.heads(weights, batch=1)
    panels = figure.axes[:7]
    assert [ax.get_title() for ax in panels] == [*(f"head {number}" for number in range(6)), "mean"]
    for ax, expected in zip(panels, [*weights[1], weights[1].mean(0)], strict=True):
        assert np.allclose(drawn(ax), expected)
    assert {"attends to\ncolours: weight, one scale for all panels", "attends from"} <= set(written(figure))


def test_numbers_stand_only_where_no_panel_follows_below_or_to_the_left():
    figure = plot.heads(attention(6, 9, 9))  # 2 rows of 4 panels, the last place empty
    panels = figure.axes[:7]
    assert [ax.xaxis.get_tick_params()["labelbottom"] for ax in panels] == [False] * 3 + [True] * 4
    assert [ax.yaxis.get_tick_params()["labelleft"] for ax in panels] == [True, *[False] * 3, True, *[False] * 2]


def test_a_shared_scale_is_one_bar_over_all_heads():
    weights = attention(6, 9, 9)
    figure = plot.heads(weights)
    (bar,) = bars(figure)
    assert bar.get_ylim() == pytest.approx((0, float(weights.max())))
    assert {ax.images[0].get_clim() for ax in figure.axes[:7]} == {bar.get_ylim()}


def test_own_scales_are_one_bar_for_each_head():
    weights = attention(6, 9, 9)
    figure = plot.heads(weights, shared_scale=False)
    assert len(bars(figure)) == 7
    panels = [ax for ax in figure.axes if ax.images]
    assert panels[2].images[0].get_clim() == pytest.approx((0, float(weights[2].max())))


def test_the_mean_can_be_left_out_and_is_of_one_head():
    assert "mean" not in written(plot.heads(attention(6, 9, 9), mean=False))
    assert "mean" not in written(plot.heads(attention(1, 9, 9)))


def test_the_mean_is_nan_where_a_head_is():
    weights = attention(3, 4, 4).numpy()
    weights[1, 2, 3] = np.nan
    figure = plot.heads(weights)
    assert np.argwhere(np.isnan(drawn(figure.axes[3]))).tolist() == [[2, 3]]


def test_heads_of_a_batch_ask_for_an_example():
    with pytest.raises(ValueError, match=r"has 2 along its batch axis: pick one, batch=0 to batch=1"):
        plot.heads(attention(2, 3, 9, 9))


def test_heads_draws_in_the_figure_it_is_given():
    figure = plt.figure(layout="constrained")
    left, right = figure.subfigures(1, 2)
    assert plot.heads(attention(2, 9, 9), figure=right) is right
    assert right.axes
    assert not left.axes


# One patch

IMAGE = np.linspace(0, 1, 40 * 60).reshape(40, 60)
SQUARE = IMAGE[:, :40]


def outline(ax) -> tuple[float, float, float, float]:
    (frame,) = [patch for patch in ax.patches if isinstance(patch, Rectangle) and not patch.get_fill()]
    return (*frame.get_xy(), frame.get_width(), frame.get_height())


def test_a_patch_is_outlined_where_it_lies_in_the_image():
    figure = plot.patch_to_patch(attention(24, 24), IMAGE, (1, 4), grid=(4, 6))
    left, right = figure.axes[:2]
    assert np.allclose(drawn(left), IMAGE)
    assert outline(left) == outline(right) == pytest.approx((39.5, 9.5, 10, 10))


def test_the_attention_of_the_patch_covers_the_image():
    weights = attention(24, 24)
    figure = plot.patch_to_patch(weights, IMAGE, (1, 4), grid=(4, 6))
    right = figure.axes[1]
    assert np.allclose(right.images[0].get_array(), IMAGE)
    assert np.allclose(drawn(right), weights[10].reshape(4, 6))
    assert right.images[1].get_extent() == [-0.5, 59.5, 39.5, -0.5]
    (bar,) = bars(figure)
    assert bar.get_ylim() == pytest.approx(extremes(weights[10]))


def test_an_index_counts_patches_row_by_row_without_cls():
    weights = attention(25, 25)
    figure = plot.patch_to_patch(weights, IMAGE, 10, grid=(4, 6))
    assert figure.axes[0].get_title() == "patch (1, 4)"
    assert np.allclose(drawn(figure.axes[1]), weights[11, 1:].reshape(4, 6))


def test_the_weight_of_cls_stands_in_its_own_cell():
    weights = attention(17, 17)
    figure = plot.patch_to_patch(weights, SQUARE, 5)
    right = figure.axes[1]
    (cell,) = [patch for patch in right.patches if patch.get_fill()]
    assert cell.get_x() + cell.get_width() < -0.5  # beside the image
    image = right.images[1]
    assert cell.get_facecolor() == pytest.approx(image.cmap(float(image.norm(float(weights[6, 0])))))
    assert {"CLS", f"{weights[6, 0]:.2g}"} <= set(written(figure))
    assert right.get_xlim()[0] < cell.get_x()
    assert_readable(figure)


def test_the_colour_range_is_that_of_the_patches_and_cls_beyond_it_is_pointed():
    weights = np.full((17, 17), 0.01)
    weights[:, 0] = 0.8
    weights[:, 1] = 0.04
    figure = plot.patch_to_patch(weights, SQUARE, 0)
    (bar,) = bars(figure)
    assert bar._colorbar.extend == "max"
    assert figure.axes[1].images[1].get_clim() == (0.01, 0.04)
    assert "0.8" in written(figure)


def test_the_attention_of_cls_itself_is_outlined_in_its_cell():
    weights = attention(3, 17, 17)
    figure = plot.patch_to_patch(weights, SQUARE, "cls", head=2)
    left, right = figure.axes[:2]
    assert np.allclose(drawn(right), weights[2, 0, 1:].reshape(4, 4))
    assert not left.patches
    assert outline(right)[0] < 0
    assert (left.get_title(), right.get_title()) == ("CLS token", "attends to\nhead 2")


def test_registers_have_cells_below_cls():
    figure = plot.patch_to_patch(attention(29, 29), IMAGE, (0, 0), grid=(4, 6))
    cells = [patch for patch in figure.axes[1].patches if patch.get_fill()]
    assert len(cells) == 5
    assert [cell.get_y() for cell in cells] == sorted(cell.get_y() for cell in cells)
    assert {"CLS", "R1", "R2", "R3", "R4"} <= set(written(figure))
    assert_readable(figure)


def test_a_nan_weight_of_cls_is_grey():
    weights = attention(17, 17).numpy()
    weights[6, 0] = np.nan
    figure = plot.patch_to_patch(weights, SQUARE, 5)
    (cell,) = [patch for patch in figure.axes[1].patches if patch.get_fill()]
    assert cell.get_facecolor()[:3] == pytest.approx((0.75, 0.75, 0.75))
    assert "weight (grey: not finite)" in written(figure)


def test_heads_are_averaged_unless_one_is_picked():
    weights = attention(2, 4, 16, 16)
    figure = plot.patch_to_patch(weights, SQUARE, 3, batch=1)
    assert np.allclose(drawn(figure.axes[1]), weights[1].mean(0)[3].reshape(4, 4))
    assert figure.axes[1].get_title() == "attends to\nmean of 4 heads"
    figure = plot.patch_to_patch(weights, SQUARE, 3, batch=1, head=2)
    assert np.allclose(drawn(figure.axes[1]), weights[1, 2, 3].reshape(4, 4))


def test_a_patch_is_drawn_in_the_axes_it_is_given():
    figure, axes = plt.subplots(1, 3)
    assert plot.patch_to_patch(attention(17, 17), SQUARE, 0, ax=axes[1:]) is figure
    assert not axes[0].images
    assert len(axes[1].images) == 1
    assert len(axes[2].images) == 2


@pytest.mark.parametrize("shape", [(40, 60), (60, 40, 3), (3, 30, 90), (200, 40)])
@pytest.mark.parametrize("tokens", [16, 17, 21])
def test_the_figure_of_a_patch_is_readable_at_any_aspect(shape, tokens):
    figure = plot.patch_to_patch(
        attention(tokens, tokens), np.zeros(shape), 0, grid=(4, 4), stretch=True, title="layer 3"
    )
    assert_readable(figure)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((18, 18), {}, "18 tokens, with or without one CLS token, do not form a square"),
        ((16, 20), {}, r"attention of shape \(16, 20\) is not from tokens to the same tokens; accepted are"),
        ((16, 16), {"patch": "cls"}, r'patch="cls": the 16 tokens are \(4, 4\) patches and hold no CLS token'),
        ((16, 16), {"patch": 16}, "patch=16 is outside the grid of 4 rows and 4 columns"),
        ((2, 2, 16, 16), {}, "has 2 along its batch axis"),
        ((16,), {}, r"attention has shape \(16,\); accepted are"),
    ],
)
def test_a_patch_that_cannot_be_drawn_says_why(shape, options, message):
    with pytest.raises(ValueError, match=message):
        plot.patch_to_patch(np.ones(shape), IMAGE, **{"patch": 0, **options})


MODULES = [module.name for module in pkgutil.walk_packages(astcapture.plot.__path__, "astcapture.plot.")]


@pytest.mark.parametrize("name", sorted(MODULES))
def test_the_examples_in_the_docstrings_run(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_nearly_equal_weights_look_nearly_equal_because_their_scale_begins_at_zero():
    weights = np.array([[[0.122, 0.124], [0.123, 0.123]]] * 2)
    drawings = [
        plot.head(weights[0]),
        plot.tokens(weights, ["a", "b"], style="map"),
        plot.heads(weights).axes[0],
        plot.heads(weights, shared_scale=False).axes[0],
        plot.layers(weights[None]),
        plot.compare(weights, weights).axes[0],
    ]
    assert [ax.images[0].get_clim() for ax in drawings] == [(0, 0.124)] * 6
    assert plot.head(weights[0], vmin=0.12).images[0].get_clim() == (0.12, 0.124)
    assert plot.head(weights[0] - 0.123).images[0].get_clim() == pytest.approx((-0.001, 0.001))


def test_heads_that_differ_a_little_around_the_same_weight_share_a_scale():
    even = np.full((3, 9, 9), 1 / 9) * np.linspace(0.99, 1.01, 3)[:, None, None]
    assert "one scale for all panels" in plot.heads(even).get_supxlabel()
