"""Whether values are one execution of all layers of one model, which is what a picture of a whole model shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from astcapture.errors import CaptureError
from astcapture.values.record import Record
from astcapture.values.records import Records

#: What to do where nothing else tells layers from executions.
_BY_HAND = "where each value is one layer of one execution, in order, pass list(records)"


def check_one_execution(records: Sequence[Record]) -> None:
    """Pass where there is one value for each layer, of one label, one model and one call.

    Raises:
        CaptureError: what was given instead, and what to select.
    """
    _check_labels(records)
    _check_models(records)
    outside = sum(record.layer is None for record in records)
    if outside > 1:
        raise CaptureError(
            f"{outside} of the values were captured outside any module, so that layers cannot be told from executions: "
            + _BY_HAND
        )
    counts = Counter(record.layer for record in records)
    if len(counts) < len(records):
        raise CaptureError(_why_several(records, counts))
    calls = _apart(record.call for record in records)
    if len(calls) > 1:
        one, other = (next(record for record in records if record.call == call) for call in calls[:2])
        raise CaptureError(
            f"layer {one.layer!r} is of call {one.call} and layer {other.layer!r} of call {other.call}, which are no "
            f"one execution of the model: record one by itself, with astcapture.recording(); or {_BY_HAND}"
        )


def check_many_executions(records: Sequence[Record]) -> None:
    """Pass where there is one value for each layer in each of several calls, of one label and one model.

    Raises:
        CaptureError: what was given instead, and what to select.
    """
    places = {(record.layer, record.call) for record in records}
    layers, calls = {layer for layer, _ in places}, {call for _, call in places}
    known = None not in layers and None not in calls
    if not known or len(places) < len(records) or len(places) < len(layers) * len(calls):
        check_one_execution(records)  # says what is wrong
    _check_labels(records)
    _check_models(records)


def check_if_records(values: Any) -> None:
    """`check_one_execution` of `Records`, or of several `Record`; anything else says nothing of executions."""
    if isinstance(values, Records):
        check_one_execution(values.records)
    elif isinstance(values, (list, tuple)) and values and all(isinstance(one, Record) for one in values):
        check_one_execution(values)


def check_if_steps(values: Any) -> None:
    """Pass where `Records` are the steps of one layer, one after the other; anything else says nothing of steps.

    Raises:
        CaptureError: they are not; what to select.
    """
    if not isinstance(values, Records) or len(values) == 0:
        return
    check_one_label(values)
    check_steps(values)
    layers = _apart(record.layer for record in values.records)
    if len(layers) > 1:
        raise CaptureError(f"the values are of the layers {_listed(layers)}: {_pick('layer', layers)}")


def check_one_label(records: Records) -> None:
    """Raise a CaptureError where values have several labels, or are of several models."""
    _check_labels(records.records)
    _check_models(records.records)


def check_steps(records: Records) -> None:
    """Pass where the values of one layer are its steps, one after the other, in one process and one function.

    Raises:
        CaptureError: they are not; what to select.
    """
    for name, said in (("rank", "processes"), ("key", "functions")):
        apart = _apart(getattr(record, name) for record in records.records)
        if len(apart) > 1:
            raise CaptureError(f"the values are of the {said} {_listed(apart)}: {_pick(name, apart)}")


def _check_labels(records: Sequence[Record]) -> None:
    labels = _apart(record.label for record in records)
    if len(labels) > 1:
        raise CaptureError(
            f"the Records hold values labelled {', '.join(map(repr, labels))}: pick one, records[{labels[0]!r}]"
        )


def _check_models(records: Sequence[Record]) -> None:
    models = _apart(getattr(record, "model", None) for record in records)
    if len(models) > 1:
        raise CaptureError(f"the values are of {_listed(models)}, {len(models)} models: {_pick('model', models)}")


def _why_several(records: Sequence[Record], counts: Counter[str | None]) -> str:
    """What tells the values of a layer that has several apart, and how to pick one for each layer."""
    layer, times = counts.most_common(1)[0]
    those = [record for record in records if record.layer == layer]
    what = f"layer {layer!r} has {times} values"
    for name, said in (("rank", "processes"), ("key", "functions"), ("thread", "threads")):
        apart = _apart(getattr(record, name) for record in those)
        if len(apart) > 1:
            return f"{what}, of the {said} {_listed(apart)}: {_pick(name, apart)}"
    calls = _apart(record.call for record in those)
    if len(calls) < times:
        within = "one call" if len(calls) == 1 else f"{len(calls)} calls"
        lines = _apart(record.lineno for record in those)
        if len(lines) > 1:
            return f"{what} in {within}, of the lines {_listed(lines)}: {_pick('lineno', lines)}"
        return f"{what} in {within}, all of line {lines[0]}: pass a list of the values to be drawn"
    if len(counts) == 1:
        return (
            f"all {times} values are of layer {layer!r}, in the calls {_listed(calls)}: "
            f"these may be executions of it, or layers that go by one name; {_BY_HAND}"
        )
    of_each = {one: {record.call for record in records if record.layer == one} for one in counts}
    if any(of != set(calls) for of in of_each.values()):
        other = next(one for one, of in of_each.items() if of != set(calls))
        return (
            f"{what} and layer {other!r} has {counts[other]}, so that no call is one execution of the model "
            "(recording may have stopped at the memory limit: see summary()): "
            "record one execution by itself, with astcapture.recording(), or pick some layers by select(layer=...)"
        )
    return (
        f"each of the {len(counts)} layers has {times} values, in the calls {_listed(calls)}: pick one execution, "
        f"records.select(call={calls[0]}), which is one value for each of these {len(counts)} layers"
    )


def _pick(name: str, apart: Sequence[Any]) -> str:
    return f"pick one, records.select({name}={apart[0]!r})"


def _apart(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


def _listed(values: Sequence[Any]) -> str:
    """Some values in words: ``0 and 1``, ``0, 2 and 5``, ``0 to 7``, ``1, 3, 4, …``."""
    if len(values) > 3:
        numbers = all(type(value) is int for value in values)
        if numbers and list(values) == list(range(values[0], values[0] + len(values))):
            return f"{values[0]} to {values[-1]}"
        return ", ".join([*map(repr, values[:3]), "…"])
    words = [repr(value) for value in values]
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
