"""A figure that a cell of a notebook ends with is shown once.

Matplotlib's inline backend shows every open figure as a cell ends. A figure that a cell displayed itself, as its last
expression or with ``display(figure)``, would be shown a second time. Outside of notebooks nothing is done to a figure.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure, SubFigure

#: The modules of the backend, as `matplotlib_inline` and ipykernel before it have it.
_INLINE = ("matplotlib_inline.backend_inline", "ipykernel.pylab.backend_inline")
#: The figures that the running cell has displayed.
_displayed: list[Figure] = []


def shown_once(drawn: Figure | SubFigure) -> Figure | SubFigure:
    """Have a figure that was drawn in shown once by the cell that displays it; it comes back as it is."""
    shell = _shell()
    backend = _backend() if shell is not None else None
    if isinstance(drawn, Figure) and backend is not None:
        # IPython asks this of an object each time that it displays one.
        vars(drawn)["_repr_mimebundle_"] = _Noticed(drawn)
        _before(shell.events, backend.flush_figures)
    return drawn


class _Noticed:
    """Notes once that a figure is displayed, and leaves how to matplotlib."""

    def __init__(self, figure: Figure) -> None:
        self._figure = figure

    def __call__(self, include: Any = None, exclude: Any = None) -> None:
        vars(self._figure).pop("_repr_mimebundle_", None)
        _displayed.append(self._figure)

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        """Copied or stored with its figure, it is None, which IPython takes for nothing."""
        return type(None), ()


def _before(events: Any, flush_figures: Callable[[], None]) -> None:
    """Have `_leave_out` called as a cell ends, before the backend shows what is open."""
    if _leave_out in events.callbacks["post_execute"] or flush_figures not in events.callbacks["post_execute"]:
        return
    events.unregister("post_execute", flush_figures)
    events.register("post_execute", _leave_out)
    events.register("post_execute", flush_figures)


def _leave_out() -> None:
    """Take the figures that the cell has displayed from those that the backend is about to show."""
    displayed = _displayed[:]
    _displayed.clear()
    backend = _backend()
    if backend is None:
        return
    for figure in displayed:
        if backend.InlineBackend.instance().close_figures:
            plt.close(figure)  # as the backend does next, with all that are open
        else:
            backend.show._to_draw = [one for one in backend.show._to_draw if one is not figure]


def _shell() -> Any:
    """The IPython that runs this; None where none does."""
    get_shell = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return get_shell() if get_shell is not None else None


def _backend() -> Any:
    """The inline backend, if it is the one that is on."""
    # Only then matplotlib is asked, which may choose a backend to give an answer.
    imported = [name for name in _INLINE if name in sys.modules]
    name = plt.get_backend().removeprefix("module://") if imported else ""
    return next((sys.modules[one] for one in imported if name in (one, "inline")), None)
