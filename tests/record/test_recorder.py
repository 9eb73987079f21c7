"""What rewritten code calls, without torch: what is recorded, with which owner, and what goes back to the program."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy
import pytest

from astcapture.record import budget, draining, recorder, recording, scope, switch
from astcapture.record.events import MISSED, STARTED, Failed, NotRecorded
from astcapture.record.state import state
from astcapture.record.torch import checkpoint, compiled, expressions, modules, places
from astcapture.record.torch.checkpoint import Recomputed
from astcapture.record.weight import EVENT

SITE = ("m", "f", "y", 3)
Found = list[tuple[Any, Any]]


@pytest.fixture(autouse=True)
def on() -> Iterator[None]:
    """Recording on, as with a hook installed, and nothing recorded yet."""
    draining.drain()
    gc.disable()  # a round of the collector may close the short way, whenever it comes
    switch.installed(+1)
    recorder.record(None, SITE, 0)  # where another test has imported torch, it is looked for now
    draining.drain()
    yield
    switch.installed(-1)
    gc.enable()
    draining.drain()


@pytest.fixture
def owners(monkeypatch: pytest.MonkeyPatch) -> None:
    """Places are found, as once torch is imported: here the owner is its own."""
    monkeypatch.setattr(state, "where", lambda owner, others: owner)
    recording.select_code()


def taken() -> Found:
    """What has been recorded: the value, or the class of what stands for one, and the place."""
    found: Found = []
    for site, value, thread, where, holding in draining.drain():
        assert (site, thread, holding) == (SITE, threading.get_ident(), None)
        if isinstance(value, Failed):
            value = value.error
        found.append((value, where))
    return found


def unbound() -> None:
    """What a ``try`` around a name that is not bound does."""
    try:
        y  # noqa: B018
    except NameError:
        recorder.missed(SITE, "owner")


def evaluate_in(module: dict[str, Any], *arguments: Any) -> Any:
    """Call `evaluate` as a function of a module with these globals does."""
    return eval("evaluate(*arguments)", module, {"evaluate": recorder.evaluate, "arguments": arguments})


CALLS: dict[str, tuple[Callable[[], Any], Any, Any]] = {
    "record": (lambda: recorder.record("result", SITE, 1, "owner"), "result", 1),
    "an object": (lambda: recorder.record("result", SITE, Ellipsis, "owner"), "result", Ellipsis),
    "look": (lambda: recorder.look("result", SITE, "y", {"y": 1}, "owner"), "result", 1),
    "look in vain": (lambda: recorder.look("result", SITE, "y", {"x": 1}, "owner"), "result", MISSED),
    "missed": (unbound, None, MISSED),
    "evaluate": (
        lambda: evaluate_in({"z": 2}, "result", SITE, "lambda y: y + z", (1,), "owner"),
        "result",
        3,
    ),
    "evaluate of what may be unbound": (
        lambda: evaluate_in({"z": 2}, "result", SITE, "lambda y: y + z", {"y": 1, "x": 1}, "owner"),
        "result",
        3,
    ),
    "evaluate without a name that is not read": (
        lambda: evaluate_in({}, "result", SITE, "lambda y, x: y or x", {"y": 1}, "owner"),
        "result",
        1,
    ),
    "evaluate without a name that is read": (
        lambda: evaluate_in({"x": 1}, "result", SITE, "lambda y, x: y and x", {"y": 1}, "owner"),
        "result",
        MISSED,
    ),
    "evaluate without a name that is read in a scope inside": (
        lambda: evaluate_in({"x": 1}, "result", SITE, "lambda y, x: [x for _ in (1, 2)]", {"y": 1}, "owner"),
        "result",
        MISSED,
    ),
}


@pytest.mark.parametrize(("call", "result", "value"), CALLS.values(), ids=CALLS)
def test_a_value_is_recorded_with_its_owner_and_the_result_goes_back(
    owners: None, call: Callable[[], Any], result: Any, value: Any
):
    assert call() == result
    assert taken() == [(value, "owner")]


@pytest.mark.parametrize(("call", "result", "value"), CALLS.values(), ids=CALLS)
def test_before_torch_is_imported_no_layer_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, call: Callable[[], Any], result: Any, value: Any
):
    monkeypatch.setattr(state, "where", None)
    assert call() == result
    assert taken() == [(value, None)]


@pytest.mark.parametrize("call", [call for call, *_ in CALLS.values()], ids=CALLS)
def test_of_a_second_run_nothing_is_recorded(monkeypatch: pytest.MonkeyPatch, call: Callable[[], Any]):
    def again(owner: Any, others: Any) -> Any:
        raise Recomputed

    monkeypatch.setattr(state, "where", again)
    recording.select_code()
    call()
    assert taken() == []


@pytest.mark.parametrize("call", [call for call, *_ in CALLS.values()], ids=CALLS)
def test_while_recording_is_off_nothing_is_recorded(call: Callable[[], Any]):
    switch.installed(-1)
    call()
    recorder.enter(SITE)
    switch.installed(+1)
    assert taken() == []


@pytest.mark.parametrize("call", [call for call, *_ in CALLS.values()], ids=CALLS)
def test_while_it_is_paused_nothing_is_recorded(call: Callable[[], Any]):
    with switch.pause():
        call()
        recorder.enter(SITE)
    assert taken() == []
    call()
    assert len(taken()) == 1


def test_once_torch_is_there_places_are_looked_for(monkeypatch: pytest.MonkeyPatch):
    for name, value in (("where", None), ("torch_pending", False)):
        monkeypatch.setattr(state, name, value)
    recording.expect_torch()
    there = [False]
    monkeypatch.setattr(modules, "find_torch", lambda: there[0])
    monkeypatch.setattr(places, "when_a_module_exists", lambda ready: ready())
    recording.look_for_torch()
    assert (state.where, state.torch_pending, state.takes_fast_path) == (None, True, False)
    there[0] = True
    recording.look_for_torch()
    assert state.where is places.where
    assert (state.torch_pending, state.takes_fast_path) == (False, True)
    recording.expect_torch()  # it has been found
    assert not state.torch_pending
    recording.forget_torch()
    assert state.where is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of a fork where threads run
def test_a_fork_made_while_another_thread_looks_for_torch_can_look(monkeypatch: pytest.MonkeyPatch):
    holds, done = threading.Event(), threading.Event()

    def look() -> None:
        with recording._asking:
            holds.set()
            done.wait(10)

    thread = threading.Thread(target=look)
    thread.start()
    assert holds.wait(10)
    child = os.fork()
    if child == 0:
        signal.alarm(5)  # a lock that nobody releases would be waited for without end
        recording.look_for_torch()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    done.set()
    thread.join()
    assert status == 0


def test_an_execution_that_starts_is_told_without_a_layer(owners: None):
    recorder.enter(SITE)
    assert taken() == [(STARTED, None)]


# Expressions


def test_an_expression_is_computed_in_its_own_module_also_when_that_is_imported_anew():
    source = "lambda y: (y, z)"
    for z in (1, 1, 2):
        module = {"z": z}
        for y in (3, 4):
            evaluate_in(module, None, SITE, source, {"y": y, "other": 0})
    assert [value for value, _ in taken()] == [(3, 1), (4, 1), (3, 1), (4, 1), (3, 2), (4, 2)]


def test_an_expression_is_compiled_once_for_a_module(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(expressions, "_functions", {})
    module: dict[str, Any] = {}
    for _ in range(2):
        evaluate_in(module, None, SITE, "lambda: 1", {})
        (function,) = expressions._functions.values()
        assert expressions._functions["m", "lambda: 1", ()] is function
        assert function.__globals__ is module
        assert function.__code__.co_filename == "<capture>"
        module["first"] = module.get("first", function)
    assert module["first"] is function


def test_an_expression_that_fails_is_told_and_stays_with_us():
    assert evaluate_in({}, "result", SITE, "lambda y: y.nothing", {"y": 1}) == "result"
    assert taken() == [("AttributeError: 'int' object has no attribute 'nothing'", None)]


def test_an_expression_has_none_of_the_recorders_future_imports():
    # With postponed annotations this would be text.
    evaluate_in({"made": lambda: made}, None, SITE, "lambda: [f.__annotations__ for f in [made()]][0]", {})

    def made(x: int) -> None: ...

    assert len(taken()) == 1


def fails(error: BaseException, deeper: bool = False) -> None:
    def inner() -> None:
        raise error

    try:
        if deeper:
            inner()
        raise error
    except BaseException:
        recorder.failed(SITE, "owner")


def test_what_goes_wrong_with_an_expression_is_told(owners: None):
    fails(ValueError("no"))
    assert taken() == [("ValueError: no", None)]


def test_a_local_that_an_expression_reads_and_that_is_not_bound_is_missed(owners: None):
    fails(UnboundLocalError("y"))
    assert taken() == [(MISSED, "owner")]
    fails(UnboundLocalError("y"), deeper=True)  # in a function that the expression calls
    assert taken() == [("UnboundLocalError: y", None)]


def test_what_is_no_mistake_goes_on_its_way():
    with pytest.raises(KeyboardInterrupt):
        fails(KeyboardInterrupt())
    assert taken() == []


def test_what_goes_wrong_in_a_second_run_has_been_told(monkeypatch: pytest.MonkeyPatch):
    seen: list[str] = []
    monkeypatch.setattr(checkpoint, "is_second_run", lambda frame: seen.append(frame.f_code.co_name) or True)
    monkeypatch.setattr(checkpoint, "backward_pass", lambda: 0)
    fails(ValueError())
    assert (taken(), seen) == ([], ["fails"])
    monkeypatch.setattr(checkpoint, "backward_pass", lambda: -1)
    fails(ValueError())
    assert len(taken()) == 1


def test_what_a_compiler_admits_no_record_of_is_told_with_what_to_do():
    compiled._tell(SITE, NotRecorded(compiled._NO_PLACE))
    ((told, where),) = taken()
    assert where is None
    assert told == (
        "NotRecorded: inside torch.compile, checkpoints and torch.cond allow no side effects, so nothing is recorded: "
        "run it without torch.compile, or set "
        "torch._dynamo.config.skip_fwd_side_effects_in_bwd_under_checkpoint = True first"
    )


# Blocks


def test_what_is_recorded_in_a_block_says_what_holds_in_it():
    cache = object()
    outer = scope.enter(tags={"a": 1, "b": 1})
    inner = scope.enter(tags={"b": 2}, sink=cache)
    recorder.record(None, SITE, 1)
    recorder.record(None, SITE, [2])
    unbound()
    fails(ValueError())
    recorder.enter(SITE)
    scope.leave(inner)
    recorder.record(None, SITE, 3)
    scope.leave(outer)
    recorder.record(None, SITE, 4)
    holdings = [event[4] for event in draining.drain()]
    assert [(dict(one.tags), one.sink) for one in holdings[:5]] == [({"a": 1, "b": 2}, cache)] * 5
    assert [(dict(one.tags), one.sink) for one in holdings[5:6]] == [({"a": 1, "b": 1}, None)]
    assert holdings[6:] == [None]


def test_what_there_is_no_room_for_is_counted_for_the_cache_that_it_would_have_gone_to(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(budget, "look", lambda wanted: 0)
    for name, value in (("remaining_bytes", -1), ("limit_reached", False)):
        monkeypatch.setattr(state, name, value)
    budget.take_left_out()
    cache = object()
    block = scope.enter(sink=cache)
    recorder.record(None, SITE, numpy.zeros(10))
    scope.leave(block)
    recorder.record(None, SITE, numpy.zeros(10))
    assert budget.take_left_out() == {(SITE, cache): 1, (SITE, None): 1}


# Taking out


def test_what_is_recorded_while_events_are_taken_stays_for_the_next_time():
    recorder.record(None, SITE, 1)
    assert [value for value, _ in taken()] == [1]
    recorder.record(None, SITE, 2)
    recorder.record(None, SITE, 3)
    assert [value for value, _ in taken()] == [2, 3]
    assert taken() == []


def test_what_was_taken_out_counts_unless_it_was_weighed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(state, "remaining_bytes", 10_000)
    monkeypatch.setattr(state, "accounted", 0)
    recording.select_code()
    for _ in range(3):
        recorder.record(None, SITE, 1)
    monkeypatch.setattr(state, "accounted", 1)
    draining.drain()
    assert (state.remaining_bytes, state.accounted) == (10_000 - 2 * EVENT, 0)


# The room


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What `budget` is asked for; it gives ten thousand bytes."""
    asked: list[int] = []
    monkeypatch.setattr(budget, "look", lambda wanted: asked.append(wanted) or 10_000)
    for name, value in (("remaining_bytes", -1), ("limit_reached", False), ("accounted", 0)):
        monkeypatch.setattr(state, name, value)
    return asked


