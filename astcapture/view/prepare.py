"""What a file will hold, found out before its values are read, so that what does not fit is an error at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from astcapture.errors import CaptureError
from astcapture.values.record import Record
from astcapture.view.axes import Axes, Axis
from astcapture.view.budget import OVERHEAD
from astcapture.view.exact import exact_heads
from astcapture.view.options import Options
from astcapture.view.plan import Entry, plan
from astcapture.view.reading import Reader
from astcapture.view.series import Notes, Series, find_kinds, in_series
from astcapture.view.vision import grid_of_model


@dataclass(frozen=True)
class Planned:
    """What a file will hold.

    Attributes:
        entries: in the order in which they are read.
        axes: of all maps.
        sides: the axes of the rows and of the columns of each entry, by its identity.
        exact: (series, layer, head) of the maps that are kept exactly, the series by its identity.
        notes: what is left out, or odd.
    """

    entries: list[Entry]
    axes: Axes
    sides: dict[int, tuple[Axis, Axis]]
    exact: set[tuple[int, int, int]]
    notes: Notes


def prepare(runs: Sequence[Sequence[Record]], options: Options) -> Planned:
    """Plan a file; one value of each series is looked at.

    Args:
        runs: the records of one run, or of two that are compared.
        options: see there.

    Raises:
        CaptureError: there is nothing to show, or what was given does not fit.
    """
    notes = Notes()
    series: list[Series] = []
    for number, records in enumerate(runs):
        series += in_series(records, number, series if number else (), notes)
    if len(runs) > 1:
        _note_partners(series, notes)
    with Reader() as reader:
        find_kinds(series, reader, options.kind)
    most = max(int(options.size / OVERHEAD), 256)
    examples = len(options.images) if len(options.images) > 1 else None
    entries = plan(series, batch=options.batch, most=most, examples=examples, notes=notes)
    if not entries:
        raise CaptureError(_why_nothing(series, options, notes))
    axes = Axes()
    sides = {id(entry): _axes_of(entry, axes, options) for entry in entries}
    _check_given(entries, axes, options, notes)
    return Planned(entries, axes, sides, exact_heads(options.exact, entries), notes)


def _axes_of(entry: Entry, axes: Axes, options: Options) -> tuple[Axis, Axis]:
    """The axes of the rows and of the columns."""
    rows, columns = entry.size
    kind = entry.series.kind
    if kind == "channels":
        return axes.index(rows), axes.index(columns)
    given = options.given(entry.batch)
    record = entry.records[0]
    patches = None
    if entry.windows is not None:
        side = entry.windows.side * entry.windows.per_row
        patches = (side, side), 0
        given = given._replace(grid=(side, side), cls=0)
    column_patches = patches or grid_of_model(record, columns)
    if kind == "strip":
        return axes.index(rows), axes.of(columns, given, keys=True, patches=None)
    axes.sizes[rows, columns] = None
    row_axis = axes.of(rows, given, keys=False, patches=patches or grid_of_model(record, rows))
    if kind == "map" and rows != columns and len(record.form().shape or ()) < 4:
        # The columns of hidden states are features, unless there are as many as keys.
        given = given._replace(image=None, grid=None)
        column_patches = None
    return row_axis, axes.of(columns, given, keys=True, patches=column_patches)


def _check_given(entries: Sequence[Entry], axes: Axes, options: Options, notes: Notes) -> None:
    """Complain about tokens that fit nowhere."""
    for name, several in (("tokens", options.tokens), ("key_tokens", options.key_tokens)):
        if not several or name in axes.fitted or not axes.sizes:
            continue
        counts = " or ".join(str(count) for count in sorted({len(one) for one in several}))
        sizes = " or ".join(f"{rows} × {columns}" for rows, columns in list(axes.sizes)[:4])
        many = f"{counts} token" if counts == "1" else f"{counts} tokens"
        steps = [entry.size[1] for entry in entries if len(entry.calls) > 1]
        # `generate()` returns one token more than it computes attention for.
        last = any(len(one) == columns + 1 for one in several for columns in steps)
        raise CaptureError(
            f"{name} has {many}, and the maps have {sizes} (queries × keys): pass one token for each query or key, "
            "special tokens too" + (f". The last generated token has no map: {name}={name}[:-1]" if last else "")
        )
    channels = any(one.series.kind == "channels" for one in entries)
    if options.images and "images" not in axes.fitted and axes.sizes and not channels:
        notes.add("no map has as many patches as the image: pass grid=(rows, columns) and cls=")


def _note_partners(series: Sequence[Series], notes: Notes) -> None:
    places = [{one.place for one in series if one.run == run} for run in (0, 1)]
    for one in series:
        if one.place not in places[1 - one.run]:
            here = ("first", "second")[one.run]
            notes.add(f"{one.label} of {one.name} is in the {here} run only, and has nothing to be compared with")


def _why_nothing(series: Sequence[Series], options: Options, notes: Notes) -> str:
    told = notes.listed()
    if told:
        return "; ".join(["nothing here can be shown", *told])
    if options.batch is not None:
        return f"batch={options.batch}: no value has so many examples; they are counted from 0"
    return f"nothing here can be shown: {len(series)} kinds of values were captured, and none is an array of numbers"
