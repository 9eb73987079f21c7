"""The chains of values that compiled code leaves behind, called plainly: outside the compiler they do the same."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch._dynamo
import torch._dynamo.eval_frame
import torch._dynamo.symbolic_convert
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from astcapture.record import frames, scope
from astcapture.record.torch import carried, compiled, modules, places
from astcapture.record.torch import chain as compiled_chain
from astcapture.record.torch.chain import Chain, Link
from astcapture.record.torch.places import Where

SITES = [("m", "f", label, line) for line, label in enumerate("abcdefgh")]


@pytest.fixture(autouse=True)
def _torch_is_found() -> None:
    assert modules.find_torch()


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The chains of which it is told that compiled code has run; nothing of other tests, and nothing left."""
    told: list[Any] = []
    monkeypatch.setattr(compiled_chain, "on_run", [told.append])
    all_taken()
    yield told
    all_taken()


@pytest.fixture
def chain() -> Iterator[Chain]:
    chain = Chain()
    assert chain in compiled_chain.chains
    yield chain
    compiled_chain.chains.remove(chain)


def layers_of(events: list[Any]) -> list[str | None]:
    return [None if event[3] is None else event[3].layer for event in events]


def path_of(reference: weakref.ref[Any]) -> str | None:
    where = places.where_of(reference)
    return None if where is None else where.layer


def all_taken() -> list[Any]:
    """The events of all threads, of whichever run."""
    return [event for events in compiled_chain.take([]) for event in events]


def taken(chain: Chain) -> list[Any]:
    """All events, of whichever run."""
    (events,) = chain.take()
    return events


def add(chain: Chain, *values: Any, owner: Any = None) -> None:
    """As compiled code does."""
    for value in values:
        chain.last = Link([chain.last, SITES[0], value, owner])


def values_of(links: list[Link]) -> list[Any]:
    return [link.value for link in links]


# Chains.


def test_what_is_taken_is_in_order_with_site_value_thread_and_path_and_is_given_once(chain: Chain) -> None:
    assert taken(chain) == []
    model = nn.Sequential(nn.Sequential(nn.ReLU()))
    chain.last = Link([chain.last, SITES[0], 1, weakref.ref(model[0][0])])
    chain.last = Link([chain.last, SITES[1], 2, None])
    chain.last = Link([chain.last, SITES[2], 3, weakref.ref(model[0])])
    thread = threading.get_ident()
    inner, outer = Where("0.0", "Sequential"), Where("0", "Sequential")
    events = taken(chain)
    assert [(event[3] or Where("", "")).model.partition("#")[0] for event in events] == ["Sequential", "", "Sequential"]
    assert [(*event[:3], event[3] and event[3].layer, event[4]) for event in events] == [
        (SITES[0], 1, thread, inner.layer, None),
        (SITES[1], 2, thread, None, None),
        (SITES[2], 3, thread, outer.layer, None),
    ]
    assert taken(chain) == []
    add(chain, 4)
    add(chain, 5)
    assert [value for _, value, *_ in taken(chain)] == [4, 5]
    assert taken(chain) == []


def test_what_is_taken_is_left_to_nobody_else(chain: Chain) -> None:
    class Value:
        pass

    values, owners = [Value() for _ in range(3)], [nn.ReLU() for _ in range(3)]
    for value, owner in zip(values, owners, strict=True):
        add(chain, value, owner=weakref.ref(owner))
    before = chain.last.before
    assert before is not None
    gone = [weakref.ref(value) for value in values]
    del value, values, owner
    events = taken(chain)
    assert [one() is event[1] for one, event in zip(gone, events, strict=True)] == [True] * 3
    del events
    assert [one() for one in gone] == [None] * 3
    assert (before.site, before.value, before.owner, before.before) == (None, None, None, None)


def test_a_link_that_is_added_while_the_links_are_taken_is_there_the_next_time(chain: Chain) -> None:
    add(chain, 1)
    late = Link([chain.last, SITES[1], 2, None])  # compiled code has read the last link and not replaced it yet
    assert [value for _, value, *_ in taken(chain)] == [1]
    chain.last = late
    assert [value for _, value, *_ in taken(chain)] == [2]


def test_new_links_are_handed_out_once_oldest_first(chain: Chain) -> None:
    assert chain.settled(True) == []
    add(chain, 1, 2, 3)
    assert values_of(chain.settled(True)) == [1, 2, 3]
    assert chain.settled(True) == []
    add(chain, 4)
    add(chain, 5)
    assert values_of(chain.settled(True)) == [4, 5]
    assert [value for _, value, *_ in taken(chain)] == [1, 2, 3, 4, 5]
    add(chain, 6)
    assert values_of(chain.settled(True)) == [6]


