"""What pinned memory copies on their way hold, by events that are told when they have happened: no device is needed."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from astcapture.record.torch import transfer
from astcapture.record.torch.transfer import Transfer

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch


class Event:
    def __init__(self, happened: bool) -> None:
        self.happened = happened

    def query(self) -> bool:
        return self.happened

    def synchronize(self) -> None:
        self.happened = True


@pytest.fixture(autouse=True)
def _little_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    transfer._under_way.clear()
    monkeypatch.setattr(transfer, "PINNED", 100)
    monkeypatch.setattr(transfer, "_used", 0)


def send(size: int, happened: bool = True) -> Any:
    sent = Transfer(torch.zeros(size, dtype=torch.uint8), Event(happened))
    transfer._under_way.append(weakref.ref(sent))
    transfer._move_on()
    return sent


def test_what_is_read_is_waited_for_and_gives_its_pinned_memory_back() -> None:
    sent = send(60, happened=False)
    assert (transfer._used, sent.arrived) == (60, False)
    assert sent.read().shape == (60,)
    assert sent.read() is sent.read()
    assert transfer._used == 0


def test_what_has_arrived_moves_on_when_too_much_is_in_use_oldest_first() -> None:
    sent = [send(60) for _ in range(4)]
    assert [one._pinned is None for one in sent] == [True, True, True, False]
    assert transfer._used == 60


def test_what_has_not_arrived_is_not_waited_for() -> None:
    sent = [send(60, happened=False) for _ in range(4)]
    assert [one._pinned is None for one in sent] == [False] * 4


def test_what_is_dropped_gives_its_memory_back() -> None:
    sent = send(60)
    memory = weakref.ref(sent._pinned)
    del sent
    gc.collect()
    assert memory() is None
    assert transfer._used == 0
    send(10)
    assert len(transfer._under_way) <= 1
