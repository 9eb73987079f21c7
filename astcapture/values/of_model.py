"""The values of one model: those of a block, which has a place of its own for them, or those among all others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from astcapture.record import policy
from astcapture.record.events import Event, Started
from astcapture.values.cache import Cache, cache
from astcapture.values.record import Record
from astcapture.values.records import Records

#: Whether a value of a module, a function and a label belongs to the model: that, and where it was recorded.
IsOfModel = Callable[[str, str, str, "tuple[str, str] | None"], bool]


class ModelCache(Cache):
    """Takes the values of one model inside a block; those that others ask for go where they would have gone.

    Args:
        is_of_model: whether a value belongs to the model.
        block: the block.
        outer: what takes the values around the block; None where that is ``astcapture.cache``.
    """

    def __init__(self, is_of_model: IsOfModel, block: policy.OneModel, outer: Cache | None) -> None:
        super().__init__()
        self.blocks = (block, *(() if outer is None else outer.blocks))
        self._is_of_model = is_of_model
        self._outer = outer

    def _add(self, event: Event, rank: int) -> None:
        site, value, _, where, _ = event
        # That an execution begins counts for whichever value comes next.
        if type(value) is Started or self._is_of_model(*site[:3], where):
            super()._add(event, rank)
        outer = self._outer
        if isinstance(outer, ModelCache) or not policy.asked_in_blocks_alone(site):
            (cache if outer is None else outer)._add(event, rank)


class ModelRecords(Records):
    """`Records` that grow as the model runs, until they are closed.

    Args:
        found: gives the records up to now.
        why_empty: says why there are none.
    """

    def __init__(self, found: Callable[[], Sequence[Record]], why_empty: Callable[[str | None], str | None]) -> None:
        super().__init__((), why_empty)
        self._look: Callable[[], Sequence[Record]] | None = found

    @property
    def records(self) -> tuple[Record, ...]:
        """The `Record` of each value."""
        return self._records if self._look is None else tuple(self._look())

    def close(self, reason: str | None = None) -> None:
        """Keep what is there now, and no more; where that is nothing, for this reason."""
        self._records, self._look = self.records, None
        if not self._records:
            self._why_empty = lambda label: reason
