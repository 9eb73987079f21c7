"""The picture of what edits do to a number says which layer, which head, which number, and how much."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes

from astcapture import plot
from astcapture.edits import Effect, Effects
from astcapture.errors import EditError


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    plt.close("all")


def made(missing: tuple[int, int] = (2, 1), undefined: tuple[int, int] = (0, 2)) -> Effects:
    changes = np.array([[0.5, -0.25, 0.0], [0.0, 1.0, 0.125], [-2.0, 0.0, 0.25]])
    changes[undefined] = np.nan
    return Effects(
        [
            Effect("edit", 0.0, float(changes[layer, head]), f"blocks.{layer}.attn", head)
            for layer in range(3)
            for head in range(3)
            if (layer, head) != missing
        ],
        0.0934,
        "loss",
    )


def colours(ax: Axes) -> np.ndarray:
    found = ax.images[0].get_array()
    assert found is not None
    return np.asarray(found)


def test_layers_go_down_and_heads_to_the_right_in_colours_around_zero() -> None:
    ax = plot.effects(made())
    cells = colours(ax)
    assert cells.shape == (3, 3, 4)
    reds, blues = cells[..., 0] - cells[..., 2] > 0.02, cells[..., 2] - cells[..., 0] > 0.02
    assert reds.tolist() == [[True, False, False], [False, True, True], [False, False, True]]
    assert blues.tolist() == [[False, True, False], [False, False, False], [True, False, False]]
    np.testing.assert_allclose(cells[1, 0], plt.get_cmap("RdBu_r")(0.5), atol=0.01)
    np.testing.assert_allclose(cells[2, 0], plt.get_cmap("RdBu_r")(0.0))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("head", "layer (blocks.*.attn)")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["0", "1", "2"]
    assert ax.get_title() == "loss without an edit: 0.0934"


def test_a_place_without_an_edit_is_seen_through_and_nan_is_grey() -> None:
    cells = colours(plot.effects(made()))
    assert cells[..., 3].tolist() == [[1, 1, 1], [1, 1, 1], [1, 0, 1]]
    assert cells[0, 2, :3].tolist() == [0.75] * 3


def test_the_colour_bar_says_of_which_number_it_is() -> None:
    figure = plot.effects(made()).figure
    labels = [ax.get_ylabel() for ax in figure.axes]
    assert labels == ["layer (blocks.*.attn)", "change of loss (grey: not finite)"]
    assert plot.effects(made(), colorbar=False).figure.axes[1:] == []
    assert plot.effects(made(), label="nats", title="ablation").get_title() == "ablation"


def test_arrays_and_tensors_are_drawn_too() -> None:
    array = np.array([[0.5, -1.0]])
    for given in (array, torch.tensor(array), array.astype(np.float16)):
        ax = plot.effects(given, vmax=2.0)
        assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("head", "layer", "")
    with pytest.raises(ValueError, match=r"effects has shape \(2,\); accepted are Effects, or an array of"):
        plot.effects(np.zeros(2))
    with pytest.raises(EditError, match="not one head or token of one layer each"):
        plot.effects(Effects([Effect("edit", 0.0, 1.0)], 0.0, "loss"))


def test_tokens_are_the_columns_where_edits_are_of_tokens() -> None:
    found = Effects([Effect("e", 0.0, 1.0, "h.0", None, token) for token in (3, 5, 8)], 0.0, "share")
    ax = plot.effects(found)
    assert ax.get_xlabel() == "token" and [label.get_text() for label in ax.get_xticklabels()] == ["3", "5", "8"]


def test_it_draws_into_given_axes_and_no_label_is_cut() -> None:
    _, ax = plt.subplots()
    assert plot.effects(made(), ax=ax) is ax
    names = ["encoder.layer.0.attention.self", "encoder.layer.1.attention.self"]
    found = Effects([Effect("e", 0.0, 1.0, name, head) for name in names for head in range(4)], 0.0, "recovered share")
    ax = plot.effects(found)
    figure = ax.figure
    figure.canvas.draw()
    for one in figure.axes:
        box = one.yaxis.label.get_window_extent()
        assert box.y0 >= 0 and box.y1 <= figure.bbox.height and box.x0 >= 0 and box.x1 <= figure.bbox.width


def test_many_heads_and_layers_are_named_in_steps() -> None:
    ax = plot.effects(np.ones((48, 40)))
    assert [label.get_text() for label in ax.get_xticklabels()][:3] == ["0", "3", "6"]
    assert [label.get_text() for label in ax.get_yticklabels()][:3] == ["0", "3", "6"]
