"""A frame that is seen over any image and any colour map."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke


def draw_outline(ax: Axes, corner: tuple[float, float], width: float, height: float) -> None:
    """Outline the rectangle whose top left is `corner` (x, y), in white on black."""
    frame = Rectangle(corner, width, height, fill=False, edgecolor="white", linewidth=2, clip_on=False, zorder=3)
    frame.set_path_effects([withStroke(linewidth=4, foreground="black")])
    ax.add_patch(frame)
