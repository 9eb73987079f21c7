"""The differences of values that were captured in the same places, pair by pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from astcapture.errors import CaptureError
from astcapture.values.record import Record, shape_of

_BY_HAND = "to subtract values of different places, take the values themselves: a[0] - b[0]"


def differences(a: Sequence[Record], b: Sequence[Record]) -> list[Record]:
    """Subtract the values of `b` from those of `a`, paired in order; what is known of each is that of `a`.

    Raises:
        CaptureError: records that do not pair, or values that have no difference.
    """
    check_pairs(a, b)
    found = []
    for number, (one, other) in enumerate(zip(a, b, strict=True)):
        known = {field.name: getattr(one, field.name) for field in fields(Record) if field.name != "value"}
        found.append(Record(_difference(one.value, other.value, f"pair {number}, {_place(one)}"), **known))
    return found


def check_pairs(a: Sequence[Record], b: Sequence[Record]) -> None:
    """Pass where as many records are of the same functions, labels, layers and order of calls, in equal shapes.

    The numbers of the calls may differ: of two executions of one model, the second begins where the first ended.

    Raises:
        CaptureError: the first pair that does not fit, and how.
    """
    if len(a) != len(b):
        lesser = "pick as many of both with select(layer=...), select(call=...) or select(label=...)"
        raise CaptureError(f"the Records hold {len(a)} and {len(b)} values, which do not pair: {lesser}")
    calls = _steps(a), _steps(b)
    for number, (one, other) in enumerate(zip(a, b, strict=True)):
        for name, what in (("key", "function"), ("label", "label"), ("layer", "layer")):
            here, there = getattr(one, name), getattr(other, name)
            if here != there:
                raise CaptureError(
                    f"pair {number} is of the {what} {here!r} and {there!r}, which is not the same: {_BY_HAND}"
                )
        if calls[0][number] != calls[1][number]:
            raise CaptureError(
                f"pair {number}, layer {one.layer!r}, is of call {one.call} and call {other.call}, which are not the "
                "same steps counted from the first: pick the calls of both with select(call=...)"
            )
        shapes = one.form().shape, other.form().shape
        if shapes[0] != shapes[1]:
            raise CaptureError(
                f"pair {number}, {_place(one)}, has the shapes {shapes[0]} and {shapes[1]}: a difference needs equal "
                "ones, of the same input"
            )


def _steps(records: Sequence[Record]) -> list[int | None]:
    """The call of each record, counted from the first of all."""
    known = [record.call for record in records if record.call is not None]
    first = min(known, default=0)
    return [None if record.call is None else record.call - first for record in records]


def _place(record: Record) -> str:
    return f"layer {record.layer!r}" if record.layer else record.key


def _difference(one: Any, other: Any, where: str) -> Any:
    try:
        if getattr(one, "device", None) != getattr(other, "device", None):
            other = other.to(one.device)
        return _signed(one) - _signed(other)
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        kinds = " and ".join(dict.fromkeys(type(value).__name__ for value in (one, other)))
        raise CaptureError(f"{where}: there is no difference of {kinds} ({error})") from error


def _signed(value: Any) -> Any:
    """Booleans and unsigned numbers as 64-bit integers, whose difference may be negative."""
    dtype = str(getattr(value, "dtype", "")).removeprefix("torch.")
    if shape_of(value) is None or not (dtype == "bool" or dtype.startswith("uint")):
        return value
    return value.long() if hasattr(value, "long") else value.astype("int64")
