"""New figures, and the figure that all else is in."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import FontProperties


def page_of(drawn: Axes | Figure | SubFigure) -> Figure:
    """Return the whole figure that axes or a subfigure belong to.

    >>> import matplotlib.pyplot as plt
    >>> figure = plt.figure()
    >>> page_of(figure.subfigures(1, 2)[0].subplots()) is figure
    True
    """
    # get_figure(root=True) is matplotlib's own since 3.10.
    figure = drawn.get_figure() if isinstance(drawn, Axes) else drawn
    while isinstance(figure, SubFigure):
        figure = figure.figure
    assert figure is not None  # it is being drawn in
    return figure


def in_scale(size: float) -> float:
    """Return a size that was chosen for letters of 10 points, for letters of ``rcParams["font.size"]``.

    So a style sheet with smaller letters makes a smaller figure of the same proportions.
    """
    points = mpl.rcParams["font.size"]
    return (
        size * (points if isinstance(points, (int, float)) else FontProperties(size=points).get_size_in_points()) / 10
    )


def new_figure(width: float, height: float, layout: Any = "compressed") -> Figure:
    """Make a figure of this width and height in inches, in scale with the letters."""
    return plt.figure(figsize=(in_scale(width), in_scale(height)), layout=layout)


def new_axes(width: float, height: float, layout: Any = "compressed") -> Axes:
    """Make a figure with one axes, of this width and height in inches, in scale with the letters."""
    axes: Axes = new_figure(width, height, layout).subplots()
    return axes
