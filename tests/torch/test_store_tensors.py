"""Tensors in a store: every dtype and layout has an outcome, and what comes back is what was captured."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file

import astcapture
from astcapture import CaptureError, CaptureWarning, cache
from astcapture.values import open_store as stores

MODULE = """
def f(x):
    y = x
    return y
"""


@pytest.fixture
def module(make_package: Callable[..., Path], fresh_imports: object) -> Iterator[ModuleType]:
    make_package({"streamed_tensors.py": MODULE})
    yield importlib.import_module("streamed_tensors")
    assert stores.current() is None


@pytest.fixture
def stored(module: ModuleType, tmp_path: Path) -> Callable[..., list[object]]:
    """Capture values with a store, and give them as they are read back."""

    def back(*values: object) -> list[object]:
        with astcapture.install("streamed_tensors:f=y", store=tmp_path / "run"):
            for value in values:
                module.f(value)
        return list(astcapture.load(tmp_path / "run")["f"])

    return back


def bits(tensor: torch.Tensor) -> bytes:
    flat = tensor.detach().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return bytes(flat.view(torch.uint8).numpy()) if flat.numel() else b""


#: Not those that hold less than a byte each, and not the quantised ones.
DTYPES = [
    torch.bool, torch.uint8, torch.int8, torch.uint16, torch.int16, torch.uint32, torch.int32, torch.uint64,
    torch.int64,
    torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex32, torch.complex64, torch.complex128,
    torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2, torch.float8_e5m2fnuz,
    *(dtype for name in ("float8_e8m0fnu", "float4_e2m1fn_x2") if (dtype := getattr(torch, name, None)) is not None),
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_comes_back_with_its_bits(stored: Callable[..., list[torch.Tensor]], dtype: torch.dtype):
    numbers = torch.arange(48, dtype=torch.uint8)
    tensor = (numbers % 2).to(dtype) if dtype is torch.bool else numbers.view(dtype)
    (back,) = stored(tensor.reshape(-1, 1))
    assert back.dtype is dtype and back.shape == (tensor.numel(), 1)
    assert bits(back) == bits(tensor)


def test_every_layout_of_numbers_in_memory_comes_back(stored: Callable[..., list[torch.Tensor]]):
    whole = torch.arange(24.0).reshape(2, 3, 4)
    tensors = [
        whole.permute(2, 0, 1), whole[:, 1], whole[..., ::2], whole.expand(5, 2, 3, 4), torch.tensor(3.5),
        torch.empty(0, 4), torch.empty(3, 0), torch.randn(3, 2, dtype=torch.complex64).mH,
        torch.randn(3, dtype=torch.complex64).conj().imag, torch.nn.Parameter(torch.ones(2)),
        torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last),
    ]  # fmt: skip
    for back, tensor in zip(stored(*tensors), tensors, strict=True):
        assert type(back) is torch.Tensor and not back.requires_grad
        assert back.dtype is tensor.dtype and back.shape == tensor.shape and bits(back) == bits(tensor)


def nested() -> torch.Tensor:
    return torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged)


UNSTORED = {
    "sparse": (lambda: torch.eye(3).to_sparse(), "to_dense()"),
    "sparse_csr": (lambda: torch.eye(3).to_sparse_csr(), "to_dense()"),
    "nested": (nested, "to_padded_tensor(0)"),
    "quantised": (lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "dequantize()"),
    "meta": (lambda: torch.ones(2, device="meta"), "no values"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", UNSTORED)
def test_tensors_without_numbers_side_by_side_are_refused_with_what_to_write(
    module: ModuleType, tmp_path: Path, kind: str, recwarn: pytest.WarningsRecorder
):
    make, advice = UNSTORED[kind]
    with astcapture.install("streamed_tensors:f=y", store=tmp_path / "run"):
        module.f(torch.ones(1))
        module.f(make())
    told = [str(one.message) for one in recwarn if issubclass(one.category, CaptureWarning)]
    run = astcapture.load(tmp_path / "run")
    assert len(told) == 1 and advice in told[0]
    assert "not stored once" in run.summary()
    assert len(run["f"]) == 1 and torch.equal(run["f"][0], torch.ones(1))


def test_containers_of_tensors_come_back(stored: Callable[..., list[object]]):
    (back,) = stored(
        {"present": (torch.ones(2), torch.zeros(1, dtype=torch.bfloat16)), "shape": torch.ones(2, 3).shape}
    )
    assert torch.equal(back["present"][0], torch.ones(2)) and back["present"][1].dtype is torch.bfloat16
    assert back["shape"] == torch.Size([2, 3]) and type(back["shape"]) is torch.Size


def test_in_place_changes_after_the_capture_do_not_reach_the_store(module: ModuleType, tmp_path: Path):
    tensor = torch.zeros(3)
    with astcapture.install("streamed_tensors:f=y", store=tmp_path / "run"):
        for number in range(5):
            module.f(tensor.fill_(number))
    assert [int(value[0]) for value in astcapture.load(tmp_path / "run")["f"]] == [0, 1, 2, 3, 4]


def test_any_reader_finds_the_tensors_by_function_label_layer_and_number(module: ModuleType, tmp_path: Path):
    class Model(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return module.f(x)

    with astcapture.install("streamed_tensors:f=y", store=tmp_path / "run"):
        torch.nn.Sequential(Model(), Model())(torch.ones(2))
    (path,) = (tmp_path / "run").glob("*/*.safetensors")
    found = load_file(path)
    assert sorted(found) == ["streamed_tensors:f/y/0/0", "streamed_tensors:f/y/1/1"]
    assert all(torch.equal(tensor, torch.ones(2)) for tensor in found.values())


def test_the_gradient_is_stored_also_when_it_comes_after_the_value(module: ModuleType, tmp_path: Path):
    with astcapture.install("streamed_tensors:f=y", store=tmp_path / "run", grad=True):
        for number in range(1, 4):
            x = torch.full((2,), float(number), requires_grad=True)
            y = module.f(x * 2)
            if number == 2:
                stores.current().flush()  # the value is on disk before backward
            if number != 3:
                (y * 10 * number).sum().backward()
            del x, y
        first = [None if record.grad is None else record.grad.tolist() for record in cache["f"].records]
        stores.current().flush()
        then = [None if record.grad is None else record.grad.tolist() for record in cache["f"].records]
    records = astcapture.load(tmp_path / "run")["f"].records
    assert [record.value.tolist() for record in records] == [[2, 2], [4, 4], [6, 6]]
    assert [None if one.grad is None else one.grad.tolist() for one in records] == [[10, 10], [20, 20], None]
    assert then == [[10, 10], [20, 20], None] and first[0] == [10, 10]


def test_without_torch_tensors_come_back_as_arrays_where_numpy_has_the_dtype(module: ModuleType, tmp_path: Path):
    with astcapture.install("streamed_tensors:f=y", store=tmp_path / "run"):
        module.f(torch.arange(3.0))
        module.f(torch.ones(2, dtype=torch.bfloat16))
    code = f"""
