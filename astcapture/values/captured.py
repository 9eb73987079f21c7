"""How captured values are asked for, whether they are in memory or on disk: the mapping that both give."""

from __future__ import annotations

import difflib
import os
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from astcapture.record.torch.bypassed import Live
from astcapture.values.html import Table, only_looks
from astcapture.values.notes import Notes
from astcapture.values.record import Record
from astcapture.values.records import NotCaptured, Records
from astcapture.values.saving import save

if TYPE_CHECKING:
    from astcapture.view import View

#: How many keys a message lists.
_LISTED = 5


class Captured(Mapping[str, Records]):
    """Captured values by function: ``["mymodel:Attention.forward"]``, or ``["Attention.forward"]``."""

    #: What is said of any key where there are none.
    _nothing = "and neither is any other function"

    @abstractmethod
    def _keys(self) -> list[str]:
        """All keys, in order."""

    @abstractmethod
    def _found(self, key: str | None) -> Sequence[Record]:
        """The records of a key, or all of them, in call order."""

    def __getitem__(self, key: str) -> Records:
        full = self._full_key(key)
        return self._noted(Records(self._found(full), partial(self._why_empty, full)))

    def _noted(self, records: Records) -> Records:
        """The same, after what the user is to be warned of."""
        return records

    def _why_not_captured(self, key: str) -> str | None:
        """Why there is no such key, where more is known than the keys tell."""
        return None

    def why_nothing(self, key: str) -> str | None:
        """Why a captured function has no value; None where nothing is known of it."""
        return self._why_empty(key, None)

    def _why_empty(self, key: str, label: str | None) -> str | None:
        """Why a function left no value, or none of that label; None where nothing is known of it."""
        labels = self.notes().declared.get(key, ())
        if label not in (None, *labels):
            return None
        live = Live()
        return "; ".join(dict.fromkeys(self._why(key, one, live) for one in labels if label in (None, one))) or None

    @abstractmethod
    def _why(self, key: str, label: str, live: Live) -> str:
        """Why a label that is captured has no value."""

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys())

    def __len__(self) -> int:
        return len(self._keys())

    @only_looks
    def _repr_html_(self) -> str:
        return self._as_table().html()

    @abstractmethod
    def _as_table(self) -> Table:
        """What notebooks show; no value is read for it."""

    # Two of them that hold nothing are still two.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def _full_key(self, key: str) -> str:
        keys = self._keys()
        if key in keys:
            return key
        if not isinstance(key, str):
            raise NotCaptured(f"{key!r} is not captured: write 'MODULE:QUALNAME' or 'QUALNAME'")
        candidates = [full for full in keys if full.partition(":")[2] == key]
        if len(candidates) > 1:
            # Recipes name many functions alike, of which a program runs one.
            candidates = [full for full in candidates if len(self._found(full))] or candidates
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            listed = " or ".join(map(repr, candidates[:_LISTED]))
            more = f" or another of the {len(candidates)} that end so" if candidates[_LISTED:] else ""
            raise NotCaptured(f"{key!r} is ambiguous: write {listed}{more}")
        why = self._why_not_captured(key)
        if why is not None:
            raise NotCaptured(f"{key!r} is not captured: {why}")
        if not keys:
            raise NotCaptured(f"{key!r} is not captured, {self._nothing}")
        of_functions = [full for full, labels in self.notes().declared.items() if key in labels]
        if of_functions:
            of_all = f" for those of all {len(of_functions)} functions" if of_functions[1:] else ""
            raise NotCaptured(
                f"{key!r} is a label: write [{of_functions[0]!r}][{key!r}], or select(label={key!r}){of_all}"
            )
        # Compared with names of the same kind: with the module or without.
        known = keys if ":" in key else [full.partition(":")[2] for full in keys]
        close = difflib.get_close_matches(key, known, n=3)
        hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"captured are: {', '.join(keys)}"
        raise NotCaptured(f"{key!r} is not captured; {hint}")

    def select(self, **filters: Any) -> Records:
        """The values of all functions, in call order, whose record matches every filter; see `Records.select`.

        >>> from astcapture import Cache
        >>> list(Cache().select(label="attn"))
        []
        """
        found = Records(self._found(None)).select(**filters)
        # Who asks for the values of a cell knows that there are others.
        return found if "cell" in filters else self._noted(found)

    def last(self) -> Records:
        """The values of the last pass through a model, of all functions; see `Records.last`.

        >>> from astcapture import Cache
        >>> list(Cache().last())
        []
        """
        return Records(self._found(None)).last()

    def view(self, **options: Any) -> View:
        """The values of all functions to look around in; see `Records.view`.

        Raises:
            CaptureError: there is nothing to show, or an option that does not fit.
        """
        made: View = import_module("astcapture.view").View(self, **options)
        return made

    @abstractmethod
    def summary(self, *, all: bool = False) -> str:  # noqa: A002
        """A table of what was captured: function, label, model, layer, count, shape, dtype, bytes, what was missed.

        Below the table are the reasons why something is empty. The functions of a recipe that recorded nothing share
        one line. A map that was not bound has no row where another label of the same function holds the map, as
        ``weights`` of fused attention does for ``attn``.

        Args:
            all: list every function and label.
        """

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write all values to a folder that `astcapture.load` reads; what lies there already stays.

        Raises:
            CaptureError: the folder cannot be written to.
        """
        save(self._found(None), self.final_notes(), folder)

    @abstractmethod
    def notes(self) -> Notes:
        """What is known besides the records."""

    def final_notes(self) -> Notes:
        """Those notes, with the reasons why something is empty."""
        return self.notes()
