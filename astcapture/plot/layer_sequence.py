"""Several layers' attention, however it came: each with its name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from astcapture.plot.arrays import FloatArray, Plottable, as_array, why_none
from astcapture.plot.attention_maps import layer_maps
from astcapture.plot.one_execution import check_if_records, check_one_execution
from astcapture.values.records import Records

#: What the functions that draw a whole model accept.
Layers = Mapping[Any, Plottable] | Sequence[Plottable] | Plottable

ACCEPTED = (
    "Records with one value for each layer, a list or dict of one array for each layer, or an array of shape "
    "(layers, heads, queries, keys) or (layers, batch, heads, queries, keys)"
)


class Layer(NamedTuple):
    """The attention of one layer."""

    name: str
    #: (heads, queries, keys), or (batch, heads, queries, keys) before an example is picked.
    maps: FloatArray


def one_example(layers: Sequence[Layer], batch: int | None) -> list[Layer]:
    """Pick the example of each layer; errors name the layer."""
    picked = []
    for layer in layers:
        try:
            picked.append(layer._replace(maps=layer_maps(layer.maps, batch=batch)))
        except ValueError as error:
            raise ValueError(f"layer {layer.name}: {error}") from None
    return picked


def layer_sequence(values: Layers) -> list[Layer]:
    """Return the layers in the order they came in, from the first.

    Raises:
        CaptureError: Records that are not one value for each layer, of one label, model and call.
        ValueError: nothing in it, or another type or shape.

    >>> import numpy as np
    >>> [layer.name for layer in layer_sequence(np.zeros((2, 4, 9, 9)))]
    ['0', '1']
    """
    if isinstance(values, Records):
        layers = _of_records(values)
    elif isinstance(values, Mapping):
        if all(isinstance(one, Records) for one in values.values()):
            check_one_execution([record for one in values.values() for record in cast("Records", one).records])
        layers = [Layer(str(name), as_array(_only(one))) for name, one in values.items()]
    elif isinstance(values, (list, tuple)):
        check_if_records(values)
        layers = [Layer(str(number), as_array(one)) for number, one in enumerate(values)]
    else:
        layers = _of_array(as_array(cast("Plottable", values)))
    if not layers:
        raise ValueError(f"there is no layer to draw; accepted are {ACCEPTED}")
    return layers


def short_names(names: Sequence[str]) -> tuple[list[str], str]:
    """Return what tells the names apart, and the pattern of which it is the star.

    >>> short_names(["blocks.0.attn", "blocks.1.attn"])
    (['0', '1'], 'blocks.*.attn')
    >>> short_names(["0", "1"])
    (['0', '1'], '')
    """
    parts = [name.split(".") for name in names]
    shortest = min(map(len, parts))
    before = _alike(parts, range(shortest - 1))
    after = _alike([part[::-1] for part in parts], range(shortest - 1 - before))
    if len(names) < 2 or before + after == 0:
        return list(names), ""
    first = parts[0]
    pattern = ".".join([*first[:before], "*", *first[len(first) - after :]])
    return [".".join(part[before : len(part) - after]) for part in parts], pattern


def _alike(parts: Sequence[Sequence[str]], places: Iterable[int]) -> int:
    count = 0
    for place in places:
        if len({part[place] for part in parts}) > 1:
            break
        count += 1
    return count


def _of_records(records: Records) -> list[Layer]:
    if len(records) == 0:
        raise ValueError(f"there is nothing to draw: {why_none(records)}")
    check_one_execution(records.records)
    return [
        # The outermost module's own path is empty.
        Layer(str(number) if record.layer is None else record.layer or record.function, as_array(value))
        for number, (record, value) in enumerate(zip(records.records, records, strict=True))
    ]


def _only(values: Any) -> Any:
    """The one value of a sequence of one: `by_layer()` has Records, other mappings lists."""
    return values[0] if isinstance(values, (list, tuple)) and len(values) == 1 else values


def _of_array(array: FloatArray) -> list[Layer]:
    if array.ndim not in (4, 5) or array.size == 0:
        raise ValueError(f"attention has shape {array.shape}; accepted are {ACCEPTED}")
    return [Layer(str(number), maps) for number, maps in enumerate(array)]
