"""A style sheet for figures of a paper."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.style


@contextmanager
def paper(**settings: Any) -> Iterator[None]:
    """Draw in a style for papers: letters of 7 points, thin lines, 300 dots per inch, fonts that journals accept.

    Figures shrink with the letters, to 70 % of their usual size, so that they go into a page without being scaled.
    The style sheet has a name as well, for `matplotlib.style.use`: "astcapture.plot.paper".

    Args:
        settings: entries of `matplotlib.rcParams` that are changed besides, with `_` in place of the dot:
            ``font_size=8``.

    Raises:
        KeyError: a setting that matplotlib does not have.

    >>> import matplotlib
    >>> with paper(font_size=8):
    ...     matplotlib.rcParams["font.size"], matplotlib.rcParams["savefig.dpi"]
    (8.0, 300.0)
    """
    known = {name.replace(".", "_"): name for name in mpl.rcParams}
    changed = {known.get(name, name): value for name, value in settings.items()}
    with mpl.style.context([str(Path(__file__).with_name("paper.mplstyle")), changed]):
        yield