def test_arrays_take_from_the_room_what_they_and_their_record_weigh(looks: list[int]):
    array = numpy.zeros(100)  # 800 bytes
    recorder.record(None, SITE, array)
    assert looks == [800 + EVENT]
    assert state.remaining_bytes == 10_000 - (800 + EVENT)
    for _ in range(8):
        recorder.record(None, SITE, array)
    assert len(looks) == 1
    recorder.record(None, SITE, array)
    assert len(looks) == 2
    assert len(taken()) == 10


def test_values_that_are_kept_as_they_are_are_weighed_by_the_collectors_rounds(looks: list[int]):
    state.remaining_bytes = 10 * EVENT
    recording.select_code()
    for _ in range(10):
        recorder.record(None, SITE, 1)
    recording._watch_events("start", {})
    assert state.takes_fast_path
    recorder.record(None, SITE, 1)
    recording._watch_events("stop", {})
    assert state.takes_fast_path
    recording._watch_events("start", {})
    assert not state.takes_fast_path
    assert state.remaining_bytes == -1
    recorder.record(None, SITE, 1)
    assert len(looks) == 1
    assert state.accounted == 11
    assert state.takes_fast_path
    assert len(taken()) == 12


def test_a_value_for_which_there_is_no_room_is_counted(looks: list[int], monkeypatch: pytest.MonkeyPatch):
    left_out: list[Any] = []
    monkeypatch.setattr(budget, "leave_out", lambda site, holding: left_out.append((site, holding)))
    monkeypatch.setattr(budget, "look", lambda wanted: 0)
    recorder.record(None, SITE, numpy.zeros(10))
    recorder.record(None, SITE, numpy.zeros(10))
    recorder.record(None, SITE, 1)  # the short way is closed too
    assert left_out == [(SITE, None)] * 3
    monkeypatch.setattr(budget, "look", lambda wanted: 1000)
    recorder.record(None, SITE, 2)
    assert left_out == [(SITE, None)] * 4  # until it is told that there is room
    budget.on_room()
    assert state.remaining_bytes < 0  # an empty tensor is asked for too
    recorder.record(None, SITE, 3)
    assert [value for value, _ in taken()] == [3]


def test_where_another_thread_has_looked_meanwhile_the_value_is_recorded(
    looks: list[int], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(budget, "look", lambda wanted: looks.append(wanted))
    recorder.record(None, SITE, numpy.zeros(10))
    assert len(looks) == 1
    assert len(taken()) == 1


def test_the_collector_is_watched_while_recording_is_on_and_once():
    assert gc.callbacks.count(recording._watch_events) == 1
    recording.switch(True)
    assert gc.callbacks.count(recording._watch_events) == 1
    with switch.pause():  # of this thread alone
        assert gc.callbacks.count(recording._watch_events) == 1
    recording.switch(False)
    assert recording._watch_events not in gc.callbacks
    recording.switch(True)


# Calls of attention


def test_what_is_not_callable_is_called_by_the_program_itself():
    assert recorder.attend((), (), 3) == 3


def test_a_call_of_something_else_is_that_call():
    made = recorder.attend(((SITE, "output"),), (), dict, [("a", 1)], b=2)
    assert made() == {"a": 1, "b": 2}
    assert taken() == []
