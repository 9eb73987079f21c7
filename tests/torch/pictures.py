"""What the tests of drawing share: attention to draw, what was drawn, and whether it can be read."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.text import Text

from astcapture.values.record import Record
from astcapture.values.records import Records


def attention(*shape: int, seed: int = 0) -> torch.Tensor:
    scores = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return (2 * scores).softmax(dim=-1)


def extremes(weights: torch.Tensor) -> tuple[float, float]:
    return float(weights.min()), float(weights.max())


def records(values, *, layer="blocks.{}.attn", label="attn", calls=False) -> Records:
    """Values as they are captured: one for each layer, or, with calls, for each call of one layer."""
    return Records(
        [
            Record(value, label, "m", "Attention.forward", 1, layer.format(0 if calls else number), number * calls)
            for number, value in enumerate(values)
        ]
    )


def drawn(ax) -> np.ndarray:
    """The numbers of the topmost image of an axes."""
    return np.ma.filled(ax.images[-1].get_array(), np.nan)


def bars(figure) -> list:
    return [ax for ax in figure.axes if any(isinstance(artist, QuadMesh) for artist in ax.collections)]


def written(figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible() and text.get_text()]


def text_boxes(figure: Figure) -> list[tuple[str, object]]:
    """The texts of a figure that has been laid out, and where they lie."""
    renderer = figure.canvas.get_renderer()
    shown = []
    for text in figure.findobj(Text):
        if not (text.get_visible() and text.get_text().strip()):
            continue
        box = text.get_window_extent(renderer)
        if box.width > 0:
            shown.append((text.get_text(), box))
    return shown


def visible_ticks_only(figure: Figure) -> None:
    """Ticks outside an axis' range, and those of hidden axes, are texts that are never drawn."""
    figure.draw_without_rendering()
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks():
                inside = low - 1e-9 <= tick.get_loc() <= high + 1e-9 and ax.axison
                tick.label1.set_visible(tick.label1.get_visible() and inside)
                tick.label2.set_visible(tick.label2.get_visible() and inside)


def assert_readable(figure: Figure) -> None:
    """No two texts overlap, and none is cut off by the edge."""
    visible_ticks_only(figure)
    boxes = text_boxes(figure)
    assert boxes
    for number, (name, box) in enumerate(boxes):
        for other_name, other in boxes[number + 1 :]:
            assert not box.overlaps(other.shrunk(0.98, 0.98)), f"{name!r} overlaps {other_name!r}"
        page = figure.bbox
        assert box.x0 >= page.x0 - 1, f"{name!r} is cut off on the left"
        assert box.x1 <= page.x1 + 1, f"{name!r} is cut off on the right"
        assert box.y0 >= page.y0 - 1, f"{name!r} is cut off below"
        assert box.y1 <= page.y1 + 1, f"{name!r} is cut off above"
