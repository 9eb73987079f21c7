"""The table that `Cache.summary` prints, and the sentences below it that say why something is empty."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence

from astcapture.targets.map_names import is_like_a_map
from astcapture.values.html import Summary, Table
from astcapture.values.lines import shown_line
from astcapture.values.notes import Notes
from astcapture.values.record import Record, in_cell
from astcapture.values.why_empty import WHY_NOT_CALLED

_HEADER = ("function", "label", "cell", "line", "model", "layer", "count", "shape", "dtype", "bytes", "missed")
#: The columns of numbers.
RIGHT = frozenset({"count", "bytes", "missed"})
#: How to see all rows of a table that a notebook shows.
ALL_OF_IT = "print its summary() to see all"

#: A function, a label, the cell where several have defined it, the line where one execution takes several values of it,
#: the model, and the layer.
Group = tuple[str, str, "int | None", "int | None", "str | None", "str | None"]
#: Says why a label of a function has no value.
Why = Callable[[str, str], str]


def summarise(
    records: Iterable[Record],
    notes: Notes,
    why: Why,
    *,
    also: Sequence[str] = (),
    everything: bool = False,
    no_function: str | None = None,
) -> Summary:
    """Lay out what was captured.

    Args:
        records: all values.
        notes: what is known besides.
        why: says why a label of a function has no value.
        also: what else is to be said below the table.
        everything: list the functions of recipes that left nothing too, and maps that were not bound where another
            label of the same function holds the map.
        no_function: why no function is captured, where more is known than that none is.
    """
    records = list(records)
    apart = _taken_apart(records) | notes.calls.keys()
    again = _defined_again(records)
    several = len({record.model for record in records if record.model is not None}) > 1
    groups: dict[Group, list[Record]] = {}
    for record in records:
        line = record.lineno if (record.key, record.label) in apart else None
        model = record.model if several else None
        cell = record.cell if record.key in again else None
        groups.setdefault((record.key, record.label, cell, line, model, record.layer), []).append(record)
    groups_of: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        groups_of.setdefault(group[:2], []).append(group)
    recorded = set(groups_of)
    hidden = set() if everything else hidden_labels(recorded, notes)
    rows: list[tuple[str, ...]] = []
    for where in _every_label(groups, notes):
        if where in hidden:
            continue
        missed = notes.counts.get(where, (0, 0, None))[0]
        for index, group in enumerate(groups_of.get(where) or [(*where, None, None, None, None)]):
            rows.append(_row(group, groups.get(group, []), missed if index == 0 else 0, notes.calls.get(where, ())))
    sentences = _sentences(also, recorded, hidden, notes, why)
    if rows:
        header, *rows = _without_empty_columns(rows)
        return as_summary(Table(header, rows, right=RIGHT, sentences=sentences, all_of_it=ALL_OF_IT))
    if not notes.declared and not also:
        nothing = "astcapture: nothing was captured, because no function was rewritten. " + (
            "The functions that a wildcard matches do not bind the name."
            if any(notes.skipped.values())
            else no_function or "Is the module in the targets, and does the program import it?"
        )
    else:
        in_blocks = any("blocks, which hold them" in sentence for sentence in sentences)
        nothing = f"astcapture: nothing was captured{' outside of blocks' if in_blocks else ''}."
    return as_summary(Table(caption=nothing, sentences=sentences, all_of_it=ALL_OF_IT))


def as_summary(table: Table) -> Summary:
    """The text of a table, which notebooks show as the table."""
    lines = columns([tuple(table.header), *map(tuple, table.rows)], right=RIGHT) if table.rows else [table.caption]
    return Summary("\n".join([*lines, *([""] * bool(table.sentences)), *table.sentences]), table)


def hidden_labels(recorded: Collection[tuple[str, str]], notes: Notes) -> set[tuple[str, str]]:
    """What is not worth a row: of recipes, functions that left nothing; and maps that another label of theirs holds."""
    functions = {key for key, _ in recorded}
    with_a_map = {key for key, label in recorded if is_like_a_map(label)}
    hidden = {
        (key, label)
        for key in with_a_map
        for label in notes.declared.get(key, ())
        if (key, label) not in recorded and is_like_a_map(label) and _was_missed_alone(key, label, notes)
    }
    for key in notes.recipes:
        for label in notes.declared.get(key, ()):
            missed, failed, _ = notes.counts.get((key, label), (0, 0, None))
            if (key, label) in recorded or failed or (key, label) in notes.refused:
                continue
            if key in functions or not missed:
                hidden.add((key, label))
    return hidden


def _was_missed_alone(key: str, label: str, notes: Notes) -> bool:
    """Whether a label has no value because no return that ran binds it, and for no other reason."""
    missed, failed, _ = notes.counts.get((key, label), (0, 0, None))
    return bool(missed) and not failed and (key, label) not in notes.refused


def _every_label(groups: Iterable[Group], notes: Notes) -> list[tuple[str, str]]:
    listed = [(key, label) for key, labels in notes.declared.items() for label in labels]
    return list(dict.fromkeys([*listed, *(group[:2] for group in groups), *notes.counts]))


def _taken_apart(records: Iterable[Record]) -> set[tuple[str, str]]:
    """The labels, with their functions, of which one execution left several values: those of each line are apart."""
    seen, apart = set(), set()
    for record in records:
        where = (record.key, record.label, record.model, record.layer, record.call, record.thread, record.rank)
        if where in seen:
            apart.add((record.key, record.label))
        seen.add(where)
    return apart


def _defined_again(records: Iterable[Record]) -> set[str]:
    """The functions that several cells of a notebook have defined, one after the other."""
    cells: dict[str, set[int | None]] = {}
    for record in records:
        cells.setdefault(record.key, set()).add(record.cell)
    return {key for key, found in cells.items() if len(found) > 1}


def _row(group: Group, records: Sequence[Record], missed: int, calls: Sequence[tuple[int, str]]) -> tuple[str, ...]:
    key, label, cell, line, model, layer = group
    forms = [record.form() for record in records]
    shapes = list(dict.fromkeys(str(form.shape) for form in forms if form.shape is not None))
    dtypes = list(dict.fromkeys(form.dtype for form in forms))
    size = sum(form.nbytes for form in forms)
    return (
        key,
        label,
        in_cell(cell) if cell is not None else "",
        _source(key, line, calls),
        model or "",
        layer or "",
        str(len(records)),
        some(shapes),
        some(dtypes),
        in_bytes(size) if size else "",
        str(missed) if missed else "",
    )


def _source(key: str, line: int | None, calls: Sequence[tuple[int, str]]) -> str:
    """The line where values were taken, with the calls there, or else with what stands on it."""
    found = list(dict.fromkeys(f"{at}: {call}" for at, call in calls if line in (at, None)))
    if found:
        return some(found)
    return shown_line(key.partition(":")[0], line) if line is not None else ""


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


def _without_empty_columns(rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The header and the rows."""
    shown = [index for index, name in enumerate(_HEADER) if name == "count" or any(row[index] for row in rows)]
    return [tuple(row[index] for index in shown) for row in (_HEADER, *rows)]


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


