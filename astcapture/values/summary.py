"""The table that `Cache.summary` prints, and the sentences below it that say why something is empty."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

from astcapture.values.lines import shown_line
from astcapture.values.records import Record
from astcapture.values.why_empty import why_missed, why_not_run

_HEADER = ("function", "label", "line", "layer", "count", "shape", "dtype", "bytes", "missed")
_RIGHT = {"count", "bytes", "missed"}

#: A function, a label, the line where one execution takes several values of it, and the layer.
Group = tuple[str, str, "int | None", "str | None"]


def summarise(
    records: Iterable[Record],
    declared: Mapping[str, Sequence[str]],
    counts: Mapping[tuple[str, str], tuple[int, int, str | None]],
    skipped: Mapping[str, Sequence[tuple[str, str]]],
    fused: Collection[str] = (),
    refused: Mapping[tuple[str, str], tuple[int, str]] = MappingProxyType({}),
) -> str:
    """Lay out what was captured.

    Args:
        records: all values.
        declared: the labels captured in each function that was rewritten.
        counts: for each function and label: how often the name was not bound, how often the
            expression failed, and the first error.
        fused: the functions that call torch's fused attention, which materialises no map.
        skipped: for each module, the functions that a wildcard matched but that bind no such name.
        refused: for each function and label: how many values could not be stored, and why the first could not.
    """
    records = list(records)
    apart = _taken_apart(records)
    groups: dict[Group, list[Record]] = {}
    for record in records:
        line = record.lineno if (record.key, record.label) in apart else None
        groups.setdefault((record.key, record.label, line, record.layer), []).append(record)
    rows: list[tuple[str, ...]] = []
    for key, label in _every_label(groups, declared, counts):
        missed = counts.get((key, label), (0, 0, None))[0]
        found = [(group, group_records) for group, group_records in groups.items() if group[:2] == (key, label)]
        for index, (group, group_records) in enumerate(found or [((key, label, None, None), [])]):
            rows.append(_row(group, group_records, missed if index == 0 else 0))
    if not rows:
        nothing = "astcapture: no function was rewritten, so nothing could be captured. " + (
            "Those that a wildcard matches do not bind what it names."
            if any(skipped.values())
            else "Is the module in the targets, and was it imported after install()?"
        )
        return "\n".join([nothing, *_notes(groups, declared, counts, skipped, fused, refused)])
    return "\n".join([*_layout(rows), *_notes(groups, declared, counts, skipped, fused, refused)])


def _every_label(
    groups: Iterable[Group], declared: Mapping[str, Sequence[str]], counts: Iterable[tuple[str, str]]
) -> list[tuple[str, str]]:
    listed = [(key, label) for key, labels in declared.items() for label in labels]
    return list(dict.fromkeys([*listed, *(group[:2] for group in groups), *counts]))


def _taken_apart(records: Iterable[Record]) -> set[tuple[str, str]]:
    """The labels, with their functions, of which one execution left several values: those of each line are apart."""
    seen, apart = set(), set()
    for record in records:
        where = (record.key, record.label, record.layer, record.call, record.thread, record.rank)
        if where in seen:
            apart.add((record.key, record.label))
        seen.add(where)
    return apart


def _row(group: Group, records: Sequence[Record], missed: int) -> tuple[str, ...]:
    key, label, line, layer = group
    forms = [record._form() for record in records]
    shapes = list(dict.fromkeys(str(form.shape) for form in forms if form.shape is not None))
    dtypes = list(dict.fromkeys(form.dtype for form in forms))
    size = sum(form.nbytes for form in forms)
    return (
        key,
        label,
        shown_line(key.partition(":")[0], line) if line is not None else "",
        layer or "",
        str(len(records)),
        some(shapes),
        some(dtypes),
        in_bytes(size) if size else "",
        str(missed) if missed else "",
    )


def some(names: Sequence[str]) -> str:
    if len(names) <= 2:
        return ", ".join(names)
    return f"{names[0]} … {names[-1]} ({len(names)} kinds)"


def in_bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def _layout(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns that would be empty are left out."""
    shown = [index for index, name in enumerate(_HEADER) if name == "count" or any(row[index] for row in rows)]
    return columns([tuple(row[index] for index in shown) for row in (_HEADER, *rows)], right=_RIGHT)


def columns(rows: Sequence[tuple[str, ...]], right: Collection[str]) -> list[str]:
    """Lines with columns as wide as their widest cell; the first row is a header, `right` the names for numbers."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if name in right else cell.ljust(width)
            for cell, width, name in zip(cells, widths, rows[0], strict=True)
        ]
        return "  ".join(padded).rstrip()

    return [line(rows[0]), "  ".join("-" * width for width in widths), *map(line, rows[1:])]


def _notes(
    groups: Iterable[Group],
    declared: Mapping[str, Sequence[str]],
    counts: Mapping[tuple[str, str], tuple[int, int, str | None]],
    skipped: Mapping[str, Sequence[tuple[str, str]]],
    fused: Collection[str],
    refused: Mapping[tuple[str, str], tuple[int, str]],
) -> list[str]:
    recorded = {group[:2] for group in groups}
    notes = []
    for (key, label), (missed, failed, error) in counts.items():
        if failed:
            notes.append(f"{key}: {label!r} failed {_times(failed)}; the first time with {error}")
        if missed and (key, label) not in recorded:
            notes.append(f"{key}: {why_missed(label, missed, key in fused)}")
    for key, labels in declared.items():
        if not any((key, label) in recorded or (key, label) in counts or (key, label) in refused for label in labels):
            notes.append(f"{key}: {why_not_run(key)}")
    for (key, label), (count, why) in refused.items():
        notes.append(f"{key}: {label!r} was not stored {_times(count)}: {why}")
    for module, names in skipped.items():
        for qualname, name in names:
            notes.append(f"{module}:{qualname}: left alone, it does not bind {name!r}")
    return ["", *notes] if notes else []


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
