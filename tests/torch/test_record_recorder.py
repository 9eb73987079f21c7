"""What rewritten code calls, with torch: layers, options, and what the compiler is given to trace, called plainly."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from astcapture.errors import CaptureError
from astcapture.record import budget, draining, policy, recorder, recording, switch
from astcapture.record.events import LEFT_OUT, MISSED, STARTED, Failed
from astcapture.record.options import read_conversions
from astcapture.record.state import state
from astcapture.record.taking import split
from astcapture.record.torch import chain as compiled_chain
from astcapture.record.torch import compiled
from astcapture.record.weight import EVENT
from astcapture.targets.target import parse_targets

SITE = ("m", "f", "y", 3)
SITES = tuple((("m", "f", f"{name}@sdpa", 3), name) for name in ("query", "weights", "output"))
#: What the compiler traces instead.
traced: dict[str, Callable[..., Any]] = {
    name: getattr(recorder, name)._torchdynamo_inline for name in ("record", "missed", "enter", "attend")
}


def carried(value: Any) -> Any:
    """What the compiler makes of a value as it traces, which it does not here."""
    return value.detach().clone() if isinstance(value, torch.Tensor) else value


@pytest.fixture(autouse=True)
def on(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Recording on, as with a hook installed, torch found, and nothing recorded yet."""
    monkeypatch.setattr(compiled, "carried", carried)
    gc.disable()
    switch.installed(+1)
    recording.expect_torch()
    recorder.record(None, SITE, 0)
    draining.settle_compiled()
    draining.drain()
    yield
    switch.installed(-1)
    gc.enable()
    draining.drain()
    budget._left_out.clear()


@pytest.fixture
def model() -> nn.Module:
    """A model that is running its inner layer."""
    return nn.Sequential(nn.Sequential(Recording()))


class Recording(nn.Module):
    work: Callable[[Any], Any]

    def forward(self, x: Any) -> Any:
        return type(self).work(self)


def run(model: nn.Module, work: Callable[[Any], Any]) -> list[Any]:
    """What has been recorded in the inner layer: site, value and layer."""
    Recording.work = work
    model(0)
    return found()


def found() -> list[Any]:
    events = draining.drain()
    assert {event[2] for event in events} <= {threading.get_ident()}
    assert {event[4] for event in events} <= {None}
    return [(site, value, None if where is None else where.layer) for site, value, _, where, _ in events]


@pytest.mark.parametrize(
    "value", [1, Ellipsis, "text", MISSED, STARTED], ids=["number", "object", "text", "missed", "started"]
)
@pytest.mark.parametrize("call", ["plain", "traced"])
def test_each_kind_of_event_has_its_site_its_value_and_the_layer_of_its_owner(model: nn.Module, call: str, value: Any):
    def work(layer: Any) -> None:
        if value is STARTED:
            (traced["enter"] if call == "traced" else recorder.enter)(SITE)
        elif value is MISSED:
            (traced["missed"] if call == "traced" else recorder.missed)(SITE, layer)
        else:
            kept = (traced["record"] if call == "traced" else recorder.record)("result", SITE, value, layer)
            assert kept == "result"

    # One start of a function may leave any number of values; each has its layer itself.
    layer = None if value is STARTED else "0.0"
    assert run(model, work) == [(SITE, value, layer)]
    with switch.pause():
        assert run(model, work) == []


@pytest.mark.parametrize("call", ["plain", "traced"])
@pytest.mark.parametrize("grad", [False, True])
def test_of_a_tensor_a_detached_copy_is_recorded(model: nn.Module, call: str, grad: bool):
    tensor = torch.arange(3.0, requires_grad=grad)
    record = traced["record"] if call == "traced" else recorder.record
    ((site, kept, layer),) = run(model, lambda layer: record(None, SITE, tensor * 1, layer))
    assert (site, layer) == (SITE, "0.0")
    assert torch.equal(kept, tensor)
    assert not kept.requires_grad
    recorder.record(None, SITE, tensor.detach(), None)
    ((_, kept, _),) = found()
    with torch.no_grad():
        tensor += 1
    assert kept.tolist() == [0, 1, 2]


