"""The array side of plotting: what is accepted, and which numbers come out."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from astcapture.plot.arrays import as_array
from astcapture.plot.attention_maps import layer_maps, one_map
from astcapture.plot.colour_bar import tick_labels
from astcapture.plot.colours import choose_colours
from astcapture.plot.images import as_image
from astcapture.plot.panels import arrange
from astcapture.plot.patches import layout, patch_position, special_names, split_patches
from astcapture.plot.special_cells import place_cells
from astcapture.values.record import Record
from astcapture.values.records import Records


def records(*values):
    return Records([Record(value, "attn", "m", "f", 1) for value in values])


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (torch.float16, np.float32),
        (torch.bfloat16, np.float32),
        (torch.float8_e4m3fn, np.float32),
        (torch.float32, np.float32),
        (torch.float64, np.float64),
        (torch.int64, np.float64),
        (torch.bool, np.float64),
    ],
)
def test_a_tensor_of_any_real_type_becomes_a_float_array(dtype, expected):
    array = as_array(torch.tensor([[1.0, 0.0], [0.5, 1.0]]).to(dtype))
    assert array.dtype == expected
    assert array[0].tolist() == [1.0, 0.0]


def test_a_tensor_that_requires_a_gradient_is_drawn_without_it():
    assert as_array(torch.ones(2, 2, requires_grad=True) * 3).tolist() == [[3, 3], [3, 3]]


def test_a_lazily_negated_tensor_keeps_its_sign():
    negated = torch._neg_view(torch.ones(2))
    assert as_array(negated).tolist() == [-1, -1]


def test_float64_keeps_its_digits():
    assert as_array(torch.tensor([1 / 3], dtype=torch.float64))[0] == 1 / 3


def test_records_of_one_value_stand_for_it():
    assert as_array(records(torch.eye(2))).tolist() == [[1, 0], [0, 1]]


def test_a_record_stands_for_its_value():
    assert as_array(records(torch.eye(2)).records[0]).tolist() == [[1, 0], [0, 1]]


def test_records_of_several_values_ask_for_one():
    with pytest.raises(ValueError, match=r"hold 3 values and one is drawn: pick one, records\[0\] to records\[2\]"):
        as_array(records(1, 2, 3))


def test_empty_records_say_that_nothing_was_captured():
    with pytest.raises(ValueError, match="there is nothing to draw: the Records hold no value"):
        as_array(records())


def test_masked_entries_become_nan():
    array = as_array(np.ma.masked_array([1.0, 2.0], mask=[False, True]))
    assert array[0] == 1
    assert np.isnan(array[1])


@pytest.mark.parametrize("values", [np.array([1j]), torch.tensor([1j])])
def test_complex_numbers_are_refused_with_the_remedy(values):
    with pytest.raises(ValueError, match=r"complex numbers \(shape \(1,\)\): pass .real"):
        as_array(values)


@pytest.mark.parametrize("values", [object(), "attention", None, {"a": 1}, [[1, 2], [3]]])
def test_what_is_no_array_is_a_value_error(values):
    with pytest.raises(ValueError, match="not an array of numbers"):
        as_array(values)


def test_plotting_does_not_import_torch():
    code = "import sys, numpy; from astcapture import plot; plot.head(numpy.eye(3)); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


ATTENTION = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)


def test_one_map_takes_the_head_of_the_example_asked_for():
    assert np.array_equal(one_map(ATTENTION, batch=1, head=2), ATTENTION[1, 2])
    assert np.array_equal(one_map(ATTENTION[0], head=-1), ATTENTION[0, 2])
    assert np.array_equal(one_map(ATTENTION[0, 0]), ATTENTION[0, 0])


def test_a_batch_or_head_axis_of_one_needs_no_choice():
    assert np.array_equal(one_map(ATTENTION[:1, :1]), ATTENTION[0, 0])
    assert np.array_equal(layer_maps(ATTENTION[:1]), ATTENTION[0])


def test_layer_maps_makes_one_head_of_a_single_map():
    assert layer_maps(ATTENTION[0, 0]).shape == (1, 4, 5)


@pytest.mark.parametrize(
    ("shape", "choice", "message"),
    [
        ((5,), {}, r"shape \(5,\); accepted are \(queries, keys\), \(heads, queries, keys\) and \(batch, heads"),
        ((1, 2, 3, 4, 5), {}, r"shape \(1, 2, 3, 4, 5\); accepted are"),
        ((0, 4, 4), {}, r"shape \(0, 4, 4\) is empty"),
        ((3, 4, 4), {}, r"shape \(3, 4, 4\) has 3 along its head axis: pick one, head=0 to head=2"),
        ((2, 3, 4, 4), {"head": 0}, r"has 2 along its batch axis: pick one, batch=0 to batch=1"),
        ((3, 4, 4), {"head": 3}, r"head=3 is outside attention of shape \(3, 4, 4\): head goes from 0 to 2"),
        ((2, 3, 4, 4), {"batch": 7, "head": 0}, r"batch=7 is outside .* batch goes from 0 to 1"),
        ((4, 4), {"head": 0}, r"head=0 was given, and attention of shape \(4, 4\) has no axis of heads"),
        (
            (3, 4, 4),
            {"batch": 0, "head": 0},
            r"batch=0 was given, and attention of shape \(3, 4, 4\) has no batch axis",
        ),
    ],
)
def test_a_wrong_shape_or_choice_says_what_came_and_what_is_accepted(shape, choice, message):
    with pytest.raises(ValueError, match=message):
        one_map(np.zeros(shape), **choice)


@pytest.mark.parametrize(
    ("tokens", "options", "prefix", "grid"),
    [
        (196, {}, 0, (14, 14)),
        (197, {}, 1, (14, 14)),
        (17, {"cls": True}, 1, (4, 4)),
        (16, {"cls": False}, 0, (4, 4)),
        (16, {"cls": 0}, 0, (4, 4)),
        (261, {"cls": 5}, 5, (16, 16)),
        (6, {"grid": (2, 3)}, 0, (2, 3)),
        (7, {"grid": (2, 3)}, 1, (2, 3)),
        (11, {"grid": (3, 2)}, 5, (3, 2)),
        (7, {"grid": (2, 3), "cls": True}, 1, (2, 3)),
        (1, {}, 0, (1, 1)),
        (2, {}, 1, (1, 1)),
    ],
)
def test_the_layout_of_tokens_is_found(tokens, options, prefix, grid):
    assert layout(tokens, **options) == (prefix, grid)


@pytest.mark.parametrize(
    ("tokens", "options", "message"),
    [
        (7, {}, r"7 tokens, with or without one CLS token, do not form a square of patches: pass grid="),
        (16, {"cls": True}, r"16 tokens, less 1 special, do not form a square"),
        (7, {"grid": (3, 3)}, r"7 tokens are not grid=\(3, 3\) = 9 patches"),
        (8, {"grid": (2, 3), "cls": 1}, r"8 tokens are not grid=\(2, 3\) = 6 patches and 1 special"),
        (4, {"grid": (-2, -2)}, r"4 tokens are not grid=\(-2, -2\)"),
        (4, {"cls": 4}, r"cls=4 does not fit 4 tokens"),
        (4, {"cls": -1}, r"cls=-1 does not fit 4 tokens"),
    ],
)
def test_tokens_that_fill_no_grid_are_refused(tokens, options, message):
    with pytest.raises(ValueError, match=message):
        layout(tokens, **options)


def test_patches_are_counted_row_by_row_after_the_special_tokens():
    special, patches = split_patches(np.arange(8), layout(8, (2, 3)))
    assert special.tolist() == [0, 1]
    assert patches.tolist() == [[2, 3, 4], [5, 6, 7]]
    assert patches[patch_position(4, (2, 3))] == 2 + 4
    assert patch_position((1, 2), (2, 3)) == patch_position(5, (2, 3)) == (1, 2)


@pytest.mark.parametrize("patch", [6, -1, (2, 0), (0, 3), (-1, 0)])
def test_a_patch_outside_the_grid_is_refused(patch):
    with pytest.raises(ValueError, match="outside the grid of 2 rows and 3 columns"):
        patch_position(patch, (2, 3))


def test_special_tokens_are_cls_and_then_registers():
    assert special_names(0) == []
    assert special_names(3) == ["CLS", "R1", "R2"]


@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_special_cells_stand_inside_the_image_without_touching(count):
    cells = place_cells(count, image_height=100, patch_height=10)
    assert count * cells.pitch <= 100 + 1e-9
    assert cells.side < cells.pitch / 2


@pytest.mark.parametrize("count", [*range(1, 40), 97])
def test_panels_have_a_place_each_on_a_page_that_is_not_too_wide(count):
    rows, columns = arrange(count)
    assert rows * columns >= count
    assert rows <= columns <= 2 * rows
    assert rows * columns - count < max(rows, columns)  # no empty row


RGB = np.linspace(0, 1, 4 * 6 * 3).reshape(4, 6, 3)


def test_channels_may_come_first_or_last():
    assert np.allclose(as_image(torch.tensor(RGB).permute(2, 0, 1)), RGB)
    assert np.allclose(as_image(RGB.transpose(2, 0, 1)), RGB)
    assert np.allclose(as_image(RGB), RGB)
    assert as_image(RGB[None]).shape == (4, 6, 3)


def test_an_ambiguous_image_is_read_as_its_library_would():
    image = np.arange(27.0).reshape(3, 3, 3) / 26
    assert np.array_equal(as_image(image), image)
    assert np.allclose(as_image(torch.tensor(image)), image.transpose(1, 2, 0))


def test_one_channel_is_a_grey_image():
    assert as_image(np.zeros((1, 4, 6))).shape == as_image(np.zeros((4, 6, 1))).shape == (4, 6)


@pytest.mark.parametrize("image", [np.array([[0, 51]], np.uint8), torch.tensor([[0, 51]], dtype=torch.uint8)])
def test_bytes_are_divided_by_255(image):
    assert np.allclose(as_image(image), [[0, 0.2]])


def test_values_outside_0_to_1_are_stretched_and_others_are_kept():
    assert as_image(np.array([[-2.0, 0.0, 2.0]])).tolist() == [[0, 0.5, 1]]
    assert as_image(np.array([[0.2, 0.4]])).tolist() == [[0.2, 0.4]]
    assert as_image(np.array([[7.0, 7.0]])).tolist() == [[0, 0]]


def test_a_pil_image_is_accepted_in_any_mode():
    grey = Image.fromarray(np.array([[0, 255]], np.uint8))
    for mode in ("L", "RGB", "RGBA", "LA", "P"):
        assert np.allclose(as_image(grey.convert(mode)), [[[0] * 3, [1] * 3]]), mode


def test_opacity_is_over_white():
    assert as_image(np.array([[[0, 0, 0, 0.25]]])).tolist() == [[[0.75] * 3]]


@pytest.mark.parametrize("shape", [(5,), (5, 6, 2), (7, 4, 6), (2, 3, 4, 6), (0, 4)])
def test_an_image_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"the image has shape \(.*accepted are \(height, width\)"):
        as_image(np.zeros(shape))


def test_the_colour_range_is_that_of_the_finite_weights():
    colours = choose_colours(np.array([0.1, 0.4, np.nan, np.inf, -np.inf]))
    assert (colours.low, colours.high) == (0.1, 0.4)
    assert colours.cmap.name == "viridis"


def test_negative_weights_get_a_diverging_map_with_zero_in_its_middle():
    colours = choose_colours(np.array([-0.1, 0.4]))
    assert (colours.low, colours.high) == (-0.4, 0.4)
    assert np.allclose(colours.cmap(colours.norm(0.0))[:3], 1, atol=0.05)


def test_a_colour_map_that_was_asked_for_is_not_replaced():
    colours = choose_colours(np.array([-0.1, 0.4]), cmap="magma")
    assert (colours.cmap.name, colours.low, colours.high) == ("magma", -0.1, 0.4)


@pytest.mark.parametrize(("value", "expected"), [(0.25, (0, 0.25)), (0.0, (0, 1)), (-2.0, (-2, 2)), (np.nan, (0, 1))])
def test_a_constant_map_has_a_range(value, expected):
    colours = choose_colours(np.full((2, 2), value))
    assert (colours.low, colours.high) == expected


def test_an_upside_down_range_is_refused():
    with pytest.raises(ValueError, match="from 2 to 1: pass vmin= less than vmax="):
        choose_colours(np.eye(2), vmin=2, vmax=1)


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0, 1e-7), (-3e5, 3e5), (1, 1 + 1e-6), (0.011, 0.476), (2.2e-6, 0.4)]
)
def test_the_ticks_of_a_colour_bar_are_distinct_short_and_true(low, high):
    ticks = np.linspace(low, high, 5)
    labels = tick_labels(ticks)
    assert len(set(labels)) == 5
    assert np.allclose([float(label) for label in labels], ticks, atol=(high - low) / 200)
