"""The operator that copies a tensor out of a CUDA graph's memory, on the processor and on a device without data."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import util
from itertools import count
from types import ModuleType

import pytest
import torch
import torch._dynamo
from torch._subclasses.fake_tensor import FakeTensorMode

from astcapture.record.torch import graph_copy

numbers = count()


def anew() -> tuple[ModuleType, torch._ops.OpOverloadPacket]:
    """The module as in a process of its own, and its operator; a namespace of torch's cannot be left."""
    spec = util.spec_from_file_location("graph_copy_anew", graph_copy.__file__)
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module._NAMESPACE = f"astcapture_{next(numbers)}"
    module.define()
    return module, getattr(torch.ops, module._NAMESPACE).copy_of


@pytest.fixture
def copy_of() -> Iterator[torch._ops.OpOverloadPacket]:
    module, copy_of = anew()
    yield copy_of
    assert module._library is not None  # it lasts as long as the module


def test_it_copies_values_layout_and_dtype_into_memory_of_its_own(copy_of: torch._ops.OpOverloadPacket) -> None:
    value = torch.arange(6, dtype=torch.float64).reshape(2, 3).t()
    copy = copy_of(value)
    assert torch.equal(copy, value)
    assert (copy.dtype, copy.stride()) == (torch.float64, value.stride())
    value.zero_()
    assert copy.sum() == 15


def test_the_compiler_is_told_to_keep_it_out_of_cuda_graphs(copy_of: torch._ops.OpOverloadPacket) -> None:
    assert torch.Tag.cudagraph_unsafe in copy_of.default.tags
    assert str(copy_of.default._schema).partition("::")[2] == "copy_of(Tensor value) -> Tensor"


def test_torch_can_reckon_its_result_without_data_for_any_device(copy_of: torch._ops.OpOverloadPacket) -> None:
    with FakeTensorMode():
        value = torch.empty(2, 3, device="cuda", dtype=torch.float16).t()
        copy = copy_of(value)
    assert (copy.device.type, copy.shape, copy.stride(), copy.dtype) == ("cuda", (3, 2), (1, 3), torch.float16)
    assert copy is not value


def test_it_is_made_known_once_and_lasts_as_long_as_the_process() -> None:
    module, copy_of = anew()
    module.define()
    module.define(object())  # the compiler's context
    assert copy_of(torch.ones(1)).tolist() == [1]
    with FakeTensorMode():
        assert copy_of(torch.ones(4)).shape == (4,)


def test_compiled_code_calls_it_by_a_name_of_ours() -> None:
    graph_copy.define()
    assert torch.ops.astcapture.copy_of(torch.ones(1)).tolist() == [1]


def test_graphs_are_replayed_on_the_devices_of_cuda_alone() -> None:
    assert set(graph_copy.REPLAYED) == {torch.device("cuda", 1).type}


def test_a_torch_without_the_tag_has_the_operator_too(monkeypatch: pytest.MonkeyPatch) -> None:
    tags = {name: tag for name, tag in vars(torch.Tag).items() if name[0] != "_" and name != "cudagraph_unsafe"}
    monkeypatch.setattr(torch, "Tag", type("Tag", (), tags))
    module, copy_of = anew()
    assert copy_of(torch.ones(2)).tolist() == [1, 1]
    monkeypatch.undo()
    assert torch.Tag.cudagraph_unsafe not in copy_of.default.tags
    assert module._library is not None
