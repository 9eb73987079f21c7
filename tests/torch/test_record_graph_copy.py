"""The operator that copies a tensor out of a CUDA graph's memory, on the processor and on a device without data."""

from __future__ import annotations

from importlib import util
from types import ModuleType

import pytest
import torch
import torch._dynamo
from torch._subclasses.fake_tensor import FakeTensorMode

from astcapture.record import graph_copy


@pytest.fixture
def copy_of() -> torch._ops.OpOverloadPacket:
    graph_copy.define()
    return torch.ops.astcapture.copy_of


def test_it_copies_values_layout_and_dtype_into_memory_of_its_own(copy_of: torch._ops.OpOverloadPacket) -> None:
    value = torch.arange(6, dtype=torch.float64).reshape(2, 3).t()
    copy = copy_of(value)
    assert torch.equal(copy, value)
    assert (copy.dtype, copy.stride()) == (torch.float64, value.stride())
    value.zero_()
    assert copy.sum() == 15


def test_the_compiler_is_told_to_keep_it_out_of_cuda_graphs(copy_of: torch._ops.OpOverloadPacket) -> None:
    assert torch.Tag.cudagraph_unsafe in copy_of.default.tags
    assert str(copy_of.default._schema) == "astcapture::copy_of(Tensor value) -> Tensor"


def test_torch_can_reckon_its_result_without_data_for_any_device(copy_of: torch._ops.OpOverloadPacket) -> None:
    with FakeTensorMode():
        value = torch.empty(2, 3, device="cuda", dtype=torch.float16).t()
        copy = copy_of(value)
    assert (copy.device.type, copy.shape, copy.stride(), copy.dtype) == ("cuda", (3, 2), (1, 3), torch.float16)
    assert copy is not value


def test_making_it_known_again_changes_nothing(copy_of: torch._ops.OpOverloadPacket) -> None:
    graph_copy.define()
    graph_copy.define(object())  # the compiler's context
    assert torch.ops.astcapture.copy_of is copy_of
    assert copy_of(torch.ones(1)).tolist() == [1]


def test_graphs_are_replayed_on_the_devices_of_cuda_alone() -> None:
    assert set(graph_copy.REPLAYED) == {torch.device("cuda", 1).type}


def anew(namespace: str) -> ModuleType:
    """The module as in a process of its own; a namespace of torch's cannot be left."""
    spec = util.spec_from_file_location("graph_copy_anew", graph_copy.__file__)
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module._NAMESPACE = namespace
    return module


def test_a_torch_without_the_tag_has_the_operator_too(monkeypatch: pytest.MonkeyPatch) -> None:
    tags = {name: tag for name, tag in vars(torch.Tag).items() if name[0] != "_" and name != "cudagraph_unsafe"}
    monkeypatch.setattr(torch, "Tag", type("Tag", (), tags))
    module = anew("astcapture_of_an_older_torch")
    module.define()
    copy_of = torch.ops.astcapture_of_an_older_torch.copy_of
    assert copy_of(torch.ones(2)).tolist() == [1, 1]
    monkeypatch.undo()
    assert copy_of.default.tags == [] or torch.Tag.cudagraph_unsafe not in copy_of.default.tags


def test_the_operator_lasts_as_long_as_the_process(copy_of: torch._ops.OpOverloadPacket) -> None:
    assert copy_of(torch.ones(1)).tolist() == [1]
    with FakeTensorMode():
        assert copy_of(torch.ones(4)).shape == (4,)
