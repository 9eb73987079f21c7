"""Tensors in tuples, dicts, dataclasses and model outputs: recorded as those outside are."""

from __future__ import annotations

import importlib
import sys
import types
import warnings
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import astcapture
from astcapture.errors import CaptureError, CaptureWarning
from astcapture.record.deferred import Deferred
from astcapture.record.options import Conversion
from astcapture.record.taking import expected_size
from astcapture.record.torch import conversion, graph_kept
from astcapture.record.weight import whole_size

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

SOURCE = """\
import torch

def layer(x):
    probs = (x @ x.mT).softmax(-1)
    outputs = (probs @ x, probs)
    info = {"probs": probs, "n": 1}
    return outputs, info

def given(x):
    return x
"""

Load = Callable[[], Any]


@pytest.fixture
def module(tmp_path: Path, fresh_imports: Any, monkeypatch: pytest.MonkeyPatch) -> Load:
    monkeypatch.setattr(graph_kept, "_told", set())
    (tmp_path / "contained.py").write_text(SOURCE)
    return lambda: importlib.import_module("contained")


def given(module: Load, value: Any, **options: Any) -> Any:
    """What is recorded of a value."""
    with astcapture.install(["contained:given=x"], **options):
        module().given(value)
    (record,) = astcapture.cache["contained:given"].records
    return record


def test_what_a_caller_makes_of_a_tensor_in_place_does_not_reach_the_record(module: Load) -> None:
    x = torch.randn(1, 4, 2)
    with astcapture.install(["contained:layer=outputs,info"]):
        (_, probs), info = module().layer(x)
        probs.zero_()
        info["n"] += 1
        info["more"] = x
    want = (x @ x.mT).softmax(-1)
    recorded = astcapture.cache["contained:layer"]
    assert torch.equal(recorded["outputs"][0][1], want)
    assert torch.equal(recorded["info"][0]["probs"], want)
    assert recorded["info"][0]["n"] == 1 and list(recorded["info"][0]) == ["probs", "n"]


@pytest.mark.slow
def test_tensors_in_containers_are_detached_and_keep_no_graph(module: Load) -> None:
    x = torch.randn(3, requires_grad=True)
    y = x * 2
    hook = Growing()
    y.register_hook(hook.__init__)  # which the graph keeps alive
    alive = weakref.ref(hook)
    del hook
    for options in ({}, {"copy": False}, {"dtype": "float64"}, {"reduce": lambda pair: pair}):
        with astcapture.recording() as rec, astcapture.install(["contained:given=x"], **options):
            module().given((y, {"y": [y]}))
        ((one, others),) = rec["contained:given"]
        assert not one.requires_grad and not others["y"][0].requires_grad
        assert torch.equal(one.float(), y.detach()) and others["y"][0].shape == one.shape
        assert (one.data_ptr() == y.data_ptr()) is (options == {"copy": False})
    assert alive() is not None
    del y
    assert alive() is None
    assert rec["contained:given"][0][0].shape == (3,)


def test_the_same_tensor_is_copied_once_and_weighs_once(module: Load) -> None:
    x = torch.zeros(100_000)
    with astcapture.install(["contained:given=x"], limit=1_000_000), warnings.catch_warnings():
        warnings.simplefilter("error")
        module().given([x, (x, {"x": x})])
    (one, (two, others)) = astcapture.cache["contained:given"][0]
    assert one is two is others["x"] is not x


def test_what_torch_returns_by_name_is_copied_by_name(module: Load) -> None:
    value = torch.randn(3, 2).max(dim=1)
    kept = given(module, value).value
    assert type(kept) is type(value) is torch.return_types.max
    assert torch.equal(kept.values, value.values) and kept.indices is not value.indices


def test_a_tensor_in_a_container_is_cast_and_a_whole_number_is_not(module: Load) -> None:
    kept = given(module, {"a": torch.ones(2), "b": (torch.tensor(3), 4.5)}, dtype="float16").value
    assert kept["a"].dtype == torch.float16 and kept["b"][0].dtype == torch.int64 and kept["b"][1] == 4.5


def test_a_tensor_in_a_container_is_moved(module: Load) -> None:
    kept = given(module, [torch.ones(2, device="meta"), torch.ones(2)], device="meta").value
    assert [one.device.type for one in kept] == ["meta", "meta"]


def test_a_change_in_place_of_a_tensor_that_was_not_copied_is_noticed_in_a_container_too(module: Load) -> None:
    x, other = torch.zeros(3), torch.ones(2)
    record = given(module, {"x": (x, other)}, copy=False)
    assert record.value["x"][1].data_ptr() == other.data_ptr()
    x.add_(1)
    with pytest.raises(CaptureError, match="captured with copy=False and modified in place once"):
        record.value  # noqa: B018


