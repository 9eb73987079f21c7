"""A number for each head of each layer, in one execution of a model or in many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from astcapture.plot.arrays import FloatArray, as_array
from astcapture.plot.attention_maps import layer_maps
from astcapture.plot.layer_sequence import Layer, Layers, layer_sequence
from astcapture.plot.one_execution import check_many_executions
from astcapture.values.records import Records


@dataclass(frozen=True)
class Measured:
    """What was measured of the layers of a model."""

    #: Of the layers.
    names: list[str]
    #: (calls, heads) for each layer.
    values: list[FloatArray]
    #: The numbers of the calls; those of one execution are not asked for.
    calls: list[int]

    @property
    def several(self) -> bool:
        """Whether there is more than one call."""
        return len(self.calls) > 1

    def means(self) -> list[FloatArray]:
        """For each layer (heads,), the mean over the calls."""
        return [one.mean(axis=0) for one in self.values]

    def spreads(self) -> list[FloatArray]:
        """For each layer (heads,), the standard deviation over the calls."""
        return [one.std(axis=0) for one in self.values]


def measure(attention: Layers, formula: Callable[[FloatArray], FloatArray], batch: int | None) -> Measured:
    """Measure one execution of the layers, or each of several where `attention` is `Records` of several calls.

    One value is read at a time, so that a stored run may be larger than memory.

    Raises:
        CaptureError: Records that are not one value for each layer and call.
        ValueError: another shape, or what the formula refuses; errors name the layer.
    """
    if not isinstance(attention, Records) or len({record.call for record in attention.records}) < 2:
        layers = layer_sequence(attention)
        return Measured(
            [layer.name for layer in layers], [_of_heads(layer, formula, batch)[None] for layer in layers], [0]
        )
    check_many_executions(attention.records)
    names, values = [], []
    calls: list[int] = sorted({record.call for record in attention.records if record.call is not None})
    for layer, records in attention.by_layer().items():
        name = layer or records.records[0].function
        ordered = sorted(records.records, key=lambda record: record.call or 0)
        of_calls = [_of_heads(Layer(name, as_array(record)), formula, batch) for record in ordered]
        if len({len(one) for one in of_calls}) > 1:
            raise ValueError(f"layer {name}: its number of heads differs between the calls")
        names.append(name)
        values.append(np.stack(of_calls))
    return Measured(names, values, calls)


def _of_heads(layer: Layer, formula: Callable[[FloatArray], FloatArray], batch: int | None) -> FloatArray:
    try:
        if layer.maps.ndim == 4 and batch is None:
            return np.asarray(formula(layer.maps).mean(axis=0))
        return formula(layer_maps(layer.maps, batch=batch))
    except ValueError as error:
        raise ValueError(f"layer {layer.name}: {error}") from None
