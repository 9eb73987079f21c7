"""The values of a stored run that options select, and what else options have in common."""

from __future__ import annotations

import difflib
import fnmatch
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from astcapture.errors import CaptureError


def grid_option(context: click.Context, option: click.Parameter, text: str | None) -> tuple[int, int] | None:
    """Read ``14x14``."""
    if text is None:
        return None
    rows, cross, columns = text.partition("x")
    if not (cross and rows.isdecimal() and columns.isdecimal()):
        raise click.BadParameter(f"{text!r} is not ROWSxCOLUMNS, 14x14 for instance")
    return int(rows), int(columns)


def tags_option(context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    """Read ``image=dog.jpg``."""
    tags = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise click.BadParameter(f"{text!r} is not KEY=VALUE, image=dog.jpg for instance")
        tags[name] = value
    return tags


def tokens_of(text: str) -> list[str]:
    """The tokens of an option: separated by spaces, or the lines of a file."""
    path = Path(text)
    try:
        is_file = path.is_file()
    except OSError:  # too long for the name of a file
        is_file = False
    return path.read_text(encoding="utf-8").splitlines() if is_file else text.split()


def load_run(folder: str) -> Any:
    """Load a run; messages about damaged files go to standard error."""
    import astcapture

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", astcapture.CaptureWarning)
        stored = astcapture.load(folder)
    for warning in said:
        click.echo(f"astcapture: {warning.message}", err=True)
    return stored


def select_records(stored: Any, folder: str, function: str | None, tags: dict[str, str], **filters: Any) -> Any:
    """The Records that match every option.

    Raises:
        CaptureError: nothing matches; what there is instead.
    """
    try:
        records = stored.select() if function is None else stored[function]
    except KeyError as error:
        raise CaptureError(f"{folder}: {error}") from error
    wanted = {name: value for name, value in filters.items() if value is not None}
    # Tags first: layers and calls are counted among the values that are left.
    found = _tagged(records, tags).select(**_counted(wanted, records))
    if not found:
        asked = " ".join(
            [f"--{name} {value}" for name, value in wanted.items()]
            + [f"--tag {name}={value}" for name, value in tags.items()]
        )
        raise CaptureError(
            f"{folder}: nothing matches {asked}; {_close(wanted, records)}{_inventory(records.records)}"
            if records
            else f"{folder}: there is no value{'' if function is None else f' of {function}'}"
            + (f"; {_inventory(stored.select().records)}" if stored.select() else "")
        )
    return found


def listed(what: str, values: Sequence[Any]) -> str:
    """Some values in words, each once."""
    names = list(dict.fromkeys("(the model)" if value == "" else str(value) for value in values))
    return f"{what} there: {', '.join(names[:12])}" + (", ..." if len(names) > 12 else "")


def _close(wanted: dict[str, Any], records: Any) -> str:
    """What may have been meant by a layer or a label that there is not."""
    for name in ("layer", "label"):
        there = [value for value in {getattr(record, name): None for record in records.records} if value]
        asked = wanted.get(name)
        if isinstance(asked, str) and not any(fnmatch.fnmatchcase(one, asked) for one in there):
            close = difflib.get_close_matches(asked, there, n=3)
            if close:
                return f"did you mean --{name} {' or '.join(close)}? "
    return ""


def _counted(wanted: dict[str, Any], records: Any) -> dict[str, Any]:
    """The filters, with a layer that is given by number as a number, unless it is the name of a layer."""
    layer = wanted.get("layer", "")
    is_number = layer.removeprefix("-").isdecimal() and layer not in {record.layer for record in records.records}
    return wanted | {"layer": int(layer)} if is_number else wanted


def _tagged(records: Any, tags: dict[str, str]) -> Any:
    """The records with all these tags, whatever their type, compared as text with wildcards."""
    from astcapture.values.records import Records

    def has(record: Any) -> bool:
        return all(
            name in record.tags and fnmatch.fnmatchcase(str(record.tags[name]), wanted) for name, wanted in tags.items()
        )

    return Records([record for record in records.records if has(record)])


def _inventory(records: Sequence[Any]) -> str:
    """What there is to select from."""
    tags = [f"{name}={value}" for record in records for name, value in record.tags.items()]
    calls = {record.call for record in records if record.call is not None}
    parts = [
        listed("functions", [record.function for record in records]),
        listed("labels", [record.label for record in records]),
        listed("layers", [record.layer for record in records]),
        f"calls there: {min(calls)} to {max(calls)}" if calls else "",
        listed("tags", tags) if tags else "no tags",
    ]
    return "; ".join(filter(None, parts))
