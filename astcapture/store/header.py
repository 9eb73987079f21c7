"""The header of a shard: tables of values that repeat, and columns with one number per record.

With columns, opening a shard parses a few lists of numbers instead of one dict per record.
"""

from __future__ import annotations

import json
import reprlib
import zlib
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from astcapture.store.encode import Encoded, nbytes
from astcapture.store.raw import Damaged, Form

VERSION = 1
#: The keys of `__metadata__`.
TEXT, CHECKSUM = "astcapture", "checksum"

#: ``(module, qualname, label, lineno)``, and in a notebook the number of the cell.
Site = tuple[str, str, str, int] | tuple[str, str, str, int, int]


class Entry(Protocol):
    """The data that is stored for one captured value; `Record` is such a type."""

    @property
    def value(self) -> Any: ...
    @property
    def label(self) -> str: ...
    @property
    def module(self) -> str: ...
    @property
    def function(self) -> str: ...
    @property
    def lineno(self) -> int: ...
    @property
    def layer(self) -> str | None: ...
    @property
    def call(self) -> int | None: ...
    @property
    def rank(self) -> int: ...
    @property
    def thread(self) -> int: ...
    @property
    def tags(self) -> Mapping[str, Any]: ...
    @property
    def model(self) -> str | None: ...
    @property
    def cell(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Group:
    """The properties that several records share."""

    site: Site
    layer: str | None
    rank: int
    thread: int
    tags: Mapping[str, Any]
    form: Form
    model: str | None = None

    @property
    def key(self) -> str:
        return f"{self.site[0]}:{self.site[1]}"


@dataclass(frozen=True, slots=True)
class Gradient:
    """The gradient of a record, named by its number in the process; the record may be in an earlier shard."""

    number: int
    form: Form
    sum: int


@dataclass(frozen=True)
class Header:
    """The parsed header of a shard; see docs/store.md."""

    run: Mapping[str, Any]
    first: int
    nbytes: int
    groups: Sequence[Group]
    group: Sequence[int]
    call: Sequence[int]
    sums: Sequence[int]
    values: Mapping[int, Any] = field(default_factory=dict)
    gradients: Sequence[Gradient] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.group)


class _Table:
    """Numbers rows: equal rows get the same number."""

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self._numbers: dict[Any, int] = {}

    def number(self, row: Any) -> int:
        found = self._numbers.get(row)
        if found is None:
            found = self._numbers[row] = len(self.rows)
            self.rows.append(row)
        return found


def header_text(
    entries: Sequence[tuple[Entry, Encoded]],
    sums: Sequence[int],
    gradients: Sequence[Gradient],
    nbytes: int,
    run: Mapping[str, Any],
    first: int,
    notes: Mapping[str, Any],
) -> str:
    """The JSON text of a header."""
    sites, layers, models, forms, groups = _Table(), _Table(), _Table(), _Table(), _Table()
    tags: list[dict[str, Any]] = []
    # The records of a block share one mapping. All entries are alive, so no two mappings have the same id.
    seen: dict[int, int] = {}
    group, call, values = [], [], []
    for number, (entry, encoded) in enumerate(entries):
        tag = seen.get(id(entry.tags))
        if tag is None:
            tag = seen[id(entry.tags)] = len(tags)
            tags.append(plain_tags(entry.tags))
        cell = () if entry.cell is None else (entry.cell,)
        site = sites.number((entry.module, entry.function, entry.label, entry.lineno, *cell))
        form, model = forms.number(encoded.form), models.number(entry.model)
        row = (site, layers.number(entry.layer), entry.rank, entry.thread, tag, form, model)
        group.append(groups.number(row))
        call.append(-1 if entry.call is None else entry.call)
        if encoded.text is not None:
            values.append(f"[{number},{encoded.text}]")
    plain = {
        "version": VERSION,
        "run": run,
        "first": first,
        "bytes": nbytes,
        "sites": sites.rows,
        "layers": layers.rows,
        "models": models.rows,
        "tags": tags,
        "forms": forms.rows,
        "groups": groups.rows,
        "group": group,
        "call": call,
        "sums": sums,
        "gradients": [[one.number, one.form, one.sum] for one in gradients],
        "notes": notes,
    }
    text = json.dumps(plain, separators=(",", ":"), allow_nan=False)
    return f'{text[:-1]},"values":[{",".join(values)}]}}'