import sys
sys.modules["torch"] = None
import astcapture, numpy
records = astcapture.load({str(tmp_path / "run")!r})["f"]
assert type(records[0]) is numpy.ndarray and records[0].tolist() == [0, 1, 2]
try:
    records[1]
except astcapture.CaptureError as error:
    assert "bfloat16" in str(error) and "install torch" in str(error), error
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_damaged_tensor_is_an_error_and_the_others_are_read(module: ModuleType, tmp_path: Path):
    with astcapture.install("streamed_tensors:f=y", store=tmp_path / "run"):
        for number in range(3):
            module.f(torch.full((50_000,), float(number)))
    (path,) = (tmp_path / "run").glob("*/*.safetensors")
    whole = bytearray(path.read_bytes())
    whole[-300_000] ^= 64
    path.write_bytes(whole)
    records = astcapture.load(tmp_path / "run")["f"]
    assert records[0][0] == 0 and records[2][0] == 2
    with pytest.raises(CaptureError, match=r"streamed_tensors:f/y/1 is damaged: its checksum"):
        _ = records[1]


def test_numbers_for_numpy_and_the_picture_of_stored_maps(stored: Callable[..., object], tmp_path: Path):
    stored(*[torch.rand(1, 2, 5, 5).bfloat16() for _ in range(3)])
    records = astcapture.load(tmp_path / "run")["f"]
    assert records.to_numpy().shape == (3, 1, 2, 5, 5) and records.to_numpy().dtype == "float32"
    assert torch.equal(records.stack().float(), torch.from_numpy(records.to_numpy()))
    assert astcapture.plot.heads(records[0]) is not None


@pytest.mark.parametrize("limit", ["1MB", "4MB"])
def test_a_limit_that_is_reached_puts_values_on_disk_and_loses_none(module: ModuleType, tmp_path: Path, limit: str):
    with astcapture.install("streamed_tensors:f=y", store=tmp_path / "run", limit=limit):
        most = 0
        for number in range(300):
            module.f(torch.full((50_000,), float(number)))
            most = max(most, sum(event[1].nbytes for event in list(astcapture.record.events.events)))
    assert most < 2 * int(limit[0]) * 10**6
    assert [int(value[0]) for value in astcapture.load(tmp_path / "run")["f"]] == list(range(300))