def test_a_reduce_function_that_writes_into_a_container_that_was_not_copied_is_found_out(module: Load) -> None:
    x = torch.zeros(3)

    def spoil(pair: Any) -> Any:
        return pair[0].add_(1)

    with astcapture.install(["contained:given=x"], copy=False, reduce=spoil):
        module().given((x, 1))
    assert "ChangedInPlace: reduce=spoil modified the value in place" in astcapture.cache.summary()


def test_the_gradient_of_a_tensor_in_a_container_is_not_waited_for(module: Load) -> None:
    x = torch.ones(2, requires_grad=True)
    record = given(module, (x * 2,), grad=True)
    assert record.grad is None and torch.equal(record.value[0], torch.full((2,), 2.0))


def test_the_memory_limit_counts_what_containers_hold(module: Load) -> None:
    with astcapture.install(["contained:given=x"], limit=100_000):
        given_often = [({"x": torch.zeros(1000)},) for _ in range(50)]
        with pytest.warns(CaptureWarning, match="recording has stopped"):
            list(map(module().given, given_often))
    kept = len(astcapture.cache["contained:given"])
    assert 15 < kept <= 25


def test_what_a_store_holds_of_containers_is_what_it_held(module: Load, tmp_path: Path) -> None:
    x = torch.randn(4)
    value = [x, {"x": (x, None, "text")}, [[[[x]]]]]
    with astcapture.install(["contained:given=x"], store=tmp_path / "run"):
        module().given(value)
        x.zero_()
    one, named, deep = astcapture.load(tmp_path / "run")["contained:given"][0]
    assert one.abs().sum() > 0 and torch.equal(named["x"][0], one) and named["x"][1:] == (None, "text")
    assert deep[0][0][0][0].shape == (4,)


def test_a_shard_is_full_by_what_containers_hold(module: Load) -> None:
    from astcapture.values import streaming

    x = torch.zeros(1000)
    record = given(module, (x,))
    assert 4000 < streaming._size(record) < 5000
    assert 4000 < streaming._size_of((x,)) < 5000


@pytest.mark.slow
def test_inside_a_transform_the_tensors_in_a_container_are_plain_ones(module: Load) -> None:
    x = torch.arange(6.0).reshape(3, 2)
    for options in ({}, {"dtype": "float64"}, {"reduce": lambda pair: pair}):
        with astcapture.recording() as rec, astcapture.install(["contained:given=x"], **options):
            torch.vmap(lambda row: module().given((row, {"row": row}))[0])(x)
        ((one, others),) = rec["contained:given"]
        assert torch.equal(one.float(), x) and torch.equal(others["row"].float(), x)


@dataclass(eq=False)
class Block(torch.nn.Module):
    width: int = 3

    def __post_init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(self.width, self.width)


def test_a_module_is_kept_by_reference_though_it_is_a_dataclass(module: Load) -> None:
    block = Block()
    kept = given(module, (block, {"weight": block.linear.weight})).value
    assert kept[0] is block and kept[1]["weight"] is not block.linear.weight


class Growing:
    """A cache as transformers has them, which grows from step to step."""

    def __init__(self, *tensors: Any) -> None:
        self.layers = [types.SimpleNamespace(keys=one) for one in tensors]


def test_it_is_told_once_that_an_object_kept_by_reference_keeps_a_graph(module: Load) -> None:
    x = torch.ones(2, requires_grad=True)

    class Layer:
        keys = x * 2

        def __init__(self, keys: Any) -> None:
            self.keys = keys

    cache = Growing()
    cache.layers = [Layer(x * 2)]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with astcapture.install(["contained:given=x"]):
            module().given(Growing())
            module().given((1, Block()))
            module().given(torch.nn.Linear(2, 2))
            assert not told
            for _ in range(3):
                module().given((1, cache))
    assert [one.category for one in told] == [CaptureWarning]
    assert "contained:given: 'x' keeps a Growing by reference" in str(told[0].message)


def test_it_is_told_of_a_graph_that_is_deeper_than_is_copied(module: Load) -> None:
    y = torch.ones(2, requires_grad=True) * 2
    with astcapture.install(["contained:given=x"]), pytest.warns(CaptureWarning, match="keeps a list by reference"):
        module().given([[[[[y]]]]])