@pytest.mark.parametrize("call", ["plain", "traced"])
def test_a_call_of_attention_leaves_what_is_asked_of_it(model: nn.Module, call: str):
    q, k, v = torch.randn(3, 1, 2, 4, 8)
    attend = traced["attend"] if call == "traced" else recorder.attend
    outputs: list[Any] = []

    def work(layer: Any) -> None:
        outputs.append(attend(SITES, (layer,), F.scaled_dot_product_attention, q, k, value=v, is_causal=True)())

    events = run(model, work)
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    weights = torch.where(torch.ones(4, 4).tril().bool(), q @ k.mT / 8**0.5, -torch.inf).softmax(-1)
    assert torch.equal(outputs[0], expected)
    assert [(site, layer) for site, _, layer in events] == [(site, "0.0") for site, _ in SITES]
    for (_, kept, _), value in zip(events, (q, weights, expected), strict=True):
        torch.testing.assert_close(kept, value)
    with switch.pause():
        assert run(model, work) == []
    assert torch.equal(outputs[1], expected)


def test_a_call_of_something_else_is_that_call_to_the_compiler_too():
    assert traced["attend"](SITES, (), divmod, 7, 2)() == (3, 1)
    assert traced["attend"](SITES, (), int, "11", base=2)() == 3
    assert found() == []


@pytest.fixture
def ask() -> Iterator[Callable[..., None]]:
    hooks = []

    def add(**options: Any) -> None:
        hook = object()
        policy.add(hook, parse_targets("m:f=y"), read_conversions(**options))
        hooks.append(hook)
        recording.convert()

    yield add
    for hook in hooks:
        policy.remove(hook)
    recording.convert()


def put(*values: Any, site: Any = SITE) -> None:
    for value in values:
        traced["record"](None, site, value, None)


def test_what_compiled_code_recorded_is_converted_after_the_run_by_its_own_options(ask: Callable[..., None]):
    ask(dtype="float16")
    other = ("n", "f", "y", 3)
    put(torch.ones(2))
    put(torch.ones(2), site=other)
    traced["missed"](SITE, None)
    put(torch.zeros(2))
    draining.settle_compiled()
    events = found()
    assert [site for site, _, _ in events] == [SITE, other, SITE, SITE]
    assert [value if value is MISSED else value.dtype for _, value, _ in events] == [
        torch.float16,
        torch.float32,
        MISSED,
        torch.float16,
    ]


def test_a_reduction_that_fails_of_what_compiled_code_recorded_is_kept_as_its_failure(ask: Callable[..., None]):
    ask(reduce=lambda value: value.sum() if len(value) == 2 else value.no_such)
    put(torch.ones(2), torch.ones(3), torch.ones(2))
    draining.settle_compiled()
    first, failed, last = (value for _, value, _ in found())
    assert (first, last) == (2, 2)
    assert isinstance(failed, Failed)
    assert "no_such" in failed.error


def test_what_compiled_code_recorded_is_a_copy_and_is_copied_no_more(ask: Callable[..., None]):
    ask(dtype={"other": "float16"})
    tensor = torch.ones(2)
    put(tensor)
    copied = compiled_chain.of_thread.chain.last.value
    assert copied is not tensor
    draining.settle_compiled()
    ((_, kept, _),) = found()
    assert kept is copied


def test_of_what_compiled_code_recorded_the_gradient_is_told_to_be_out_of_reach(ask: Callable[..., None]):
    ask(grad=True, dtype="float64")
    put(torch.ones(2), torch.ones(2, dtype=torch.int64))
    draining.settle_compiled()
    real, whole = (value for _, value, _ in found())
    value, gradient = split(real)
    assert value.tolist() == [1, 1]
    assert value.dtype == torch.float64
    assert gradient is not None
    with pytest.raises(CaptureError, match=r"run the model without torch\.compile"):
        _ = gradient.value
    assert split(whole) == (whole, None)  # no gradient reaches an integer


