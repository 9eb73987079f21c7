"""Pictures of whole models: all layers and heads, rollout, distances, entropies; and maps over images."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from pictures import assert_readable, attention, bars, drawn, extremes, records, written

from astcapture import plot
from astcapture.plot import formulas
from astcapture.plot.layer_sequence import layer_sequence, short_names
from astcapture.plot.reduce import block_means
from astcapture.values.record import Record
from astcapture.values.records import Records

IMAGE = np.linspace(0, 1, 40 * 60).reshape(40, 60)
SQUARE = IMAGE[:, :40]
MODEL = attention(4, 2, 3, 17, 17)  # layers, batch, heads


def thumbnails(ax) -> dict[tuple[int, float], np.ndarray]:
    """The maps in an overview by their row and the middle of their column."""
    found = {}
    for image in ax.images:
        left, right, bottom, top = image.get_extent()
        assert bottom > top and left < right  # the first query above, where the axis goes downwards
        found[round((top + bottom) / 2), round((left + right) / 2, 2)] = np.ma.filled(image.get_array(), np.nan)
    return found


# What is accepted as the layers of a model


def equal(layers, names, maps):
    assert [layer.name for layer in layers] == names
    assert all(np.array_equal(layer.maps, one) for layer, one in zip(layers, maps, strict=True))


def test_layers_come_as_records_a_list_a_dict_or_an_array():
    named = [f"blocks.{number}.attn" for number in range(4)]
    equal(layer_sequence(records(MODEL)), named, MODEL)
    equal(layer_sequence(records(MODEL).by_layer()), named, MODEL)
    equal(layer_sequence(dict(zip(named, MODEL, strict=True))), named, MODEL)
    for values in (list(MODEL), tuple(MODEL), MODEL, MODEL.numpy(), MODEL.tolist(), records(MODEL).stack()):
        equal(layer_sequence(values), ["0", "1", "2", "3"], MODEL)


def test_values_captured_outside_any_module_are_layers_where_they_come_as_a_list():
    values = Records([Record(one, "attn", "m", "f", 1, None, number) for number, one in enumerate(MODEL)])
    equal(layer_sequence(list(values)), ["0", "1", "2", "3"], MODEL)
    equal(layer_sequence(values[:1]), ["0"], MODEL[:1])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (Records(), "nothing to draw: the Records hold no value"),
        ([], "there is no layer to draw; accepted are Records with one value for each layer, a list"),
        ({}, "there is no layer to draw"),
        (np.ones((3, 4, 4)), r"attention has shape \(3, 4, 4\); accepted are Records .* or an array of shape \(layers"),
        (np.ones((0, 3, 4, 4)), r"attention has shape \(0, 3, 4, 4\)"),
        (records(MODEL, calls=True), "all 4 values are of layer 'blocks.0.attn', in the calls 0 to 3: .*pass list"),
        (
            Records([Record(1, "q", "m", "f", 1), Record(2, "attn", "m", "f", 1)]),
            r"labelled 'q', 'attn': pick one, records\['q'\]",
        ),
    ],
)
def test_what_is_no_sequence_of_layers_says_why(values, message):
    with pytest.raises(ValueError, match=message):
        layer_sequence(values)


def test_an_error_in_one_layer_names_it():
    values = {"blocks.0": np.ones((2, 4, 4)), "blocks.1": np.ones(4)}
    for draw in (plot.layers, plot.rollout, plot.entropy, plot.distance):
        with pytest.raises(ValueError, match=r"layer blocks.1: .*shape \(4,\); accepted"):
            draw(values)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.0.b", "a.1.b"], (["0", "1"], "a.*.b")),
        (["a.0", "a.1.b"], (["0", "1.b"], "a.*")),
        (["enc.0.self", "dec.0.self"], (["enc", "dec"], "*.0.self")),
        (["a", "b"], (["a", "b"], "")),
        (["a.0.b"], (["a.0.b"], "")),
        (["a.b", "a.b"], (["b", "b"], "a.*")),
    ],
)
def test_layers_are_told_apart_by_what_differs(names, expected):
    assert short_names(names) == expected


# All layers and heads


def test_layers_draws_every_head_of_every_layer_in_its_place_and_the_means():
    ax = plot.layers(records(MODEL), batch=1)
    found = thumbnails(ax)
    assert len(found) == 4 * (3 + 1)
    for layer in range(4):
        for head in range(3):
            assert np.allclose(found[layer, head], MODEL[layer, 1, head])
        assert np.allclose(found[layer, 3.24], MODEL[layer, 1].mean(dim=0))
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "1", "2", "mean"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["0", "1", "2", "3"]
    assert ax.get_ylabel() == "layer (blocks.*.attn)"
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first layer is above
    (bar,) = bars(ax.figure)
    assert bar.get_ylim() == pytest.approx((0, float(MODEL[:, 1].max())))
    assert {image.get_clim() for image in ax.images} == {bar.get_ylim()}


@pytest.mark.cases(2)
@pytest.mark.parametrize(("heads", "depth"), [(1, 1), (1, 24), (6, 1), (12, 12), (16, 24)])
def test_the_labels_of_all_layers_never_overlap(heads, depth):
    weights = attention(depth, heads, 9, 9)
    assert_readable(plot.layers(records(weights), title="a model of many layers").figure)
    assert_readable(plot.entropy(records(weights), title="a model of many layers").figure)
    assert_readable(plot.distance(records(weights), title="a model of many layers").figure)


def test_layers_of_different_heads_and_tokens_leave_places_empty():
    weights = [attention(3, 49, 49), attention(6, 16, 16), attention(2, 5, 9)]
    found = thumbnails(plot.layers(weights))
    assert sorted(place for place in found if place[1] < 6) == [
        *((0, head) for head in range(3)),
        *((1, head) for head in range(6)),
        *((2, head) for head in range(2)),
    ]
    assert found[2, 1].shape == (5, 9)
    assert {place for place in found if place[1] > 6} == {(0, 6.24), (1, 6.24), (2, 6.24)}


def test_own_scales_have_no_bar():
    ax = plot.layers(MODEL, batch=0, shared_scale=False)
    assert bars(ax.figure) == []
    for image in ax.images:
        assert image.get_clim() == (0, image.get_array().max())


def test_maps_of_many_tokens_are_averaged_over_blocks_and_the_bar_says_so():
    weights = attention(1, 2, 300, 300)
    ax = plot.layers(weights, mean=False)
    found = thumbnails(ax)
    expected = weights[0, 1].reshape(100, 3, 100, 3).mean(dim=(1, 3))
    assert np.allclose(found[0, 1], expected)
    assert bars(ax.figure)[0].get_ylabel() == "mean weight of 3 × 3"
    assert bars(ax.figure)[0].get_ylim() == pytest.approx(
        (0, float(weights.reshape(2, 100, 3, 100, 3).mean(dim=(2, 4)).max()))
    )


def test_blocks_at_the_ends_are_averages_of_what_is_there():
    means = block_means(np.arange(15.0).reshape(3, 5), 2)
    assert means.tolist() == [[3.0, 5.0, 6.5], [10.5, 12.5, 14.0]]
    assert block_means(np.arange(5.0)[None], 2).tolist() == [[0.5, 2.5, 4.0]]
    weights = attention(2, 7, 11).numpy()
    slow = [[one[y : y + 3, x : x + 3].mean() for x in range(0, 11, 3)] for one in weights for y in range(0, 7, 3)]
    assert np.allclose(block_means(weights, 3).reshape(-1, 4), slow)


def test_heads_of_many_tokens_are_averaged_over_blocks_with_ticks_that_count_tokens():
    figure = plot.heads(attention(2, 500, 500))
    assert figure.axes[0].images[0].get_extent() == [-0.5, 499.5, 499.5, -0.5]
    assert np.shape(drawn(figure.axes[0])) == (250, 250)
    assert bars(figure)[0].get_ylabel() == "mean weight of 2 × 2"


def test_layers_is_drawn_in_the_axes_it_is_given():
    figure, axes = plt.subplots(1, 2)
    assert plot.layers(MODEL, batch=0, ax=axes[1]) is axes[1]
    assert not axes[0].images
    assert plt.get_fignums() == [figure.number]


# Rollout


def test_rollout_draws_all_tokens_by_all_tokens():
    ax = plot.rollout(records(MODEL), batch=1, fusion="max", discard=0.5)
    expected = formulas.rollout(list(MODEL[:, 1]), fusion="max", discard=0.5)
    assert np.allclose(drawn(ax), expected)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("input token", "output token")
    assert bars(ax.figure)[0].get_ylabel() == "share"
    assert_readable(ax.figure)


def test_rollout_over_an_image_is_the_row_of_cls():
    shares = formulas.rollout(list(MODEL[:, 0]))
    ax = plot.rollout(records(MODEL), SQUARE, batch=0)
    assert np.allclose(ax.images[0].get_array(), SQUARE)
    assert np.allclose(drawn(ax), shares[0, 1:].reshape(4, 4))
    assert np.allclose(drawn(plot.rollout(MODEL, SQUARE, patch="cls", batch=0)), shares[0, 1:].reshape(4, 4))
    assert_readable(ax.figure)


def test_rollout_over_an_image_can_be_of_a_patch():
    shares = formulas.rollout(list(MODEL[:, 0]))
    for patch in (6, (1, 2)):
        assert np.allclose(drawn(plot.rollout(MODEL, SQUARE, patch=patch, batch=0)), shares[7, 1:].reshape(4, 4))


def test_rollout_without_cls_is_the_mean_over_the_patches():
    layers = attention(3, 2, 24, 24)
    ax = plot.rollout(layers, IMAGE, grid=(4, 6))
    assert np.allclose(drawn(ax), formulas.rollout(list(layers)).mean(axis=0).reshape(4, 6))
    with pytest.raises(ValueError, match=r'patch="cls": the 24 tokens are \(4, 6\) patches and hold no CLS token'):
        plot.rollout(layers, IMAGE, grid=(4, 6), patch="cls")


def test_rollout_of_a_patch_needs_an_image():
    with pytest.raises(ValueError, match="patch=3 picks what is drawn over an image: pass image="):
        plot.rollout(MODEL, batch=0, patch=3)


# Distance and entropy


def dots(ax) -> np.ndarray:
    (found,) = [artist for artist in ax.collections if isinstance(artist, PathCollection)]
    return np.asarray(found.get_offsets())


def test_distance_draws_a_dot_for_each_head_averaged_over_the_examples():
    ax = plot.distance(records(MODEL), patch_size=16)
    centres = formulas.patch_centres((4, 4), 16)
    expected = formulas.mean_distance(MODEL[..., 1:, 1:], centres).mean(axis=1)
    assert np.allclose(dots(ax)[:, 0], np.repeat(np.arange(4), 3))
    assert np.allclose(dots(ax)[:, 1], expected.ravel())
    (line,) = [line for line in ax.lines if line.get_label() == "mean of heads"]
    assert np.allclose(line.get_ydata(), expected.mean(axis=1))
    assert ax.get_ylabel() == "mean attention distance (pixels)"
    one = plot.distance(records(MODEL), batch=1)
    assert np.allclose(dots(one)[:, 1], formulas.mean_distance(MODEL[:, 1, :, 1:, 1:], centres / 16).ravel())
    assert one.get_ylabel() == "mean attention distance (patches)"


def test_distance_leaves_registers_out_and_takes_grids_that_are_not_square():
    weights = attention(1, 2, 11, 11)
    expected = formulas.mean_distance(weights[0][:, 5:, 5:], formulas.patch_centres((2, 3)))
    assert np.allclose(dots(plot.distance(weights, grid=(2, 3), cls=5))[:, 1], expected)


def test_entropy_draws_a_cell_for_each_head_of_each_layer():
    ax = plot.entropy(records(MODEL))
    expected = formulas.entropy(MODEL).mean(axis=1)
    assert np.allclose(np.concatenate([image.get_array() for image in ax.images]), expected)
    assert [image.get_extent()[2:] for image in ax.images] == [[row + 0.5, row - 0.5] for row in range(4)]
    assert bars(ax.figure)[0].get_ylim() == pytest.approx((expected.min(), expected.max()))
    assert bars(ax.figure)[0].get_ylabel() == "mean entropy (nats)"


def test_layers_of_different_heads_have_as_many_cells_and_dots():
    weights = [attention(3, 9, 9), attention(5, 4, 4)]
    ax = plot.entropy(weights)
    assert [image.get_array().shape for image in ax.images] == [(1, 3), (1, 5)]
    assert [image.get_extent()[:2] for image in ax.images] == [[-0.5, 2.5], [-0.5, 4.5]]
    assert dots(plot.distance(weights))[:, 0].tolist() == [0] * 3 + [1] * 5


def test_a_head_with_nan_is_a_grey_cell_or_no_dot_that_the_legend_counts():
    weights = MODEL[:, 0].clone()
    weights[2, 1, 3, 5] = math.nan
    cells = plot.entropy(weights)
    assert np.isnan(np.ma.filled(cells.images[2].get_array(), np.nan)).tolist() == [[False, True, False]]
    assert "mean entropy (nats) (grey: not finite)" in written(cells.figure)
    ax = plot.distance(weights)
    assert "1 undefined" in written(ax.figure)
    assert np.isfinite(dots(ax)[:, 1]).sum() == 11
    for figure in (cells.figure, ax.figure):
        assert_readable(figure)


def test_another_style_is_refused():
    with pytest.raises(ValueError, match=r'style=\'bars\'; accepted are "dots", "cells" and "calls"'):
        plot.entropy(MODEL, style="bars")


def test_negative_weights_are_refused_where_a_formula_takes_shares():
    for draw in (plot.rollout, plot.distance, plot.entropy):
        with pytest.raises(ValueError, match="negative weights"):
            draw(-MODEL, batch=0)


# What CLS attends to


def test_cls_attention_draws_the_image_each_head_and_their_mean():
    weights = attention(3, 29, 29)
    figure = plot.cls_attention(weights, IMAGE, grid=(4, 6), shared_scale=True)
    panels = figure.axes[:5]
    shares = [[100 * float(row[part].sum()) for part in (slice(5, 29), slice(0, 1), slice(1, 5))]
              for row in [*weights[:, 0], weights[:, 0].mean(dim=0)]]  # fmt: skip
    assert [ax.get_title() for ax in panels] == [
        "image",
        *(f"{name}\n{patches:.0f} % to patches,\n{itself:.0f} % to itself, {registers:.0f} % to registers"
          for name, (patches, itself, registers) in zip(["head 0", "head 1", "head 2", "mean"], shares, strict=True)),
    ]  # fmt: skip
    for ax, expected in zip(panels[1:], [*weights[:, 0, 5:], weights[:, 0, 5:].mean(dim=0)], strict=True):
        assert np.allclose(ax.images[0].get_array(), IMAGE)
        assert np.allclose(drawn(ax), expected.reshape(4, 6))
        assert ax.images[1].get_clim() == pytest.approx(extremes(weights[:, 0, 5:]))
    assert_readable(figure)


@pytest.mark.cases(2)
@pytest.mark.parametrize(("count", "shape"), [(1, None), (6, (40, 60)), (12, None), (16, (200, 40)), (1, (200, 40))])
def test_the_titles_of_what_cls_attends_to_never_overlap(count, shape):
    image = None if shape is None else np.zeros(shape)
    assert_readable(plot.cls_attention(attention(count, 17, 17), image, stretch=True, title="layer 11"))


def test_cls_attention_of_patches_alone_is_refused():
    with pytest.raises(ValueError, match=r"the 16 tokens are \(4, 4\) patches and hold no CLS token"):
        plot.cls_attention(attention(3, 16, 16))


def test_cls_attention_without_any_weight_has_no_share_in_its_title(recwarn):
    figure = plot.cls_attention(np.zeros((2, 17, 17)), mean=False)
    assert [ax.get_title() for ax in figure.axes[:2]] == ["head 0", "head 1"]
    assert not recwarn.list


# Any map over any image


def test_an_overlay_covers_the_image_whatever_its_aspect():
    values = np.arange(6.0).reshape(2, 3)
    ax = plot.overlay(values, IMAGE, title="a map", label="heat", style="even", opacity=0.6)
    assert np.allclose(ax.images[0].get_array(), IMAGE)
    assert np.allclose(drawn(ax), values)
    assert ax.images[1].get_extent() == [-0.5, 59.5, 39.5, -0.5]
    assert np.allclose(ax.images[1].to_rgba(values, norm=True)[..., 3], 0.6)
    assert bars(ax.figure)[0].get_ylabel() == "heat"
    assert_readable(ax.figure)


def test_a_map_of_a_part_of_the_image_lies_over_this_part_and_the_whole_image_is_seen():
    ax = plot.overlay(np.eye(3), IMAGE, area=(10, 0, 50, 40))
    assert ax.images[1].get_extent() == [9.5, 49.5, 39.5, -0.5]
    assert ax.get_xlim() == (-0.5, 59.5)
    assert ax.get_ylim() == (39.5, -0.5)


def test_a_patch_is_outlined_in_the_part_of_the_image_that_the_model_saw():
    figure = plot.patch_to_patch(attention(16, 16), IMAGE, (1, 2), area=(10, 0, 50, 40))
    for ax in figure.axes[:2]:
        (frame,) = ax.patches
        assert (*frame.get_xy(), frame.get_width(), frame.get_height()) == (29.5, 9.5, 10, 10)


def test_axes_of_length_one_before_a_map_are_dropped():
    assert np.allclose(drawn(plot.overlay(torch.eye(3)[None, None], SQUARE)), np.eye(3))


@pytest.mark.parametrize("shape", [(40, 60), (60, 40, 3), (3, 30, 90), (200, 40), (30, 900)])
def test_an_overlay_is_readable_at_any_aspect(shape):
    assert_readable(plot.overlay(np.eye(3), np.zeros(shape), stretch=True, title="layer 3").figure)


def test_nan_in_an_overlay_is_grey():
    ax = plot.overlay(np.array([[0.0, np.nan], [1.0, 2.0]]), SQUARE)
    assert tuple(ax.images[1].cmap.get_bad()[:3]) == pytest.approx((0.75,) * 3)
    assert "weight (grey: not finite)" in written(ax.figure)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.ones((2, 3, 4)), {}, r"the map has shape \(2, 3, 4\); accepted is \(rows, columns\)"),
        (np.ones(3), {}, r"the map has shape \(3,\); accepted is"),
        (np.eye(2), {"area": (0, 0, 61, 40)}, r"area=\(0, 0, 61, 40\) is no part of an image of 60 × 40 pixels"),
        (np.eye(2), {"area": (9, 0, 9, 40)}, r"area=\(9, 0, 9, 40\) is no part"),
        (np.eye(2), {"opacity": 2}, r"opacity=2; accepted is a number from 0"),
        (Records(), {}, "the Records hold no value"),
    ],
)
def test_what_cannot_lie_over_an_image_says_why(values, options, message):
    with pytest.raises(ValueError, match=message):
        plot.overlay(values, IMAGE, **{"stretch": True, **options})


# Feature maps

FEATURES, GRADIENT = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(1)), torch.rand(2, 5, 3, 4)


@pytest.mark.parametrize("shape", [(5,), (2, 5), (2, 5, 1, 1), (1, 5, 1, 1), (2, 1, 3, 4), (2, 5, 3, 4)])
def test_attention_map_draws_the_formula_of_one_example(shape):
    weights = torch.rand(shape)
    ax = plot.attention_map(FEATURES, weights, IMAGE, batch=1, title="where")
    of_example = weights[1] if len(shape) > 1 and shape[0] == 2 else weights if len(shape) == 1 else weights[0]
    assert np.allclose(drawn(ax), formulas.attention_map(FEATURES[1], of_example))
    assert drawn(ax).max() == 1
    assert ax.get_title() == "where"
    assert_readable(ax.figure)


def test_attention_map_is_drawn_without_an_image_as_in_the_seed():
    ax = plot.attention_map(FEATURES[:1], torch.ones(5))
    assert len(ax.images) == 1
    assert not ax.axison
    assert np.allclose(drawn(ax), formulas.attention_map(FEATURES[:1], torch.ones(5))[0])
    assert_readable(ax.figure)


def test_grad_cam_draws_the_formula_of_one_example():
    ax = plot.grad_cam(FEATURES, GRADIENT, IMAGE, batch=1)
    assert np.allclose(drawn(ax), formulas.grad_cam(FEATURES, GRADIENT)[1])
    assert bars(ax.figure)[0].get_ylabel() == "Grad-CAM"


def test_a_feature_map_of_several_examples_asks_for_one():
    for draw in (lambda **options: plot.attention_map(FEATURES, torch.ones(5), **options),
                 lambda **options: plot.grad_cam(FEATURES, GRADIENT, **options)):  # fmt: skip
        with pytest.raises(ValueError, match=r"shape \(2, 5, 3, 4\) has 2 along its batch axis: pick one, batch=0"):
            draw()
        with pytest.raises(ValueError, match=r"batch=2 is outside a feature map of shape \(2, 5, 3, 4\)"):
            draw(batch=2)
    with pytest.raises(ValueError, match=r"batch=0 was given, and a feature map of shape \(5, 3, 4\) has no batch"):
        plot.grad_cam(FEATURES[0], GRADIENT[0], batch=0)


def test_grad_cam_without_a_gradient_says_how_to_get_one():
    with pytest.raises(ValueError, match=r"has no gradient: capture it with install\(..., grad=True\)"):
        plot.grad_cam(Records([Record(FEATURES, "x", "m", "f", 1)]))
    with pytest.raises(ValueError, match=r"hold 2 values and one is drawn: .*records.records\[0\]"):
        plot.grad_cam(Records([Record(FEATURES, "x", "m", "f", 1)] * 2))
    with pytest.raises(ValueError, match="pass gradient="):
        plot.grad_cam(FEATURES)


# All of them


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_picture_of_a_model_takes_any_float_type(dtype):
    model = [one.to(dtype).requires_grad_() for one in MODEL]
    for draw in (plot.layers, plot.rollout, plot.distance, plot.entropy):
        assert isinstance(draw(records(model), batch=0).figure, Figure)
    assert plot.cls_attention(model[0], SQUARE, batch=0).axes
    assert plot.attention_map(FEATURES.to(dtype), torch.ones(5, dtype=dtype), batch=0).images


def test_swins_windows_are_drawn_like_any_attention_when_they_are_joined():
    windows = attention(2 * 6, 3, 4, 4)  # two examples of 2 × 3 windows of 2 × 2 tokens
    joined = formulas.join_windows(windows, (4, 6), shift=1)
    figure = plot.patch_to_patch(joined, IMAGE, (1, 2), grid=(4, 6), batch=1)
    weights = drawn(figure.axes[1])
    # Shifted by one, (1, 2) lies in the window of rows 1, 2 and columns 1, 2, at its upper right: the first window.
    assert np.argwhere(weights).tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]
    assert np.allclose(weights[1:3, 1:3].ravel(), windows[6].mean(dim=0)[1])


def test_a_rollout_over_an_image_shows_more_than_the_patch_that_gathers_everything():
    maps = np.full((2, 2, 257, 257), 0.1 / 256)
    maps[..., 1:200, 5] += 0.2
    maps[..., 40] += 0.9
    maps /= maps.sum(-1, keepdims=True)
    ax = plot.rollout(list(maps), np.zeros((64, 64)))
    shown = ax.images[-1]
    values = formulas.rollout(list(maps))[0, 1:]
    assert values.max() == values[39] > 3 * shown.norm.vmax
    assert plot.rollout(list(maps), np.zeros((64, 64)), vmax=1).images[-1].norm.vmax == 1
