"""The one function `record` is given other code as the state changes, and stays the function that it is."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator

import pytest

from astcapture.record import draining, recorder, recording, scope, switch
from astcapture.record.recording import record, select_code
from astcapture.record.state import state

SITE = ("m", "f", "y", 3)


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """Recording on, without torch's modules."""
    switch.installed(+1)
    draining.drain()
    where, pending = state.where, state.torch_pending
    state.where, state.torch_pending = None, False
    select_code()
    yield
    state.where, state.torch_pending = where, pending
    switch.installed(-1)
    draining.drain()


def values() -> list[object]:
    return [event[1] for event in draining.drain()]


def name() -> str:
    return record.__code__.co_name


def test_it_is_one_function_with_one_name_for_good():
    assert recorder.record is record
    assert pickle.loads(pickle.dumps(record)) is record
    assert record.__name__ == "record"


def test_its_code_follows_the_state():
    assert name() == "_record_outside_modules"
    block = scope.enter(tags={"a": 1})
    assert name() == "_record_anywhere"
    scope.leave(block)
    assert name() == "_record_outside_modules"
    state.torch_pending = True
    select_code()
    assert name() == "_record_by_slow_path"
    state.torch_pending = False
    switch.installed(-1)
    assert name() == "record"
    record(None, SITE, 1)
    assert values() == []
    switch.installed(+1)
    assert name() == "_record_outside_modules"


@pytest.mark.parametrize("value", [7, "text", (1, 2), [1, 2], {"a": 1}, None, ..., 1.5, {1, 2}])
def test_each_code_records_the_same_and_hands_the_result_back(value: object):
    result = object()
    for code in recording.CODES[1:]:
        record.__code__ = code
        assert record(result, SITE, value, "owner", "other") is result
    select_code()
    assert values() == [value] * 3


def test_options_of_a_hook_have_each_value_take_the_long_way(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(state, "converting", True)
    select_code()
    assert name() == "_record_by_slow_path"


def test_a_state_that_another_thread_changes_meanwhile_is_the_one_that_holds(monkeypatch: pytest.MonkeyPatch):
    fitting = recording._fitting_code
    changed: list[bool] = []

    def changing() -> object:
        code = fitting()
        if not changed:
            changed.append(True)
            thread = threading.Thread(target=lambda: (setattr(state, "on", False), select_code()))
            thread.start()
            thread.join()
        return code

    state.torch_pending = True
    monkeypatch.setattr(recording, "_fitting_code", changing)
    select_code()
    assert name() == "record"
    monkeypatch.undo()
    state.on, state.torch_pending = True, False
    select_code()
