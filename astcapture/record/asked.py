"""The open block and the options of a site, which decide how a value is recorded."""

from __future__ import annotations

from dataclasses import replace

from astcapture.record import scope
from astcapture.record.events import Site, cell_of
from astcapture.record.options import PLAIN, Conversion, Taken
from astcapture.record.policy import OneModel, conversion_of
from astcapture.record.scope import Holding
from astcapture.record.state import state
from astcapture.record.torch.places import Where


def holding_here() -> Holding | None:
    """The settings of the innermost open block of this thread or task."""
    return scope.holding() if state.in_blocks else None


def conversion_at(site: Site, where: Where | None, holding: Holding | None) -> Conversion:
    """How a value of a layer of a model is recorded."""
    return conversion_of(site, where, blocks_of(holding)) if state.converting else PLAIN


def blocks_of(holding: Holding | None) -> tuple[OneModel, ...]:
    """The open blocks for one model, the innermost first."""
    return () if holding is None or holding.sink is None else holding.sink.blocks


def bound(how: Conversion, site: Site, where: Where | None, holding: Holding | None) -> Conversion:
    """The options, with the record bound to a `reduce` of two parameters."""
    reduce = how.reduce
    if reduce is None or not how.reduce_takes_record:
        return how
    module, function, label, lineno = site[:4]
    layer, model = (None, None) if where is None else where
    tags = {} if holding is None else holding.tags
    record = Taken(label, module, function, lineno, layer, model, tags, cell_of(site))
    return replace(how, reduce=lambda value: reduce(value, record), reduce_takes_record=False)