def test_the_links_of_the_last_run_are_left_for_the_next_time(chain: Chain) -> None:
    add(chain, 1, 2)
    assert chain.settled(False) == []
    add(chain, 3)
    assert values_of(chain.settled(False)) == [1, 2]
    add(chain, 4)
    add(chain, 5)
    assert values_of(chain.settled(False)) == [3]
    assert values_of(chain.settled(False)) == [4, 5]
    assert chain.settled(False) == []
    add(chain, 6)
    assert values_of(chain.settled(True)) == [6]
    assert chain.settled(False) == []


def test_those_that_are_left_come_when_all_are_there_for_sure(chain: Chain) -> None:
    add(chain, 1)
    assert chain.settled(False) == []
    add(chain, 2)
    assert values_of(chain.settled(True)) == [1, 2]
    assert chain.settled(False) == []


def test_links_that_were_taken_meanwhile_are_not_handed_out(chain: Chain) -> None:
    add(chain, 1, 2)
    assert chain.settled(False) == []
    assert len(taken(chain)) == 2
    add(chain, 3)
    assert chain.settled(False) == []
    assert values_of(chain.settled(True)) == [3]


def test_the_values_of_a_chain_are_told_and_stay(chain: Chain) -> None:
    add(chain, 1, 2, 3)
    for _ in range(2):
        assert [value for value in chain.values() if value is not None] == [3, 2, 1]
    assert len(taken(chain)) == 3
    assert [value for value in chain.values() if value is not None] == []


def test_all_threads_are_taken_from_each_in_order_and_with_its_own_number(runs: list[Any]) -> None:
    def run() -> None:
        for value in (1, 2):
            compiled.put(SITES[1], value, None, ())

    thread = threading.Thread(target=run)
    compiled.put(SITES[0], 0, None, ())
    thread.start()
    thread.join()
    events = all_taken()
    here = threading.get_ident()
    assert [event for event in events if event[0] == SITES[0]] == [(SITES[0], 0, here, None, None)]
    other = [event for event in events if event[0] == SITES[1]]
    assert [value for _, value, *_ in other] == [1, 2]
    assert {event[2] for event in other} == {thread.ident}
    assert all_taken() == []


def test_taking_forgets_the_paths_of_modules_that_are_gone(runs: list[Any]) -> None:
    model = nn.Sequential(nn.ReLU())
    compiled.put(SITES[0], 1, model[0], ())
    assert layers_of(all_taken()) == ["0"]
    assert [one.where.layer for one in places._named.values() if one.module() is model[0]] == ["0"]
    gone = weakref.ref(model[0])
    del model
    assert gone() is None
    compiled.put(SITES[0], 2, None, ())
    all_taken()
    assert not [one for one in places._named.values() if one.module() is None]


# What compiled code runs.


def test_what_is_put_is_taken_with_the_layer_of_its_module(runs: list[Any]) -> None:
    model = nn.Sequential(nn.ReLU(), nn.Sequential(nn.ReLU()))
    for index, owner in enumerate([model[0], "no module", model[1][0], model, None]):
        compiled.put(SITES[index], index, owner, ())
    events = all_taken()
    assert [(site, value) for site, value, *_ in events] == [(SITES[index], index) for index in range(5)]
    assert layers_of(events) == ["0", None, "1.0", "", None]


def test_what_is_put_keeps_no_module_alive(runs: list[Any]) -> None:
    model = nn.Sequential(nn.ReLU())
    compiled.put(SITES[0], 1, model[0], ())
    gone = weakref.ref(model[0])
    del model
    assert gone() is None
    assert [value for _, value, *_ in all_taken()] == [1]