def test_what_compiled_code_recorded_without_room_is_left_out_and_counted(monkeypatch: pytest.MonkeyPatch):
    looked: list[int] = []
    monkeypatch.setattr(budget, "look", lambda wanted: looked.append(wanted) or 5000)
    monkeypatch.setattr(state, "remaining_bytes", -1)
    monkeypatch.setattr(state, "limit_reached", False)
    put(torch.ones(1000))
    draining.settle_compiled()
    assert looked == [4000 + EVENT]
    monkeypatch.setattr(budget, "look", lambda wanted: 0)
    put(torch.ones(1000), torch.ones(1000))
    draining.settle_compiled()
    assert [tuple(value.shape) for _, value, _ in found()] == [(1000,)]
    assert budget._left_out == {(SITE, None): 2}
    budget.on_room()
    monkeypatch.setattr(budget, "look", lambda wanted: 10**9)
    put(1)
    draining.settle_compiled()
    assert [value for _, value, _ in found()] == [1]


def test_what_another_thread_has_taken_out_is_not_looked_at_again(monkeypatch: pytest.MonkeyPatch):
    chain = compiled_chain.of_thread.chain
    put(torch.ones(2), torch.ones(2))
    first = chain.last.before
    chain.last.clear()  # as `Chain.take` leaves it
    monkeypatch.setattr(chain, "settled", lambda all_of_them: [chain.last, first])
    monkeypatch.setattr(budget, "look", lambda wanted: 0)
    monkeypatch.setattr(state, "remaining_bytes", -1)
    monkeypatch.setattr(state, "limit_reached", False)
    draining.settle_compiled()
    assert chain.last.value is not LEFT_OUT
    assert first.value is LEFT_OUT
    assert budget._left_out == {(SITE, None): 1}


def at_the_recursion_limit(call: Callable[[], Any], tries: int = 60) -> set[str]:
    """What `call` does with ever less of the stack left: nothing but its own result, or the program's own error."""

    def deeper(left: int) -> Any:
        return call() if left == 0 else deeper(left - 1)

    seen = set()
    depth, frame = 0, sys._getframe()
    while frame is not None:
        depth, frame = depth + 1, frame.f_back  # type: ignore[assignment]
    room = sys.getrecursionlimit() - depth
    for left in range(room - tries, room):
        try:
            seen.add(repr(deeper(left)))
        except RecursionError as error:
            frames = []
            traceback = error.__traceback__
            while traceback is not None:
                frames.append(traceback.tb_frame.f_code.co_filename)
                traceback = traceback.tb_next
            assert not any(name == recorder.__file__ for name in frames[:-1])
            seen.add("too deep")
    return seen


@pytest.mark.parametrize(
    "call",
    [
        lambda: recorder.record("result", SITE, [1], None),
        lambda: recorder.look("result", SITE, "y", {"y": [1]}),
        lambda: recorder.evaluate("result", SITE, "lambda y: [y]", {"y": 1}),
    ],
    ids=["record", "look", "evaluate"],
)
def test_at_the_recursion_limit_the_program_goes_on_and_it_is_told_of_once(call: Callable[[], Any]):
    seen = at_the_recursion_limit(call)
    assert "'result'" in seen
    events = draining.drain()
    told = [event for event in events if isinstance(event[1], Failed)]
    assert [(site, value.error, *others) for site, value, *others in told] == [
        (SITE, "RecursionError: the recursion limit was reached while recording the value", 0, None, None)
    ]
    assert [value for _, value, *_ in events if not isinstance(value, Failed)] == [[1]] * (len(events) - 1)
