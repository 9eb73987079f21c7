"""How captured values are asked for, whether they are in memory or on disk: the mapping that both give."""

from __future__ import annotations

import difflib
import os
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from astcapture.values.notes import Notes
from astcapture.values.records import Record, Records, Unknown
from astcapture.values.why_empty import why_missed, why_not_run

#: How many keys a message lists.
_LISTED = 5

#: For each function and label: how often it was not bound, how often its expression failed, the first error.
CountsOf = Mapping[tuple[str, str], tuple[int, int, "str | None"]]


class Captured(Mapping[str, Records]):
    """Captured values by function: ``["mymodel:Attention.forward"]``, or ``["Attention.forward"]``."""

    #: What is said of any key where there are none.
    _nothing = "nor is any other function"

    @abstractmethod
    def _keys(self) -> list[str]:
        """All keys, in order."""

    @abstractmethod
    def _found(self, key: str | None) -> Sequence[Record]:
        """The records of a key, or all of them, in call order."""

    def __getitem__(self, key: str) -> Records:
        full = self._full_key(key)
        return Records(self._found(full), partial(self._why_empty, full))

    def _why_empty(self, key: str, label: str | None) -> str | None:
        """Why a function left no value, or none of that label; None where nothing is known of it."""
        notes = self._notes()
        labels = notes.declared.get(key, ())
        reasons = []
        for one in labels if label is None else (label,):
            missed, failed, error = notes.counts.get((key, one), (0, 0, None))
            if missed:
                reasons.append(why_missed(one, missed, key in notes.fused))
            if failed:
                reasons.append(f"{one!r} failed with {error}")
        if reasons or label not in (None, *labels):
            return "; ".join(reasons) or None
        if label is not None and len(self._found(key)):
            return f"no line of {key} that gives it a value has run"
        return why_not_run(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys())

    def __len__(self) -> int:
        return len(self._keys())

    # Two of them that hold nothing are still two.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def _full_key(self, key: str) -> str:
        keys = self._keys()
        if key in keys:
            return key
        if not isinstance(key, str):
            raise Unknown(f"{key!r} is not captured: write 'MODULE:QUALNAME' or 'QUALNAME'")
        candidates = [full for full in keys if full.partition(":")[2] == key]
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            listed = " or ".join(map(repr, candidates[:_LISTED]))
            more = f" or another of the {len(candidates)} that end so" if candidates[_LISTED:] else ""
            raise Unknown(f"{key!r} is ambiguous: write {listed}{more}")
        if not keys:
            raise Unknown(f"{key!r} is not captured, {self._nothing}")
        of_functions = [full for full, labels in self._notes().declared.items() if key in labels]
        if of_functions:
            of_all = f" for those of all {len(of_functions)} functions" if of_functions[1:] else ""
            raise Unknown(f"{key!r} is a label: write [{of_functions[0]!r}][{key!r}], or select(label={key!r}){of_all}")
        # Compared with names of the same kind: with the module or without.
        known = keys if ":" in key else [full.partition(":")[2] for full in keys]
        close = difflib.get_close_matches(key, known, n=3)
        hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"captured are: {', '.join(keys)}"
        raise Unknown(f"{key!r} is not captured; {hint}")

    def select(self, **filters: Any) -> Records:
        """The values of all functions, in call order, whose record matches every filter; see `Records.select`.

        >>> from astcapture import Cache
        >>> list(Cache().select(label="attn"))
        []
        """
        return Records(self._found(None)).select(**filters)

    @abstractmethod
    def summary(self) -> str:
        """A table of what was captured: function, label, layer, count, shape, dtype, bytes, and what was missed."""

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write all values to a folder that `astcapture.load` reads; what lies there already stays.

        Raises:
            CaptureError: the folder cannot be written to.
        """
        from astcapture.values.saving import save

        save(self, folder)

    @abstractmethod
    def _notes(self) -> Notes:
        """What is known besides the records."""