@pytest.fixture
def already_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the compiler asks as it traces is a constant to the code that runs."""
    monkeypatch.setattr(compiled, "has_place", lambda site: True)


@pytest.mark.usefixtures("already_traced")
def test_with_each_value_the_recorder_is_told_that_code_has_run_before(runs: list[Any]) -> None:
    compiled.put(SITES[0], 1, None, ())
    runs.clear()
    compiled.put(SITES[0], 2, None, ())
    compiled.put(SITES[0], 3, None, ())
    assert len(runs) == 2
    assert runs[0] is runs[1]
    assert [value for value in runs[0].values() if value is not None] == [3, 2, 1]
    assert runs[0].thread == threading.get_ident()


def test_what_the_recorder_is_told_is_kept_out_of_the_compiler_and_that_is_asked_for_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disable, disabled, got = torch._dynamo.disable, [], []

    def counting(function: Any) -> Any:
        disabled.append(function)
        return disable(function)

    monkeypatch.setattr(torch._dynamo, "disable", counting)

    def told(*arguments: Any) -> None:
        got.append(arguments)

    for number in range(3):
        compiled_chain._run_uncompiled(told, number, "more")
    assert got == [(number, "more") for number in range(3)]
    assert disabled == [told]


def test_an_error_as_the_recorder_is_told_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)

    def fail(chain: Chain) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(compiled_chain, "on_run", [fail])
    tick = compiled_chain.Tick()
    del tick
    assert unraisable == []


# Where the compiler admits no side effects.


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Stand inside a graph that the compiler traces: its tracer has a parent, and what is said of it."""

    def stand(**said: bool) -> None:
        tracer = SimpleNamespace(parent=object(), **said)
        place(tracer)

    def place(tracer: Any) -> None:
        translator = SimpleNamespace(output=SimpleNamespace(current_tracer=tracer))
        monkeypatch.setattr(
            torch._dynamo.symbolic_convert.InstructionTranslator, "current_tx", staticmethod(lambda: translator)
        )

    stand.place = place  # type: ignore[attr-defined]
    return stand


