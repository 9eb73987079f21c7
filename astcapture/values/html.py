"""Captured values as small HTML tables, which notebooks show: no script, no style sheet, no request to anywhere.

Colours and fonts are those of the page, so that a table can be read on a light and on a dark one. Styles are
written into the cells, because front ends drop style sheets from output that they do not trust.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from astcapture.record.switch import pause
from astcapture.values.shared import shared

#: A table has as many rows, and as many sentences below it, at most.
ROWS, SENTENCES = 30, 10
#: A cell that is longer may be broken into lines.
_BROKEN = 40


@dataclass(frozen=True)
class Table:
    """A table, with the sentences below it.

    Attributes:
        header: the names of the columns; none where each row has a name and one cell.
        rows: the cells of each row; the first names the row. They may be fewer than there are.
        caption: what the table shows.
        right: the names of the columns that hold numbers.
        sentences: what is written below.
        count: how many rows there are, if `rows` has not all of them.
        all_of_it: how to see all rows.
    """

    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    caption: str = ""
    right: Collection[str] = field(default=frozenset())
    sentences: Sequence[str] = ()
    count: int = 0
    all_of_it: str = ""

    def html(self) -> str:
        """The HTML text; everything that comes from outside is escaped."""
        parts = []
        if self.rows:
            parts = ["<table>", *self._caption(), *self._head(), "<tbody>"]
            parts += [*map(self._row, self.rows[:ROWS]), "</tbody>", "</table>"]
            parts += _paragraph(_more(max(self.count, len(self.rows)) - ROWS, "row", self.all_of_it))
        else:
            parts += _paragraph(self.caption)
        if self.sentences:
            listed = [f"<li>{html.escape(one)}</li>" for one in self.sentences[:SENTENCES]]
            parts += ["<ul>", *listed, "</ul>"]
            parts += _paragraph(_more(len(self.sentences) - SENTENCES, "line", self.all_of_it))
        return "\n".join(parts)

    def _caption(self) -> list[str]:
        style = "caption-side:top;text-align:left;font-weight:bold"
        return [f'<caption style="{style}">{html.escape(self.caption)}</caption>'] if self.caption else []

    def _head(self) -> list[str]:
        cells = [f'<th scope="col"{self._style(name, name)}>{html.escape(name)}</th>' for name in self.header]
        return ["<thead>", f"<tr>{''.join(cells)}</tr>", "</thead>"] if cells else []

    def _row(self, row: Sequence[str]) -> str:
        first, *rest = zip(self.header or ("",) * len(row), row, strict=True)
        cells = [f'<th scope="row"{self._style(*first)}>{html.escape(first[1])}</th>']
        cells += [f"<td{self._style(name, cell)}>{html.escape(cell)}</td>" for name, cell in rest]
        return f"<tr>{''.join(cells)}</tr>"

    def _style(self, name: str, cell: str) -> str:
        side = "right" if name in self.right else "left"
        unbroken = ";white-space:nowrap" if len(cell) <= _BROKEN else ""
        return f' style="text-align:{side};vertical-align:top;padding:1px 8px{unbroken}"'


def _paragraph(text: str) -> list[str]:
    return [f"<p>{html.escape(text)}</p>"] if text else []


def counted(count: int, what: str) -> str:
    """A number of things: ``1 value``, ``2,000 processes``."""
    plural = "" if count == 1 else "es" if what.endswith("s") else "s"
    return f"{count:,} {what}{plural}"


def _more(count: int, what: str, all_of_it: str) -> str:
    if count <= 0:
        return ""
    return f"… and {counted(count, f'more {what}')}{'; ' if all_of_it else ''}{all_of_it}"


class Summary(str):
    """The text of a summary, which notebooks show as a table."""

    table: Table

    def __new__(cls, text: str, table: Table | None = None) -> Summary:
        made = super().__new__(cls, text)
        made.table = Table() if table is None else table
        return made

    def _repr_html_(self) -> str | None:
        return self.table.html() or None

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What a terminal's IPython shows, and a front end without HTML: the lines, and not their repr."""
        printer.text(str(self))


def only_looks(shown: Callable[[Any], str]) -> Callable[[Any], str | None]:
    """Make a method one that raises nothing and records nothing: None, where it fails, has the text shown instead.

    A value may be an object of the program's, whose attributes run code that is captured. What went wrong in a
    store, and is to be raised once, stays for the program's next look at the values.
    """

    @wraps(shown)
    def look(self: Any) -> str | None:
        try:
            with pause(), shared.looking():
                return shown(self)
        except Exception:
            return None

    return look
