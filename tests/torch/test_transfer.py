"""Copies from an accelerator to the host, beside the model. Only where there is one."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

import astcapture
from astcapture.record.torch.transfer import Transfer

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.torch,
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]

SOURCE = "def f(x):\n    y = x * 1\n    return y\n"


@pytest.fixture
def moved(tmp_path: Path, fresh_imports: Any) -> Any:
    (tmp_path / "moved.py").write_text(SOURCE)
    return lambda: importlib.import_module("moved")


def test_a_copy_to_the_host_holds_the_values_of_that_moment(moved: Any) -> None:
    with astcapture.install(["moved:f=y"], device="cpu", dtype="float16"):
        for number in range(50):
            y = moved().f(torch.full((256, 256), float(number), device="cuda"))
            y.fill_(-1)
    values = list(astcapture.cache["moved:f"])
    assert all((value.device.type, value.dtype, value.is_pinned()) == ("cpu", torch.float16, False) for value in values)
    assert [value.unique().tolist() for value in values] == [[float(number)] for number in range(50)]


def test_the_models_thread_does_not_wait_for_the_copy(moved: Any) -> None:
    x = torch.ones(4096, 4096, device="cuda")
    torch.cuda.synchronize()
    with astcapture.install(["moved:f=y"], device="cpu"), astcapture.recording() as rec:
        moved().f(x)  # allocates the pinned memory
        torch.cuda.synchronize()
        torch.cuda._sleep(10**9)  # cycles in which nothing behind them on the stream can run
        moved().f(x)
        waiting = torch.cuda.Event()
        waiting.record()
        assert not waiting.query(), "the copy was waited for"
        assert rec["moved:f"][1].sum() == 4096 * 4096


def test_copies_on_a_stream_of_the_programs_own_are_ordered_on_it(moved: Any) -> None:
    stream = torch.cuda.Stream()
    with astcapture.install(["moved:f=y"], device="cpu"), torch.cuda.stream(stream):
        torch.cuda._sleep(10**8)
        moved().f(torch.full((1024,), 7.0, device="cuda"))
    assert astcapture.cache["moved:f"][0].unique().tolist() == [7]


def test_pinned_memory_in_use_stays_bounded(moved: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from astcapture.record.torch import transfer

    monkeypatch.setattr(transfer, "PINNED", 8 * 2**20)
    x = torch.ones(1024, 1024, device="cuda")
    with astcapture.install(["moved:f=y"], device="cpu", limit=None):
        for _ in range(40):
            moved().f(x)
            torch.cuda.synchronize()
        records = astcapture.cache["moved:f"].records
    pinned = sum(one._kept._pinned is not None for one in records if isinstance(one._kept, Transfer))
    assert pinned <= 3


def test_a_gradient_is_moved_too(moved: Any) -> None:
    with astcapture.install(["moved:f=y"], device="cpu", grad=True):
        moved().f(torch.ones(3, device="cuda", requires_grad=True)).sum().backward()
    (record,) = astcapture.cache["moved:f"].records
    assert (record.grad.device.type, record.grad.tolist()) == ("cpu", [1, 1, 1])


def test_while_a_cuda_graph_is_captured_the_value_is_counted_as_failed(moved: Any) -> None:
    x = torch.ones(8, device="cuda")
    with astcapture.install(["moved:f=y"], device="cpu"):
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            moved().f(x)
        graph.replay()
    assert len(astcapture.cache["moved:f"]) == 0
    assert "a CUDA graph is being captured" in astcapture.cache.summary()


def test_auto_looks_at_the_memory_of_the_device(moved: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from astcapture.record import budget

    monkeypatch.setattr(budget, "free_on", lambda device: 10**6 if device.startswith("cuda") else 10**12)

    def run() -> None:
        for _ in range(100):
            moved().f(torch.ones(2500, device="cuda"))

    with (
        astcapture.install(["moved:f=y"]),
        pytest.warns(astcapture.CaptureWarning, match="a quarter of the free memory"),
    ):
        run()
    assert len(astcapture.cache["moved:f"]) < 40
    astcapture.cache.clear()
