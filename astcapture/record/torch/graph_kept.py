"""Handles objects kept by reference that keep an autograd graph alive.

A graph keeps the activations of a whole forward pass, whose size is unknown. With a limit in bytes such an object is
not kept; with the automatic limit only while memory is free. If it is kept, a warning is issued once for each capture,
because memory grows with each record.
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
    """Check an object that is about to be kept by reference at a site.

    Args:
        site: module, function, label and line; None if unknown.
        value: the object.

    Raises:
        NotRecorded: it keeps a graph, and the memory limit could be exceeded.
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
        f"{module}:{function}: {label!r} keeps a {type(value).__name__} by reference, and its tensors keep "
        "their autograd graph and the memory of the forward pass until cache.clear(). To keep copies "
        "without a graph, capture the tensors themselves or select them with reduce="
    )
