"""Which copies can go on beside the model, in which order they are asked for, and what they give back and when.

A stand-in for a CUDA device tells what is asked of it; tests/torch/test_transfer.py has a real one.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from astcapture.record.deferred import held, read
from astcapture.record.options import Conversion
from astcapture.record.torch import transfer
from astcapture.record.torch.conversion import keep
from astcapture.record.torch.transfer import Transfer, can_transfer

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor"),
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors"),
]


class Own(torch.Tensor):
    """A class of the program's."""


# --- which can ----------------------------------------------------------------------------------------------------


@pytest.fixture
def everything_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "is_cuda", True, raising=False)
    monkeypatch.setattr(torch.Tensor, "device", torch.device("cuda:1"), raising=False)


@pytest.mark.usefixtures("everything_on_cuda")
@pytest.mark.parametrize("device", ["cpu", "cpu:0"])
def test_a_dense_tensor_can_be_copied_to_the_host_beside_the_model(device: str) -> None:
    for tensor in (torch.ones(2), torch.nn.Parameter(torch.ones(2)), torch.ones(2, 3).T, torch.ones(()), torch.ones(0)):
        assert can_transfer(tensor, device) is True


@pytest.mark.usefixtures("everything_on_cuda")
def test_no_copy_to_another_device_can() -> None:
    for device in ("cuda", "cuda:1", "meta", "xpu:0"):
        assert can_transfer(torch.ones(2), device) is False


def test_no_copy_of_what_is_on_the_host_already_can() -> None:
    assert can_transfer(torch.ones(2), "cpu") is False
    assert can_transfer(torch.ones(2, device="meta"), "cpu") is False


OF_ITS_OWN_KIND = {
    "sparse": lambda: torch.eye(2).to_sparse(),
    "a class of the program's": lambda: torch.ones(2).as_subclass(Own),
    "quantised": lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
    "nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "conjugated": lambda: torch.tensor([1 + 2j]).conj(),
    "negated": lambda: torch.tensor([1 + 2j]).conj().imag,
}


@pytest.mark.usefixtures("everything_on_cuda")
@pytest.mark.parametrize("kind", OF_ITS_OWN_KIND)
def test_no_copy_of_more_than_plain_numbers_in_a_row_can(kind: str) -> None:
    assert can_transfer(OF_ITS_OWN_KIND[kind](), "cpu") is False


# --- what is asked of the device ----------------------------------------------------------------------------------


class Event:
    """As CUDA's: happened once the device has come to it."""

    def __init__(self, happened: bool = False) -> None:
        self.happened = happened

    def query(self) -> bool:
        return self.happened

    def synchronize(self) -> None:
        self.happened = True


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, everything_on_cuda: None) -> list[Any]:
    """What is asked of a CUDA device, in order."""
    asked: list[Any] = []
    empty_like, copy_ = torch.empty_like, torch.Tensor.copy_

    @contextmanager
    def device(which: Any) -> Iterator[None]:
        asked.append(("on", which))
        yield
        asked.append("off")

    class Recorded(Event):
        def record(self) -> None:
            asked.append("event")

    def allocate(tensor: Any, *, device: str, pin_memory: bool) -> Any:
        asked.append(("memory", torch.device(device).type, pin_memory))
        return empty_like(tensor)

    def copy(target: Any, source: Any, non_blocking: bool = False) -> Any:
        asked.append(("copy", non_blocking))
        return copy_(target, source)

    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setattr(torch.cuda, "Event", Recorded)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda which: ("stream of", which))
    monkeypatch.setattr(torch, "empty_like", allocate)
    monkeypatch.setattr(torch.Tensor, "copy_", copy)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: asked.append(("waits", stream)))
    return asked


@pytest.fixture(autouse=True)
def _nothing_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_under_way", deque())
    monkeypatch.setattr(transfer, "_used", 0)


def test_the_copy_goes_to_pinned_memory_unwaited_for_with_an_event_behind_it_and_the_tensors_memory_waits(
    asked: list[Any],
) -> None:
    x = torch.arange(6.0).reshape(2, 3).T
    sent = transfer.transfer(x)
    here = torch.device("cuda:1")
    assert asked == [
        ("on", here), ("memory", "cpu", True), ("copy", True), "event", "off", ("waits", ("stream of", here)),
    ]  # fmt: skip
    assert (sent.arrived, transfer._used) == (False, 24)
    assert list(transfer._under_way) == [weakref.ref(sent)]
    assert torch.equal(read(sent), x)
    assert sent.held.stride() == x.stride()
    assert sent._event.happened


