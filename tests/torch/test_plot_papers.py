"""Pictures fit for a paper: the photograph keeps its colours, scales and layers are named, nothing is stretched."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from pictures import assert_readable, attention, bars, drawn, records, text_boxes, visible_ticks_only, written

from astcapture import plot
from astcapture.plot.colour_bar import round_ticks
from astcapture.plot.fit import fits
from astcapture.values.record import Record
from astcapture.values.records import Records

PHOTO = np.full((40, 40, 3), (0.9, 0.5, 0.1))
RAMP = np.linspace(0, 1, 16).reshape(4, 4)


def pixels(ax) -> np.ndarray:
    """What is painted where an image is shown, (height, width, 3)."""
    figure = ax.figure
    figure.canvas.draw()
    box = ax.get_window_extent()
    whole = np.asarray(figure.canvas.buffer_rgba())[::-1, :, :3] / 255
    return whole[round(box.y0) + 2 : round(box.y1) - 2, round(box.x0) + 2 : round(box.x1) - 2][::-1]


def record(values, *, layer="blocks.3.attn", call=0, model=None) -> Record:
    return Record(values, "attn", "m", "Attention.forward", 1, layer, call, model=model)


# The opacity of an overlay


def test_the_photograph_keeps_its_own_colours_where_the_weight_is_low():
    painted = pixels(plot.overlay(RAMP, PHOTO, interpolation="nearest", colorbar=False))
    assert np.allclose(painted[5, 5], PHOTO[0, 0], atol=0.02)
    assert np.abs(painted[-5, -5] - PHOTO[0, 0]).max() > 0.3


def test_the_opacity_of_an_overlay_follows_the_weight():
    image = plot.overlay(RAMP, PHOTO, opacity=0.8).images[1]
    assert np.allclose(image.to_rgba(RAMP, norm=True)[..., 3], 0.8 * RAMP, atol=0.01)


def test_weights_of_both_signs_are_the_more_opaque_the_farther_from_zero():
    signed = np.linspace(-1, 1, 9).reshape(3, 3)
    image = plot.overlay(signed, PHOTO[:30, :30], opacity=1).images[1]
    assert np.allclose(image.to_rgba(signed, norm=True)[..., 3], np.abs(signed), atol=0.01)


def test_a_mask_darkens_the_image_where_the_weight_is_low_and_leaves_its_colours_where_it_is_high():
    painted = pixels(plot.overlay(RAMP, PHOTO, style="mask", interpolation="nearest", colorbar=False))
    assert np.allclose(painted[5, 5], 0.25 * PHOTO[0, 0], atol=0.02)
    assert np.allclose(painted[-5, -5], PHOTO[0, 0], atol=0.02)


def test_a_missing_weight_is_grey_in_every_style():
    for style in ("fade", "mask", "even"):
        image = plot.overlay(np.array([[np.nan, 1.0], [0.0, 0.5]]), PHOTO, style=style).images[1]
        assert image.to_rgba(np.array([[np.nan]]), norm=True)[0, 0, :3] == pytest.approx([0.75] * 3)


def test_another_style_of_overlay_is_refused():
    with pytest.raises(ValueError, match='style=\'heat\'; accepted are "fade", "mask" and "even"'):
        plot.overlay(RAMP, PHOTO, style="heat")


# Images that do not fit


@pytest.mark.parametrize(
    ("grid", "size", "expected"),
    [
        ((14, 14), (224, 224), True),
        ((14, 14), (1000, 1000), True),
        ((14, 14), (230, 236), True),  # patches of 16, the rest left out
        ((7, 7), (224, 200), True),  # a feature map in steps of 32, filled up
        ((12, 19), (399, 600), True),
        ((14, 14), (480, 640), False),
        ((14, 14), (606, 512), False),
        ((3, 3), (480, 640), False),
        ((4, 4), (40, 60), False),
        ((4, 6), (60, 40), False),
    ],
)
def test_patches_fit_an_image_if_they_are_square_there(grid, size, expected):
    assert fits(grid, size) is expected


DRAW_OVER = {
    "overlay": lambda image, **options: plot.overlay(RAMP, image, **options),
    "patch_to_patch": lambda image, **options: plot.patch_to_patch(attention(17, 17), image, 0, **options),
    "cls_attention": lambda image, **options: plot.cls_attention(attention(17, 17), image, **options),
    "rollout": lambda image, **options: plot.rollout(attention(3, 2, 17, 17), image, **options),
    "animate": lambda image, **options: plot.animate(attention(3, 2, 17, 17), image=image, **options)._draw_frame(0),
    "attention_map": lambda image, **options: plot.attention_map(np.ones((5, 4, 4)), np.ones(5), image, **options),
    "grad_cam": lambda image, **options: plot.grad_cam(np.ones((5, 4, 4)), np.ones((5, 4, 4)), image, **options),
}


@pytest.mark.filterwarnings("ignore:Animation was deleted")
@pytest.mark.parametrize("draw", DRAW_OVER.values(), ids=DRAW_OVER)
def test_an_image_that_does_not_fit_the_patches_is_refused_with_what_to_pass(draw):
    photo = np.zeros((480, 640))
    with pytest.raises(ValueError) as refused:
        draw(photo)
    said = str(refused.value)
    assert "a map of 4 × 4 (rows × columns) does not fit an image of 640 × 480 pixels" in said
    assert "Pass the model's own input" in said
    assert "area=(80, 0, 560, 480)" in said
    assert "stretch=True" in said
    draw(photo, stretch=True)
    draw(photo, area=(80, 0, 560, 480))
    with pytest.raises(ValueError, match=r"does not fit area=\(0, 0, 640, 400\)"):
        draw(photo, area=(0, 0, 640, 400))


# Scales of the heads


def peaked(count: int = 4) -> np.ndarray:
    """Heads of which one has weights that are ten times those of the others."""
    weights = attention(count, 9, 9).numpy() ** 0.2
    weights /= weights.sum(axis=-1, keepdims=True)
    weights[1] = np.eye(9)
    return weights


def limits(figure: Figure, count: int) -> list[tuple[float, float]]:
    return [ax.images[0].get_clim() for ax in figure.axes if ax.images][:count]


def test_heads_have_scales_of_their_own_where_one_would_hide_the_rest_and_the_picture_says_so():
    figure = plot.heads(peaked())
    assert limits(figure, 4) == [(0, pytest.approx(one.max())) for one in peaked()]
    assert "attends to\ncolours: weight, a scale for each panel" in written(figure)
    assert len(bars(figure)) == 5
    assert_readable(figure)


def test_heads_that_are_alike_share_a_scale_and_the_picture_says_so():
    figure = plot.heads(attention(4, 9, 9))
    assert len(set(limits(figure, 4))) == len(bars(figure)) == 1
    assert "attends to\ncolours: weight, one scale for all panels" in written(figure)


def test_the_scale_of_heads_can_be_chosen():
    assert len(set(limits(plot.heads(peaked(), shared_scale=True), 4))) == 1
    assert len(set(limits(plot.heads(attention(4, 9, 9), shared_scale=False), 4))) == 4


def test_layers_and_cls_have_scales_of_their_own_too():
    ax = plot.layers([peaked(), peaked()])
    assert ax.get_xlabel() == "head\ncolours: weight, a scale for each map" and not bars(ax.figure)
    weights = attention(4, 17, 17).numpy() ** 0.2
    weights[2, 0] = np.eye(17)[3]
    figure = plot.cls_attention(weights, PHOTO)
    assert "colours: weight of a patch, a scale for each panel" in written(figure)
    assert len(bars(figure)) == 5
    assert_readable(figure)


# Titles, axes, ticks


def test_the_layer_is_in_the_title_where_the_records_know_it():
    heads, one = record(attention(3, 17, 17)), Records([record(attention(17, 17), call=2)])
    assert plot.head(heads, head=1).get_title() == "layer blocks.3.attn, head 1"
    assert plot.head(one).get_title() == "layer blocks.3.attn, call 2"
    assert plot.heads(heads).get_suptitle() == "layer blocks.3.attn"
    assert plot.patch_to_patch(heads, PHOTO, 0).get_suptitle() == "layer blocks.3.attn"
    assert plot.cls_attention(heads).get_suptitle() == "what CLS attends to, layer blocks.3.attn"
    assert plot.overlay(record(RAMP), PHOTO).get_title() == "layer blocks.3.attn"
    assert plot.tokens(heads, ["w"] * 17).get_title() == "layer blocks.3.attn, mean of 3 heads"
    assert plot.heads(heads, title="mine").get_suptitle() == "mine"
    assert plot.heads(attention(3, 17, 17)).get_suptitle() == ""


def test_cls_and_registers_are_marked_on_the_axes():
    for values, options, name in (
        (record(attention(197, 197), model="VisionTransformer"), {}, "CLS"),
        (attention(197, 197), {"cls": True}, "CLS"),
        (attention(201, 201), {"cls": 5}, "CLS, R1–R4"),
    ):
        for ax in (plot.head(values, **options), plot.heads(values, **options).axes[0]):
            for labels in (ax.get_xticklabels(), ax.get_yticklabels()):
                assert [label.get_text() for label in labels] == [name, "50", "100", "150"] + ["200"] * ("R" in name)
            assert_readable(ax.figure)


def test_words_have_no_cls_unless_it_is_said():
    for values in (
        attention(17, 17),
        record(attention(17, 17), model="BertModel"),
        record(attention(18, 18), model="VisionTransformer"),
    ):
        assert "CLS" not in written(plot.head(values))
    assert "CLS" not in written(plot.head(record(attention(17, 17), model="VisionTransformer"), cls=0))


@pytest.mark.parametrize(
    ("low", "high"), [(0.0017, 0.0158), (0, 1), (0.99, 1), (-3.3, 3.3), (2e-7, 9e-6), (0.13, 0.17)]
)
def test_ticks_are_round_numbers_inside_the_range(low, high):
    for most in (2, 4, 6):
        ticks = round_ticks(low, high, most)
        assert len(ticks) >= 2
        assert all(low <= tick <= high for tick in ticks)
        steps = np.diff(ticks)
        assert np.allclose(steps, steps[0])
        assert float(f"{steps[0]:.0e}"[0]) in (1, 2, 5) and f"{steps[0]:.2e}"[1:4] == ".00"


# Colour bars, and neighbours


def test_every_picture_can_do_without_a_colour_bar_and_name_its_colours():
    model = attention(3, 2, 17, 17)
    words = ["w"] * 17
    pictures = {
        "head": lambda **o: plot.head(model[0, 0], **o),
        "heads": lambda **o: plot.heads(model[0], **o),
        "layers": lambda **o: plot.layers(model, **o),
        "patch": lambda **o: plot.patch_to_patch(model[0], PHOTO, 1, **o),
        "cls": lambda **o: plot.cls_attention(model[0], PHOTO, shared_scale=True, **o),
        "overlay": lambda **o: plot.overlay(RAMP, PHOTO, **o),
        "rollout": lambda **o: plot.rollout(model, **o),
        "tokens": lambda **o: plot.tokens(model[0], words, **o),
        "query": lambda **o: plot.tokens(model[0], words, query=1, **o),
        "entropy": lambda **o: plot.entropy(model, **o),
        "attention_map": lambda **o: plot.attention_map(np.ones((5, 4, 4)), np.ones(5), **o),
        "compare": lambda **o: plot.compare(model[0], model[1], **o),
    }
    for name, draw in pictures.items():
        for options, count in (({"colorbar": False}, 0), ({"label": "my own"}, 2 if name == "compare" else 1)):
            picture = draw(**options)
            figure = picture if isinstance(picture, Figure) else picture.figure
            assert len(bars(figure)) == count, name
            if count:
                assert bars(figure)[0].get_ylabel() == "my own", name
            plt.close("all")


@pytest.mark.parametrize("tight", [False, True])
@pytest.mark.parametrize("layout", [None, "constrained", "compressed"])
def test_pictures_beside_each_other_do_not_overlap(layout, tight):
    figure, axes = plt.subplots(1, 3, figsize=(11, 3), layout=layout)
    plot.overlay(RAMP / 1000, PHOTO, ax=axes[0])
    plot.head(attention(9, 9), ax=axes[1])
    plot.overlay(RAMP, PHOTO, ax=axes[2], title="a title")
    if tight and layout is None:
        figure.tight_layout()
    assert_readable(figure)
    boxes = [box for _, box in text_boxes(figure)]
    for ax in axes:
        assert not any(box.overlaps(ax.get_window_extent().shrunk(0.98, 0.98)) for box in boxes)


def test_the_colour_bar_is_as_high_as_the_image():
    figure, axes = plt.subplots(1, 2, figsize=(9, 5))
    for ax in axes:
        plot.overlay(RAMP, PHOTO, ax=ax)
    visible_ticks_only(figure)
    for ax, bar in zip(axes, bars(figure), strict=True):
        image, beside = ax.get_window_extent(), bar.get_window_extent()
        assert (beside.y0, beside.y1) == pytest.approx((image.y0, image.y1), abs=1)


# The style for papers


def test_the_style_for_papers_makes_small_figures_of_the_same_proportions_and_ends_with_its_block():
    plain = plot.heads(attention(6, 17, 17), title="layer 3").get_size_inches()
    with plot.paper():
        small = plot.heads(attention(6, 17, 17), title="layer 3")
        assert np.allclose(small.get_size_inches(), 0.7 * plain)
        assert mpl.rcParams["pdf.fonttype"] == 42
        assert_readable(small)
    assert mpl.rcParams["font.size"] == 10


def test_the_style_for_papers_has_a_name_and_takes_settings():
    with plt.style.context("astcapture.plot.paper"):
        assert (mpl.rcParams["font.size"], mpl.rcParams["savefig.dpi"]) == (7, 300)
    with plot.paper(font_size=9, savefig_dpi=600):
        assert (mpl.rcParams["font.size"], mpl.rcParams["savefig.dpi"]) == (9, 600)
    with pytest.raises(KeyError, match="font_sise"), plot.paper(font_sise=9):
        pass


@pytest.mark.parametrize("shape", [(12, 1, 40), (4, 2, 50)])
def test_the_heads_of_a_decoding_step_are_rows_below_each_other(shape):
    weights = attention(*shape)
    figure = plot.heads(records([weights]))
    panels = [ax for ax in figure.axes if ax.images]
    assert np.allclose(drawn(panels[2]), weights[2])
    lefts, tops = {round(ax.get_position().x0, 3) for ax in panels}, [ax.get_position().y1 for ax in panels]
    assert len(lefts) == 1 and tops == sorted(tops, reverse=True)
    assert_readable(figure)
