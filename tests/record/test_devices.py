"""The devices that can be asked for where torch is not imported, or only half; with torch, see tests/torch."""

from __future__ import annotations

import sys
from pathlib import PurePosixPath
from types import ModuleType
from typing import Any

import pytest

from astcapture.errors import CaptureError
from astcapture.record.torch.devices import read_device


@pytest.fixture(autouse=True, params=["no torch", "torch half imported"])
def _without_torch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    if request.param != "no torch":
        monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))


def test_no_device_is_none() -> None:
    assert read_device("device=None", None) is None


def test_a_name_with_or_without_a_number_is_a_device_before_torch_is_imported() -> None:
    for name in ("cpu", "cuda", "cuda:0", "cuda:12", "xpu:1", "meta"):
        assert read_device("", name) == read_device("", f" {name}\n") == name


@pytest.mark.parametrize(
    "value",
    [
        "", "CPU", "cuda:", "cuda:x", "cuda:-1", "cuda0", "cuda 0", "cuda:0:1", "cuda:0,cuda:1", ":0", "0", "cpu!",
        0, True, 1.5, [], ["cpu"], PurePosixPath("cpu"), object(),
    ],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_anything_else_is_refused_with_what_can_be_written(value: Any) -> None:
    with pytest.raises(CaptureError) as caught:
        read_device("device=THIS", value)
    assert str(caught.value) == 'device=THIS: write device="cpu", device="cuda:0" or a torch.device'
