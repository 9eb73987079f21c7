"""What a picture is of, for its title and for the name of its file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from astcapture.values.record import Record
from astcapture.values.records import Records

#: What the kinds that are not of one value show.
_SHOWN = {
    "layers": "attention maps",
    "rollout": "attention rollout",
    "distance": "attention distance",
    "entropy": "attention entropy",
    "animate": "attention",
}
#: As many characters fit above a small picture.
_LONGEST_LINE = 40


class Chosen(NamedTuple):
    """What was selected of the run and is not in a layer and a call.

    Attributes:
        layers: the pattern of the layers.
        tags: the tags.
        label: the label, where the run has others of the same function.
        model: the model, where the run has several.
    """

    layers: str | None = None
    tags: Mapping[str, str] = {}
    label: str | None = None
    model: str | None = None


NOTHING_CHOSEN = Chosen()


def place_of(values: Records) -> str:
    """Where values are from: the layer, or the function where they are of several layers, and the call if it is one."""
    first = values.records[0]
    place = first.function if not first.layer or len(_layers(values)) > 1 else first.layer
    return f"{place}, call {first.call}" if _is_one_call(values) else place


def file_name(kind: str, values: Records, options: Mapping[str, Any], chosen: Chosen) -> str:
    """The name of a file, without its ending; another one for each head, query, patch and so on."""
    parts = [kind, place_of(values).replace("call ", "call"), *_chosen(values, chosen)]
    parts += [f"{name}{options[name]}" for name in ("batch", "head") if name in options]
    if "query" in options:
        # Signs are not part of the name, so that the number tells "," from ".".
        parts.append(f"query{_index(options)} {_query(options)}".rstrip())
    if "patch" in options:
        parts.append(f"patch {_patch(options['patch'])}")
    if "without" in options:
        parts.append(f"without {' '.join(options['without'])}")
    return re.sub(r"[^\w.-]+", "-", " ".join(parts)).rstrip("-")


def title_of(kind: str, values: Records, options: Mapping[str, Any], chosen: Chosen, takes: frozenset[str]) -> str:
    """What a picture shows, in one line or more."""
    first = values.records[0]
    several = len(_layers(values)) > 1 or not first.layer
    shown = [place_of(values)]
    if kind in _SHOWN and several and first.layer is not None:
        shown = [f"{_SHOWN[kind]} of {first.model or first.function}", f"{len(_layers(values))} layers"]
        shown += [f"call {first.call}"] if _is_one_call(values) else []
    elif kind in _SHOWN:
        shown = [f"{_SHOWN[kind]} of {shown[0]}"]
    calls = len({record.call for record in values.records})
    if kind in ("distance", "entropy") and calls > 1:
        shown.append(f"mean of {calls} calls")
    picked = [*_chosen(values, chosen)]
    if "batch" in options:
        picked.append(f"example {options['batch']}")
    if "head" in options:
        picked.append(f"head {options['head']}")
    elif "head" in takes and kind != "head" and _heads(first) > 1:
        picked.append(f"mean of {_heads(first)} heads")
    if "query" in options:
        picked.append(f"attention of {_query(options)!r}")
    if "patch" in options:
        patch = options["patch"]
        picked.append("attention of the CLS token" if patch == "cls" else f"attention of patch {_patch(patch)}")
    elif kind == "cls":
        picked.append("attention of the CLS token")
    if "without" in options:
        picked.append(f"without {' '.join(options['without'])}")
    return _in_lines([*shown, *picked])


def _in_lines(parts: Sequence[str]) -> str:
    lines = [parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + len(part) + 2 <= _LONGEST_LINE:
            lines[-1] += f", {part}"
        else:
            lines.append(part)
    return "\n".join(lines)


def _layers(values: Records) -> set[str | None]:
    return {record.layer for record in values.records}


def _is_one_call(values: Records) -> bool:
    calls = {record.call for record in values.records}
    return len(calls) == 1 and None not in calls


def _chosen(values: Records, chosen: Chosen) -> list[str]:
    """What was selected besides, where layer and call do not say it."""
    parts = [name for name in (chosen.model, chosen.label) if name]
    if chosen.layers and len(_layers(values)) > 1:
        parts.append(f"layers {chosen.layers}")
    if not _is_one_call(values):
        parts += [f"{name}={value}" for name, value in chosen.tags.items()]
    return parts


def _heads(record: Record) -> int:
    shape = record.form().shape
    return shape[-3] if shape is not None and len(shape) > 2 else 1


def _index(options: Mapping[str, Any]) -> int | str:
    query, tokens = options["query"], options.get("tokens", [])
    if isinstance(query, int):
        return query % len(tokens) if tokens else query
    return tokens.index(query) if query in tokens else ""


def _query(options: Mapping[str, Any]) -> str:
    index, tokens = _index(options), options.get("tokens", [])
    return str(tokens[index] if isinstance(index, int) and 0 <= index < len(tokens) else options["query"])


def _patch(patch: Any) -> str:
    return ",".join(map(str, patch)) if isinstance(patch, tuple) else str(patch)