@pytest.mark.slow
def test_model_outputs_of_transformers_are_copied(module: Load) -> None:
    outputs = pytest.importorskip("transformers.modeling_outputs")
    x = torch.randn(2, 3, requires_grad=True)
    value = outputs.BaseModelOutput(last_hidden_state=x * 2, attentions=(x * 3, x * 4))
    want = value.attentions[1].detach().clone()
    kept = given(module, value).value
    value.attentions[1].data.zero_()
    value["last_hidden_state"] = None
    assert type(kept) is outputs.BaseModelOutput
    assert torch.equal(kept.attentions[1], want) and torch.equal(kept["attentions"][1], want)
    assert kept.last_hidden_state is kept["last_hidden_state"] is kept[0] and not kept[0].requires_grad
    assert list(kept.keys()) == ["last_hidden_state", "attentions"] and kept.hidden_states is None
    assert torch.equal(kept.to_tuple()[0], (x * 2).detach())


def test_compiled_code_records_containers_as_before(module: Load) -> None:
    x = torch.ones(2)
    with astcapture.install(["contained:given=x"]):
        compiled = torch.compile(module().given, backend="eager", fullgraph=True)
        compiled((x, {"n": 1}))
    assert torch.equal(astcapture.cache["contained:given"][0][0], x)


# --- libraries that trace


@pytest.mark.parametrize(
    ("home", "name", "said"),
    [
        ("jax._src.core", "Tracer", "jax traces this function instead of running it"),
        ("jax.core", "Tracer", "jax traces this function instead of running it"),
        ("keras.src.backend.common.keras_tensor", "KerasTensor", "Keras builds a model from this function"),
        (
            "tensorflow.python.framework.ops",
            "Tensor",
            "TensorFlow traces this function into a graph instead of running it",
        ),
    ],
)
def test_what_stands_for_a_value_while_another_library_traces_is_counted_as_failed(
    module: Load, monkeypatch: pytest.MonkeyPatch, home: str, name: str, said: str
) -> None:
    class StandIn:
        def __getattribute__(self, name: str) -> Any:
            raise AssertionError("asked")

    class Own(StandIn):
        pass

    known = types.ModuleType(home)
    setattr(known, name, StandIn)
    monkeypatch.setitem(sys.modules, home, known)
    with astcapture.install(["contained:given=x"]):
        module().given(Own())
        module().given((1, {"a": Own()}))
        module().given((1, {"a": 2}))
    assert list(astcapture.cache["contained:given"]) == [(1, {"a": 2})]
    assert f"'x' failed 2 times; the first time with NotRun: {said}" in astcapture.cache.summary()


def test_an_eager_tensor_of_tensorflow_is_a_value(module: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    known: Any = types.ModuleType("tensorflow.python.framework.ops")
    known.Tensor = type("Tensor", (), {})
    known.EagerTensor = type("EagerTensor", (known.Tensor,), {})
    monkeypatch.setitem(sys.modules, known.__name__, known)
    value = known.EagerTensor()
    assert given(module, value).value is value


def test_jax_tracers_are_counted_as_failed(module: Load) -> None:
    jax = pytest.importorskip("jax")
    with astcapture.install(["contained:given=x"]):
        jax.jit(module().given)(jax.numpy.ones(2))
        jax.vmap(lambda x: module().given({"x": x})["x"])(jax.numpy.ones(2))
        module().given(jax.numpy.ones(2))
    (value,) = astcapture.cache["contained:given"]
    assert value.tolist() == [1, 1]
    assert "'x' failed 2 times" in astcapture.cache.summary()


def test_room_is_asked_for_what_the_tensors_of_a_container_will_take(module: Load) -> None:
    value = {"x": (torch.zeros(1000), torch.zeros(1000, dtype=torch.int64))}
    plain, doubled = expected_size(value, Conversion()), expected_size(value, Conversion(dtype="float64"))
    assert doubled - plain == 4000
    assert expected_size(value, Conversion(copy=False)) == pytest.approx(plain, abs=200)


class Later(Deferred):
    """A tensor on its way from an accelerator."""

    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor

    def read(self) -> Any:
        return self.tensor.clone()

    @property
    def held(self) -> Any:
        return self.tensor


def test_tensors_on_their_way_are_waited_for_when_the_container_is_read(
    module: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "can_transfer", lambda tensor, device: True)
    monkeypatch.setattr(conversion, "transfer", lambda tensor: Later(tensor.clone()))
    monkeypatch.setattr(conversion, "_is_on", lambda tensor, device: False)
    x = torch.randn(1000)
    record = given(module, {"x": (x, [x]), "n": 1}, device="cpu")
    (one, (two,)), number = record.value["x"], record.value["n"]
    assert one is two and torch.equal(one, x) and number == 1
    assert 4000 < whole_size(record._kept) < 6000
    assert repr(record).endswith("x dict>")
