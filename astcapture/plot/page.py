"""The figure that all else is in."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure


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
