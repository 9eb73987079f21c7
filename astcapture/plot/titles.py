"""What stands above a picture: the layer, where it is known, and what was picked."""

from __future__ import annotations

from typing import Any

from astcapture.values.record import Record
from astcapture.values.records import Records


def layer_of(values: Any) -> str:
    """Return the layer, and the call from the second on, of one record; empty where it is not known.

    >>> layer_of(Record(0, "attn", "m", "f", 1, layer="blocks.3.attn", call=2)), layer_of([[1.0]])
    ('layer blocks.3.attn, call 2', '')
    """
    record = values.records[0] if isinstance(values, Records) and len(values) == 1 else values
    if not isinstance(record, Record) or not record.layer:
        return ""
    return f"layer {record.layer}, call {record.call}" if record.call else f"layer {record.layer}"


def title_of(values: Any, title: str | None, *parts: str) -> str | None:
    """Return the title that was given, else the layer and the parts that are not empty; None where there is none.

    >>> title_of(Record(0, "attn", "m", "f", 1, layer="blocks.3.attn"), None, "head 2")
    'layer blocks.3.attn, head 2'
    """
    if title is not None:
        return title
    return ", ".join(part for part in (layer_of(values), *parts) if part) or None
