"""What is done about an object kept by reference that keeps an autograd graph alive.

A graph holds the activations of a whole forward pass, which nothing tells the size of. Under a limit in bytes such an
object is not kept, and under the automatic one only as long as memory is free; otherwise it is warned of, once for each
capture, since memory grows with each record for no visible reason.
"""

from __future__ import annotations

import sys
from typing import Any

from astcapture.record import budget
from astcapture.record.events import NotRecorded
from astcapture.record.limit import in_words
from astcapture.record.references import keeps_graph
from astcapture.warn import warn

_told: set[tuple[str, str, str]] = set()


def check_reference(site: Any, value: Any) -> None:
    """Look at an object that is about to be kept by reference at a site.

    Args:
        site: module, function, label and line; None where it is not known.
        value: the object.

    Raises:
        NotRecorded: it keeps a graph, and a limit would not be kept with it.
    """
    if site is None or "torch" not in sys.modules or not keeps_graph(value):
        return
    what = f"a {type(value).__name__} is kept by reference, and its tensors keep their autograd graph"
    if not budget.admits_unweighed():
        limit = budget.limit()
        allowed = "limit='auto'" if isinstance(limit, str) else f"limit={in_words(limit or 0)!r}"
        raise NotRecorded(
            f"{what}, whose size is unknown, so {allowed} could be exceeded: capture the tensors themselves or "
            "select them with reduce=, run the model under torch.no_grad(), or set limit=None"
        )
    where = module, function, label = site[:3]
    if where in _told:
        return
    _told.add(where)  # first: a warning may run code that is captured itself
    warn(
        f"{module}:{function}: {label!r} is a {type(value).__name__}, which is kept by reference: its tensors keep "
        "their autograd graph, and with it the memory of the forward pass, until cache.clear(). To keep copies "
        "without a graph, capture the tensors themselves or select them with reduce="
    )
