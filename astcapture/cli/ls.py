"""``astcapture ls``: the contents of a folder with a stored run."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from astcapture.cli.progress import Bar

if TYPE_CHECKING:
    from astcapture.values.inventory import Line
    from astcapture.values.notes import Notes
    from astcapture.values.run import Run

_RIGHT = {"count", "bytes", "processes", "rank", "values", "shards"}


@click.command(short_help="List the contents of a stored run.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--verify", is_flag=True, help="Read every value and check its checksum.")
def ls(folder: Path, as_json: bool, verify: bool) -> int:
    """List the values in DIR by function, label, model and layer, the processes that stored them, and damaged files.

    Layers whose paths differ only in numbers share a line. The exit status is 1 if DIR contains no run, or if
    --verify finds a damaged file.

    \b
    Examples:
      astcapture ls runs/eval
      astcapture ls --verify --json runs/eval
    """
    from astcapture.values.inventory import inventory
    from astcapture.values.run import open_run

    with Bar("reading shards") as bar:
        run = open_run(folder, verify=verify, progress=bar.show)
    lines = inventory(run)
    click.echo(json.dumps(_plain(run, lines), indent=2) if as_json else _table(run, lines))
    return 1 if verify and run.damaged else 0


def _plain(run: Run, lines: list[Line]) -> dict[str, Any]:
    notes = run.notes()
    return {
        "path": str(run.path),
        "values": sum(line.count for line in lines),
        "bytes": sum(line.nbytes for line in lines),
        "functions": list(run),
        "captured": [
            {
                "function": line.key,
                "label": line.label,
                "model": line.model,
                "layer": line.layer,
                "count": line.count,
                "shapes": [list(shape) for shape in line.shapes],
                "dtypes": list(line.dtypes),
                "bytes": line.nbytes,
                "processes": list(line.processes),
            }
            for line in lines
        ],
        "missed": [
            {"function": key, "label": label, "missed": missed, "failed": failed, "error": error}
            for (key, label), (missed, failed, error) in notes.counts.items()
        ],
        "refused": [
            {"function": key, "label": label, "count": count, "why": why}
            for (key, label), (count, why) in notes.refused.items()
        ],
        "processes": [
            {
                "folder": one.name,
                **one.about,
                "shards": len(one.shards),
                "values": sum(map(len, one.shards)),
                "bytes": sum(shard.header.nbytes for shard in one.shards),
            }
            for one in run.processes
        ],
        "edits": list(notes.edits),
        "damaged": [{"file": str(path), "why": why} for path, why in run.damaged.items()],
    }


def _table(run: Run, lines: list[Line]) -> str:
    from astcapture.values.summary import columns, hidden_labels

    out = []
    several = len({line.model for line in lines if line.model is not None}) > 1
    header = ("label", *(("model",) if several else ()), "layer", "count", "shape", "dtype", "bytes", "processes")
    recipes = run.notes().recipes
    for key in run:
        rows = _rows([line for line in lines if line.key == key], several)
        if not rows and key in recipes:
            continue  # all of them share one line below
        rows = [header, *rows]
        listed = columns(_fitting(rows, _width() - 2), _RIGHT) if rows[1:] else ["no values"]
        out += [key, *(f"  {line}" for line in listed), ""]
    hidden = hidden_labels({(line.key, line.label) for line in lines}, run.notes())
    out += _empty_recipes(run.notes(), {line.key for line in lines})
    header = ("process", "rank", "values", "bytes", "shards", "started")
    return "\n".join([*out, *columns([header, *_process_rows(run)], _RIGHT), *_notes(run, hidden)])


def _empty_recipes(notes: Notes, functions: Collection[str]) -> list[str]:
    """A line for each recipe with functions that were not called; those that left nothing in a call have notes."""
    called = {*functions, *(key for key, _ in (*notes.counts, *notes.refused))}
    lines = []
    for recipe, count in Counter(recipe for key, recipe in notes.recipes.items() if key not in called).items():
        if any(one == recipe and key in called for key, one in notes.recipes.items()):
            many = "1 function of {} was" if count == 1 else f"{count} functions of {{}} were"
            lines.append(f"{many.format(recipe)} not called, which is normal: a program runs few of them")
        else:
            many = "its one function was not called" if count == 1 else f"none of its {count} functions was called"
            lines.append(f"{recipe}: no values, {many}")
    return [*lines, ""] if lines else []


def _rows(lines: list[Line], several: bool) -> list[tuple[str, ...]]:
    from astcapture.values.summary import in_bytes, some

    rows: list[tuple[str, ...]] = []
    for label, layer, merged in _merged(lines):
        model = (merged[0].model or "",) if several else ()
        size = sum(line.nbytes for line in merged)
        cells = (
            label,
            *model,
            layer,
            f"{sum(line.count for line in merged):,}",
            _in_short(list(dict.fromkeys([shape for line in merged for shape in line.shapes]))),
            some(list(dict.fromkeys(dtype for line in merged for dtype in line.dtypes))),
            in_bytes(size) if size else "",
            str(len({name for line in merged for name in line.processes})),
        )
        rows.append(cells)
    return rows


def _in_short(shapes: list[tuple[int, ...]]) -> str:
    """Shapes on one line: the range of each size if all have the same number of axes."""
    if len(shapes) > 1 and len({len(shape) for shape in shapes}) == 1:
        sizes = [sorted(set(sizes)) for sizes in zip(*shapes, strict=True)]
        listed = ", ".join(str(size[0]) if len(size) == 1 else f"{size[0]}…{size[-1]}" for size in sizes)
        return f"({listed}{',' if len(sizes) == 1 else ''})"
    from astcapture.values.summary import some

    return some([str(shape) for shape in shapes])


def _width() -> int:
    """The width of the terminal; without a terminal, no limit."""
    asked = sys.stdout.isatty() or "COLUMNS" in os.environ
    return shutil.get_terminal_size().columns if asked else sys.maxsize


def _fitting(rows: list[tuple[str, ...]], width: int) -> list[tuple[str, ...]]:
    """The rows with the beginnings of layer paths cut off where lines would be too long."""
    over = sum(max(map(len, column)) + 2 for column in zip(*rows, strict=True)) - 2 - width
    at = rows[0].index("layer")
    room = max(max(len(row[at]) for row in rows) - over, 10)
    return [(*row[:at], row[at] if len(row[at]) <= room else "…" + row[at][1 - room :], *row[at + 1 :]) for row in rows]


def _process_rows(run: Run) -> list[tuple[str, ...]]:
    from astcapture.values.summary import in_bytes

    return [
        (
            one.name,
            str(one.about.get("rank", "")),
            f"{sum(map(len, one.shards)):,}",
            in_bytes(sum(shard.header.nbytes for shard in one.shards)),
            str(len(one.shards)),
            str(one.about.get("started", ""))[:19].replace("T", " "),
        )
        for one in run.processes
    ]


def _notes(run: Run, hidden: Collection[tuple[str, str]]) -> list[str]:
    """What went wrong; not that a map was missed where another label of its function holds the map."""
    notes = run.notes()
    told = [f"edited: {edit}: the values are not the model's own" for edit in notes.edits]
    for (key, label), (missed, failed, error) in notes.counts.items():
        if missed and (key, label) not in hidden:
            told.append(f"{key}: {label!r} was missed {_times(missed)}")
        if failed:
            told.append(f"{key}: {label!r} failed {_times(failed)}, first with {error}")
    for (key, label), (count, why) in notes.refused.items():
        told.append(f"{key}: {label!r} was not stored {_times(count)}: {why}")
    told += [f"damaged: {path}: {why}" for path, why in run.damaged.items()]
    return ["", *told] if told else []


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def _merged(lines: list[Line]) -> list[tuple[str, str, list[Line]]]:
    """Lines of one label whose layers differ only in numbers: the label, a pattern of the layers, the lines."""
    groups: dict[tuple[str, str | None, str | None], list[Line]] = {}
    for line in lines:
        pattern = re.sub(r"\d+", "*", line.layer) if line.layer is not None else None
        groups.setdefault((line.label, line.model, pattern), []).append(line)
    return [
        (label, merged[0].layer or "" if len(merged) == 1 else f"{pattern} ({len(merged)})", merged)
        for (label, _, pattern), merged in groups.items()
    ]