@pytest.fixture
def left_out(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    told: list[Any] = []
    monkeypatch.setattr(compiled, "_tell", lambda site, error: told.append(site))
    return told


def test_inside_a_graph_of_its_own_a_value_has_no_place_and_that_is_told(
    inside: Any, left_out: list[Any], runs: list[Any]
) -> None:
    inside()
    assert compiled.has_place(SITES[0]) is False
    assert left_out == [SITES[0]]
    assert compiled.has_place(None) is False
    compiled.put(SITES[1], 1, None, ())
    assert left_out == SITES[:2]
    assert all_taken() == []


@pytest.mark.parametrize("name", ["allow_side_effects_in_hop", "unsafe_allow_externally_visible_side_effects"])
def test_a_graph_that_admits_side_effects_has_a_place_for_it(name: str, inside: Any, left_out: list[Any]) -> None:
    inside(**{name: True})
    assert compiled.has_place(SITES[0]) is True
    inside(**{name: False})
    assert compiled.has_place(None) is False
    assert left_out == []


def test_in_the_outermost_graph_there_is_a_place(inside: Any, left_out: list[Any]) -> None:
    inside.place(SimpleNamespace(parent=None))
    assert compiled.has_place(SITES[0]) is True
    assert left_out == []


def test_another_torch_says_itself_what_it_does_not_admit(
    monkeypatch: pytest.MonkeyPatch, inside: Any, left_out: list[Any]
) -> None:
    inside.place(SimpleNamespace())
    assert compiled.has_place(SITES[0]) is True
    monkeypatch.setitem(sys.modules, "torch._dynamo.symbolic_convert", None)  # type: ignore[arg-type]
    assert compiled.has_place(SITES[0]) is True
    assert left_out == []


def test_side_effects_that_cancel_out_are_made_where_the_compiler_checks_for_none(
    inside: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[Any] = []

    def unchecked(function: Any, *arguments: Any) -> Any:
        called.append((function, arguments))
        return function(*arguments)

    name = "_disable_side_effect_safety_checks_for_current_subtracer"
    assert hasattr(torch._dynamo.utils, name)
    monkeypatch.setattr(torch._dynamo.utils, name, unchecked)
    assert compiled.beside(max, 1, 2) == 2
    assert called == []
    inside()
    assert compiled.beside(max, 1, 2) == 2
    assert called == [(max, (1, 2))]
    monkeypatch.delattr(torch._dynamo.utils, name)
    assert compiled.beside(max, 3, 2) == 3
    assert len(called) == 1


@pytest.mark.parametrize("where", ["anywhere", "inside"])
def test_a_return_value_that_waits_in_compiled_code_comes_back_last_in_first_out(where: str, inside: Any) -> None:
    if where == "inside":
        inside()
    hold, release = frames.hold._torchdynamo_inline, frames.release._torchdynamo_inline
    hold(1)
    hold(2)
    assert (release(), release()) == (2, 1)
    # It is the same stack as outside, so that a graph that breaks in between loses nothing.
    hold(3)
    frames.hold(4)
    assert (release(), frames.release()) == (4, 3)


def test_locals_that_compiled_code_hands_over_stay_as_they_are() -> None:
    assert frames.forget._torchdynamo_inline(5, {"a": 1}) == 5
    names = {"a": 1}
    frames.forget._torchdynamo_inline(5, names)
    assert names == {"a": 1}


def test_in_a_program_that_is_exported_nothing_has_a_place(monkeypatch: pytest.MonkeyPatch, runs: list[Any]) -> None:
    value = torch.ones(2)
    # As the compiler has it when it traces a tensor; else it is what it traced last in this process.
    monkeypatch.setattr(carried._found, "how", carried._TENSOR)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    compiled.put(SITES[0], 1, None, ())
    assert compiled.snapshot(value) is value
    assert all_taken() == []
    monkeypatch.delattr(torch.compiler, "is_exporting")  # an older torch
    compiled.put(SITES[0], 2, None, ())
    assert compiled.snapshot(value) is not value
    assert [event[1] for event in all_taken()] == [2]


# Values.


def test_what_stands_in_the_memory_of_a_cuda_graph_is_copied_by_an_operator_that_is_kept_out_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The compiler is asked to make the operator known before it traces the call.
    monkeypatch.setattr(torch._dynamo.comptime, "comptime", lambda function: function(object()))
    ran: list[str] = []

    class Noting(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            ran.append(str(function))
            return function(*args, **(kwargs or {}))

    for device, operator in (("cuda", "astcapture.copy_of.default"), ("cpu", "aten.clone.default")):
        with FakeTensorMode(), Noting():
            value = torch.empty(2, 3, device=device)
            ran.clear()
            copy = carried._copy(value)
        assert operator in ran
        assert (copy.shape, copy.device.type) == ((2, 3), device)
        assert copy is not value


# The names of modules, as the compiler traces.


def context(*tracers: Any, **variables: Any) -> Any:
    """Stands in for what the compiler hands to a function that it runs as it traces."""

    def get_local(name: str) -> Any:
        return SimpleNamespace(_i_will_not_complain_if_bc_breaks_VariableTracker=lambda: variables[name])

    return SimpleNamespace(
        get_local=get_local, _i_will_not_complain_if_bc_breaks_InstructionTranslator=lambda: tracers and tracers[0]
    )


def test_a_module_is_named_as_its_function_is_traced_so_that_its_name_outlives_it() -> None:
    model = nn.Sequential(nn.ReLU(), nn.Sequential(nn.ReLU()))
    reference = weakref.ref(model[1][0])
    compiled._name_owner(context(one=SimpleNamespace(value=model[1][0])))
    del model
    assert reference() is None
    assert path_of(reference) == "1.0"


def test_an_owner_that_the_compiler_has_no_module_for_is_passed_over() -> None:
    compiled._name_owner(context(one=SimpleNamespace()))
    compiled._name_owner(context(one=SimpleNamespace(value=None)))


def test_the_compiler_is_asked_to_name_the_owner_of_each_value(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    comptime = torch._dynamo.comptime.comptime
    monkeypatch.setattr(
        torch._dynamo.comptime, "comptime", lambda function: (asked.append(function), comptime(function))
    )
    model = nn.Sequential(nn.ReLU())
    reference = compiled._reference(model[0], ())
    assert reference() is model[0]
    (function,) = asked
    function(context(one=SimpleNamespace(value=model[0])))
    del model
    assert path_of(reference) == "0"
    assert compiled._reference("no module", ()) is None
    assert asked[1:] == [compiled._put_innermost], "the innermost module that is traced, of which there is none here"
    del asked[1:]
    # A parameter that holds a module does where what it was called on is none.
    other = nn.ReLU()
    assert compiled._reference("no module", (None, other))() is other
    assert len(asked) == 2


def test_of_several_places_the_modules_that_the_compiler_follows_decide() -> None:
    leaf = nn.ReLU()
    model = nn.Sequential(nn.Sequential(leaf), nn.Sequential(leaf))
    tracer: Any = None
    for one in (model, model[1], leaf):
        tracer = SimpleNamespace(symbolic_locals={"self": SimpleNamespace(value=one)}, parent=tracer)
    compiled._name_owner(context(tracer, one=SimpleNamespace(value=leaf)))
    assert path_of(weakref.ref(leaf)) == "1.0"


# Blocks.


@pytest.mark.parametrize("traced", ["each time", "once"])
def test_each_run_has_what_held_as_it_ran(traced: str, runs: list[Any], request: pytest.FixtureRequest) -> None:
    compiled.put(SITES[0], -1, None, ())
    if traced == "once":
        request.getfixturevalue("already_traced")

    def run(value: int) -> None:
        """Two values; compiled code lets go of the tick when all are there."""
        compiled.put(SITES[0], value, None, ())
        compiled.put(SITES[1], value, None, ())

    before = scope.enter(tags={"n": 0})
    run(0)
    inner = scope.enter(tags={"n": 1})
    run(1)
    scope.leave(inner)
    run(2)
    scope.leave(before)
    run(3)
    holdings = [event[4] for event in all_taken()]
    assert [None if one is None else one.tags["n"] for one in holdings] == [None, 0, 0, 1, 1, 0, 0, None, None]
