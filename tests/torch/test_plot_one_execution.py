"""A picture of a whole model is of one execution of all its layers, or it is refused with what to select."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from astcapture import CaptureError, plot
from astcapture.plot import formulas
from astcapture.plot.frames import frames
from astcapture.values.record import Record
from astcapture.values.records import Records

pytestmark = pytest.mark.torch

MAP = np.full((2, 5, 5), 0.2)

#: All that goes over the layers of a model.
OVER_LAYERS: dict[str, Callable[[Any], Any]] = {
    "layers": plot.layers,
    "rollout": plot.rollout,
    "distance": lambda values: plot.distance(values, cls=1),
    "entropy": plot.entropy,
    "formulas.rollout": formulas.rollout,
}


class OfModel(Record):
    """A record that knows its model."""

    __slots__ = ("model",)


def one(
    layer: str | None = "blocks.0",
    call: int | None = 0,
    *,
    label: str = "attn",
    function: str = "f",
    lineno: int = 1,
    rank: int = 0,
    thread: int = 0,
    model: str | None = None,
) -> Record:
    record = OfModel(MAP, label, "m", function, lineno, layer, call, rank, thread)
    object.__setattr__(record, "model", model)
    return record


def blocks(count: int = 3, **options: Any) -> list[Record]:
    return [one(f"blocks.{number}", **options) for number in range(count)]


@pytest.mark.parametrize("draw", OVER_LAYERS.values(), ids=OVER_LAYERS)
def test_one_value_for_each_layer_is_drawn(draw: Callable[[Any], Any]):
    draw(Records(blocks()))
    draw(Records(blocks(call=4, model="ViT#2")))
    draw(Records(blocks(call=None)))
    draw(Records([one("encoder.0", function="f"), one("decoder.0", function="g")]))
    draw(Records([one("stage.0", rank=0), one("stage.1", rank=1)]))
    draw([MAP, MAP])
    draw(list(Records([*blocks(), *blocks(call=1)])))  # said to be layers, by whoever makes a list of them


#: What is no execution of a model; what is said of it; and what is selected then.
REFUSED: dict[str, tuple[list[Record], str, dict[str, Any] | None]] = {
    "two calls": (
        [*blocks(), *blocks(call=1)],
        (
            "each of the 3 layers has 2 values, in the calls 0 and 1: pick one execution, "
            "records.select(call=0), which is "
            "one value for each of these 3 layers"
        ),
        {"call": 0},
    ),
    "the later of many calls": (
        [record for call in (3, 4, 5, 6) for record in blocks(call=call)],
        (
            "each of the 3 layers has 4 values, in the calls 3 to 6: pick one execution, "
            "records.select(call=3), which is "
            "one value for each of these 3 layers"
        ),
        {"call": 3},
    ),
    "two models": (
        [*blocks(model="ViT"), *blocks(model="ViT#2")],
        "the values are of 'ViT' and 'ViT#2', 2 models: pick one, records.select(model='ViT')",
        None,
    ),
    "two models with other layers": (
        [*blocks(model="ViT"), one("layer.0", model="Bert")],
        "the values are of 'ViT' and 'Bert', 2 models: pick one, records.select(model='ViT')",
        None,
    ),
    "two labels": (
        [*blocks(), *blocks(label="scores")],
        "the Records hold values labelled 'attn', 'scores': pick one, records['attn']",
        {"label": "attn"},
    ),
    "two functions": (
        [*blocks(), *blocks(function="g")],
        "layer 'blocks.0' has 2 values, of the functions 'm:f' and 'm:g': pick one, records.select(key='m:f')",
        {"key": "m:f"},
    ),
    "two processes": (
        [*blocks(rank=1), *blocks(rank=2)],
        "layer 'blocks.0' has 2 values, of the processes 1 and 2: pick one, records.select(rank=1)",
        {"rank": 1},
    ),
    "two threads": (
        [*blocks(thread=7), *blocks(thread=9)],
        "layer 'blocks.0' has 2 values, of the threads 7 and 9: pick one, records.select(thread=7)",
        {"thread": 7},
    ),
    "two bindings of a name": (
        [*blocks(lineno=4), *blocks(lineno=6)],
        "layer 'blocks.0' has 2 values in one call, of the lines 4 and 6: pick one, records.select(lineno=4)",
        {"lineno": 4},
    ),
    "one layer is there twice": (
        [*blocks(), one("blocks.1")],
        "layer 'blocks.1' has 2 values in one call, all of line 1: pass a list of the values to be drawn",
        None,
    ),
    "layers of two calls": (
        [one("blocks.0", 0), one("blocks.1", 1)],
        (
            "layer 'blocks.0' is of call 0 and layer 'blocks.1' of call 1, which are no one execution of "
            "the model: record "
            "one by itself, with astcapture.recording(); or where each value is one layer of one "
            "execution, in order, pass "
            "list(records)"
        ),
        None,
    ),
    "a layer that runs more often than others": (
        [*blocks(), one("blocks.1", 1), one("blocks.1", 2)],
        (
            "layer 'blocks.1' has 3 values and layer 'blocks.0' has 1, so that no call is one execution "
            "of the model (recording may have stopped at the memory limit: see summary()): record "
            "one execution by itself, with astcapture.recording(), or pick some layers by select(layer=...)"
        ),
        None,
    ),
    "layers that go by one name": (
        [one("attn", call) for call in range(4)],
        (
            "all 4 values are of layer 'attn', in the calls 0 to 3: these may be executions of it, or "
            "layers that go by one "
            "name; where each value is one layer of one execution, in order, pass list(records)"
        ),
        None,
    ),
    "values outside any module": (
        [one(None, call) for call in range(4)],
        (
            "4 of the values were captured outside any module, so that layers cannot be told from "
            "executions: where each "
            "value is one layer of one execution, in order, pass list(records)"
        ),
        None,
    ),
}


#: Of these, distance and entropy are of many calls.
CALLS = ("two calls", "the later of many calls", "layers that go by one name")


@pytest.mark.parametrize("name", OVER_LAYERS)
@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_execution_is_refused_and_what_is_advised_is_drawn(case: str, name: str):
    draw = OVER_LAYERS[name]
    values, message, advised = REFUSED[case]
    if case in CALLS and name in ("distance", "entropy"):
        draw(Records(values))
        return
    with pytest.raises(CaptureError) as refused:
        draw(Records(values))
    assert str(refused.value) == message
    if advised is not None:
        selected = Records(values).select(**advised)
        assert len(selected) == 3
        draw(selected)


def test_nothing_is_advised_that_leaves_one_layer_out():
    """Where layers went by one name, or ran in other calls, one call is not the whole model."""
    for values, message, _ in REFUSED.values():
        call = Records(values).select(call=values[0].call)
        whole = {record.layer for record in call.records} == {record.layer for record in values} and len(call) > 1
        assert "select(call=" not in message or whole


@pytest.mark.parametrize("draw", [plot.layers, plot.rollout, formulas.rollout])
def test_several_record_objects_are_asked_too(draw: Callable[[Any], Any]):
    with pytest.raises(CaptureError, match="in the calls 0 and 1"):
        draw([*blocks(), *blocks(call=1)])


def test_a_dict_of_layers_is_asked_too():
    for draw in (plot.layers, plot.rollout, plot.entropy):
        draw(Records(blocks()).by_layer())
        with pytest.raises(CaptureError, match="in the calls 0 and 1"):
            draw(Records([*blocks(), *blocks(call=1)]).by_layer())


def test_a_film_over_the_steps_of_a_layer_is_of_one_function_one_process_and_one_model():
    steps = [one("h.0", call) for call in range(3)]
    assert [frame.name for frame in frames(Records(steps), batch=None, head=0)] == ["step 0", "step 1", "step 2"]
    for other, said in (
        (one("h.0", 3, rank=1), r"of the processes 0 and 1: pick one, records.select\(rank=0\)"),
        (one("h.0", 3, function="g"), r"of the functions 'm:f' and 'm:g': pick one, records.select\(key='m:f'\)"),
        (one("h.0", 3, model="A"), "of None and 'A', 2 models"),
        (one("h.0", 3, label="scores"), "labelled 'attn', 'scores'"),
    ):
        with pytest.raises(CaptureError, match=said):
            plot.animate(Records([*steps, other]))


def test_a_film_over_layers_is_of_one_execution():
    plot.animate(Records(blocks()))
    with pytest.raises(CaptureError, match=r"is of call 0 and layer 'blocks\.1' of call 1"):
        plot.animate(Records([one("blocks.0", 0), one("blocks.1", 1)]))
