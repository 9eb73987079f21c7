"""Which maps an animation shows one after the other, and where each lies in the picture. No drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from astcapture.plot.arrays import FloatArray, as_array, why_none
from astcapture.plot.attention_maps import layer_maps, one_map
from astcapture.plot.formulas.steps import growth_fault, join_steps
from astcapture.plot.layer_sequence import Layer, Layers, layer_sequence
from astcapture.plot.one_execution import check_one_label, check_steps
from astcapture.values.records import Records


class Frame(NamedTuple):
    """One picture of an animation."""

    name: str
    #: (queries, keys).
    weights: FloatArray


def frames(values: Layers, *, batch: int | None, head: int | None) -> list[Frame]:
    """Return the maps in the order they came in, each with its name: "step 3", or "layer blocks.3.attn".

    Raises:
        ValueError: nothing in it, Records of several layers and steps, or another shape.

    >>> import numpy as np
    >>> frames([np.full((2, 3, 3), 1 / 3)], batch=None, head=None)[0].name
    '0'
    """
    shown = []
    for name, maps in _named(values):
        try:
            weights = (
                layer_maps(maps, batch=batch).mean(axis=0) if head is None else one_map(maps, batch=batch, head=head)
            )
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        shown.append(Frame(name, weights))
    return shown


def appended(maps: Sequence[FloatArray]) -> list[FloatArray]:
    """Put the steps of a generation loop that keeps keys and values together: each adds its queries below.

    Each becomes the whole map up to there, see `formulas.join_steps`. Any other maps are returned as they are.

    >>> import numpy as np
    >>> [one.shape for one in appended([np.ones((2, 2)), np.ones((1, 3))])]
    [(2, 2), (3, 3)]
    """
    sizes = [(one.shape[0], one.shape[1]) for one in maps]
    if len(maps) < 2 or growth_fault(sizes) is not None:
        return list(maps)
    whole = join_steps(maps)
    unknown = sizes[0][1] - sizes[0][0]
    return [whole[: keys - unknown, :keys] for _, keys in sizes]


def _named(values: Layers) -> list[Layer]:
    if not isinstance(values, Records):
        layers = layer_sequence(values)
        return [Layer(f"layer {name}", maps) for name, maps in layers] if isinstance(values, Mapping) else layers
    if len(values) == 0:
        raise ValueError(f"there is nothing to draw: {why_none(values)}")
    check_one_label(values)
    names = {record.layer for record in values.records}
    if len(names) == 1:
        check_steps(values)
        steps = [number if record.call is None else record.call for number, record in enumerate(values.records)]
        return [Layer(f"step {step}", as_array(value)) for step, value in zip(steps, values, strict=True)]
    if len(names) < len(values):
        raise ValueError(
            f"the Records hold {len(values)} values of {len(names)} layers: an animation goes over the steps of one "
            f"layer, records.select(layer={values.records[0].layer!r}), or over the {len(names)} layers in one step, "
            f"records.select(call={values.records[0].call})"
        )
    return [Layer(f"layer {name}", maps) for name, maps in layer_sequence(values)]