def test_while_a_cuda_graph_is_captured_there_is_nothing_to_copy(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    with pytest.raises(RuntimeError, match=r"^a CUDA graph is being captured, so there is no value to copy"):
        transfer.transfer(torch.ones(2))
    assert asked == []


@pytest.mark.usefixtures("asked")
def test_what_is_to_be_kept_on_the_host_is_converted_on_the_device_and_sent() -> None:
    x = torch.ones(3, requires_grad=True)
    plain = keep(x, Conversion(device="cpu"))
    assert isinstance(plain, Transfer)
    assert (plain.read().tolist(), plain.read().dtype, plain.read().requires_grad) == ([1, 1, 1], torch.float32, False)
    half = keep(x, Conversion(device="cpu", dtype="float16"))
    assert isinstance(half, Transfer)
    assert (half.held.dtype, half.read().dtype) == (torch.float16, torch.float16)
    assert not isinstance(keep(x, Conversion()), Transfer)
    assert not isinstance(keep(x, Conversion(device="cuda:1")), Transfer)
    assert not isinstance(keep(x, Conversion(device="meta")), Transfer)


# --- pinned memory ------------------------------------------------------------------------------------------------


def send(size: int, happened: bool = True) -> Any:
    sent = Transfer(torch.arange(size, dtype=torch.uint8), Event(happened))
    transfer._under_way.append(weakref.ref(sent))
    transfer._move_on()
    return sent


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "PINNED", 100)


def test_a_few_large_tensors_may_stay_in_pinned_memory_and_not_gigabytes() -> None:
    assert 64 * 2**20 <= transfer.PINNED <= 2**30
    sent = [send(2**20), send(2**20)]
    assert [held(one) is one._pinned for one in sent] == [True, True]


def test_what_is_held_is_the_pinned_copy_until_it_is_read_and_then_an_ordinary_one() -> None:
    sent = send(4, happened=False)
    pinned = sent._pinned
    assert held(sent) is pinned
    assert sent.arrived is False
    value = sent.read()
    assert held(sent) is value
    assert value.tolist() == [0, 1, 2, 3]
    assert value.data_ptr() != pinned.data_ptr()
    assert sent._event.happened


def test_what_was_read_has_arrived_though_its_event_is_not_asked_again() -> None:
    sent = send(4)
    sent.read()
    sent._event.happened = False
    assert sent.arrived is True
    sent.read()
    assert sent._event.happened is False


@pytest.mark.usefixtures("little")
def test_up_to_the_bound_nothing_is_moved_on() -> None:
    sent = [send(60), send(40)]
    assert (transfer._used, [one._tensor for one in sent]) == (100, [None, None])
    sent.append(send(1))
    assert transfer._used == 41


@pytest.mark.usefixtures("little")
def test_what_had_not_arrived_moves_on_when_it_has() -> None:
    sent = [send(60, happened=False), send(60, happened=False)]
    assert transfer._used == 120
    for one in sent:
        one._event.happened = True
    sent.append(send(1, happened=False))
    assert transfer._used == 61
    assert [one._tensor is None for one in sent] == [False, True, True]


@pytest.mark.usefixtures("little")
def test_what_was_dropped_or_read_does_not_keep_others_from_moving_on() -> None:
    sent = [send(30, happened=False) for _ in range(3)]
    del sent[0]
    sent[0].read()
    sent[1]._event.happened = True
    sent.append(send(90, happened=False))
    assert [one._tensor is None for one in sent] == [False, False, True]
    assert transfer._used == 90
    assert [reference() for reference in transfer._under_way] == [sent[2]]


@pytest.mark.usefixtures("little")
def test_what_is_dropped_unread_gives_its_memory_back_once() -> None:
    sent = send(60)
    sent.read()
    assert transfer._used == 0
    del sent
    assert transfer._used == 0
    other = send(60, happened=False)
    del other
    assert transfer._used == 0


def test_another_thread_may_move_a_copy_on_while_one_waits_for_it() -> None:
    sent = send(4, happened=False)

    class Meanwhile(Event):
        def synchronize(self) -> None:
            if not self.happened:
                self.happened = True
                sent.read()

    sent._event = Meanwhile()
    assert sent.read() is sent.held
    assert (sent.read().tolist(), transfer._used) == ([0, 1, 2, 3], 0)


def test_another_thread_may_take_the_last_one_while_one_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    class Raced(deque[Any]):
        def __bool__(self) -> bool:
            some = len(self) > 0
            self.clear()
            return some

    monkeypatch.setattr(transfer, "_under_way", Raced())
    sent = send(4)
    assert sent.read().tolist() == [0, 1, 2, 3]