def plain_tags(tags: Mapping[str, Any]) -> dict[str, Any]:
    """Tags as JSON; a tag that JSON cannot represent becomes its repr."""
    return {str(name): _plain(value) for name, value in tags.items()}


def _plain(value: Any) -> Any:
    try:
        if json.loads(json.dumps(value, allow_nan=False)) == value:
            return value
    except Exception:
        pass  # a tag can be any object, and its methods can raise
    return reprlib.repr(value)


def metadata(text: str) -> dict[str, str]:
    """The `__metadata__` of a shard with this header."""
    return {TEXT: text, CHECKSUM: f"{zlib.crc32(text.encode('ascii')):08x}"}


def parse(found: Any) -> Header:
    """Read `__metadata__`.

    Raises:
        Damaged: `metadata` did not write it.
    """
    if not isinstance(found, dict) or not isinstance(found.get(TEXT), str):
        raise Damaged("it is a safetensors file that astcapture did not write")
    text = found[TEXT]
    if found.get(CHECKSUM) != f"{zlib.crc32(text.encode('utf-8', 'replace')):08x}":
        raise Damaged("the checksum of its header does not match")
    plain = json.loads(text)
    if plain["version"] != VERSION:
        raise Damaged(f"its format has version {plain['version']}, but this astcapture reads version {VERSION}")
    run, notes = plain["run"], plain["notes"]
    sites, layers, tags = [tuple(site) for site in plain["sites"]], plain["layers"], plain["tags"]
    forms = [_form(form) for form in plain["forms"]]
    _expect(isinstance(run, dict) and isinstance(notes, dict))
    _expect(all(tuple(map(type, site)) in (_SITE, (*_SITE, int)) for site in sites))
    # Runs stored by older versions have no model names.
    models = plain.get("models", [None])
    _expect(all(name is None or type(name) is str for name in (*layers, *models)))
    _expect(all(type(tag) is dict for tag in tags))
    _expect(all(type(number) is int and number >= 0 for group in plain["groups"] for number in group))
    _expect(all(type(number) is int and number >= 0 for number in (plain["first"], plain["bytes"])))
    groups = [
        Group(sites[site], layers[layer], rank, thread, tags[tag], forms[form], models[model[0] if model else 0])
        for site, layer, rank, thread, tag, form, *model in plain["groups"]
    ]
    header = Header(
        run,
        plain["first"],
        plain["bytes"],
        groups,
        array("q", plain["group"]),
        array("q", plain["call"]),
        array("Q", plain["sums"]),
        dict(plain["values"]),
        [Gradient(number, _form(form), total) for number, form, total in plain["gradients"]],
        notes,
    )
    _expect(len(header.group) == len(header.call))
    _expect(not header.group or 0 <= min(header.group) <= max(header.group) < len(groups))
    return header


#: The types of a site's parts.
_SITE = (str, str, str, int)


def _expect(holds: bool) -> None:
    if not holds:
        raise Damaged("its header contains invalid data")


def _form(plain: Any) -> Form:
    """Read a form."""
    form = tuple(plain)
    if form[0] == "json":
        _expect(len(form) == 2 and type(form[1]) is int and form[1] >= 0)
        return form
    library, dtype, shape = form[:3]
    _expect(library in ("torch", "numpy") and type(dtype) is str and type(shape) is list)
    _expect(all(type(size) is int and size >= 0 for size in shape))
    nbytes(form)  # raises for an unknown dtype
    return (library, dtype, tuple(shape), *form[3:])