def _sentences(
    also: Sequence[str],
    recorded: Collection[tuple[str, str]],
    hidden: Collection[tuple[str, str]],
    notes: Notes,
    why: Why,
) -> list[str]:
    """What stands below the table."""
    lines = [f"edited: {edit}: the values are not the model's own" for edit in notes.edits]
    functions = {key for key, _ in recorded}
    for key, labels in notes.declared.items():
        empty = [label for label in labels if (key, label) not in recorded and (key, label) not in hidden]
        reasons = {label: why(key, label) for label in empty if (key, label) not in notes.refused}
        for reason in dict.fromkeys(reasons.values()):
            if reason.startswith(WHY_NOT_CALLED) and key in functions:
                continue  # it was called: another label of it has values
            lines.append(f"{key}: {reason}")
    lines += also
    for (key, label), (_, failed, error) in notes.counts.items():
        if failed and ((key, label) in recorded or label not in notes.declared.get(key, ())):
            lines.append(f"{key}: {label!r} failed {_times(failed)}; the first time with {error}")
    for (key, label), (count, reason) in notes.refused.items():
        lines.append(f"{key}: {label!r} was not stored {_times(count)}: {reason}")
    lines += _of_recipes(functions, hidden, notes, why)
    for module, names in notes.skipped.items():
        for qualname, name in names:
            lines.append(f"{module}:{qualname}: skipped, it does not bind {name!r}")
    return lines


def _of_recipes(functions: Collection[str], hidden: Collection[tuple[str, str]], notes: Notes, why: Why) -> list[str]:
    """A line for each recipe whose functions did not all leave something."""
    lines = []
    for recipe in dict.fromkeys(notes.recipes.values()):
        empty = [key for key, one in notes.recipes.items() if one == recipe and key not in functions]
        empty = [key for key in empty if all((key, label) in hidden for label in notes.declared.get(key, ()))]
        if not empty:
            continue
        many = f"{len(empty)} of its functions" if len(empty) > 1 else f"its function {empty[0]}"
        if any(one == recipe and key in functions for key, one in notes.recipes.items()):
            them = "them" if len(empty) > 1 else "it"
            lines.append(f"{recipe}: {many} recorded nothing; summary(all=True) lists {them}")
        else:
            reasons = Counter(why(key, label) for key in empty for label in notes.declared[key][:1])
            # One that says more than that they were not called, if there is any.
            told = max(reasons, key=lambda reason: (not reason.startswith(WHY_NOT_CALLED), reasons[reason]))
            lines.append(f"{recipe}: {many} recorded nothing: {told}")
    return lines


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
