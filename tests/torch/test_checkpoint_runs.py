"""How a run of ``torch.utils.checkpoint`` is told to be the second, on a few numbers and without a module."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy
import pytest

torch = pytest.importorskip("torch")
from torch.utils.checkpoint import CheckpointFunction, checkpoint  # noqa: E402

from astcapture.record import asked, budget, draining, recorder, recording, switch  # noqa: E402
from astcapture.record.options import PLAIN, Conversion  # noqa: E402
from astcapture.record.state import state  # noqa: E402
from astcapture.record.taking import WithGradient, expected_size, parts, split, taken  # noqa: E402
from astcapture.record.torch import checkpoint as ours  # noqa: E402
from astcapture.record.torch.gradient import Gradient  # noqa: E402
from astcapture.record.weight import EVENT, Scale, parts_of  # noqa: E402

pytestmark = pytest.mark.torch
SITE = ("m", "f", "y", 3)


@pytest.fixture(autouse=True)
def _found() -> None:
    ours.find()


@pytest.fixture
def on() -> Iterator[None]:
    switch.installed(+1)
    recording.expect_torch()
    recorder.record(None, SITE, torch.zeros(1))  # torch is looked for, and this type known from then on
    draining.drain()
    yield
    switch.installed(-1)
    draining.drain()


def test_torchs_own_code_is_found():
    assert ours._again is not None
    assert ours._again.co_name == "recompute_fn"
    assert ours._backward is CheckpointFunction.backward.__code__
    assert ours._forward is CheckpointFunction.forward.__code__
    assert ours._autograd is torch.autograd.backward.__code__
    assert ours.backward_pass is torch._C._current_graph_task_id


def test_without_torch_nothing_is_found(monkeypatch: pytest.MonkeyPatch):
    for name in ("backward_pass", "_again", "_backward", "_autograd", "_forward"):
        monkeypatch.setattr(ours, name, None)
    monkeypatch.delitem(sys.modules, "torch.utils.checkpoint")
    ours.find()
    assert (ours.backward_pass, ours._again) == (None, None)
    assert ours._nowhere() == -1


def test_a_torch_without_one_of_its_functions_has_no_second_runs(monkeypatch: pytest.MonkeyPatch):
    home = sys.modules["torch.utils.checkpoint"]
    monkeypatch.delattr(home, "_checkpoint_without_reentrant_generator")
    monkeypatch.delattr(torch._C, "_current_graph_task_id")
    for name in ("backward_pass", "_again"):
        monkeypatch.setattr(ours, name, getattr(ours, name))
    ours.find()
    assert ours._again is None
    assert ours.backward_pass() == -1


@pytest.mark.parametrize("reentrant", [True, False])
def test_the_run_in_backward_is_the_second(reentrant: bool):
    runs: list[tuple[bool, bool]] = []

    def forward(x: Any) -> Any:
        runs.append((ours.is_second_run(sys._getframe()), ours.backward_pass() != -1))
        return x.sin() * x

    x = torch.ones(2, requires_grad=True)
    checkpoint(forward, x, use_reentrant=reentrant).sum().backward()
    assert runs == [(False, False), (True, True)]
    assert not ours.is_second_run(None)


def test_what_a_backward_calls_that_was_found_behind_a_checkpoint_is_no_second_run():
    runs: list[bool] = []

    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            runs.append(ours.is_second_run(sys._getframe()))
            return gradient * 2

    x = torch.ones(2, requires_grad=True)
    checkpoint(Twice.apply, x.sin(), use_reentrant=True).sum().backward()
    assert runs == [False]


def test_the_gradient_of_a_first_run_comes_with_the_second():
    gradients: list[tuple[str, Gradient]] = []
    waits: list[bool] = []

    def forward(x: Any) -> Any:
        again = ours.is_second_run(sys._getframe())
        for name, step in (("a", torch.sin), ("b", torch.cos), ("a", torch.exp)):
            y = step(x)
            if again:
                ours.join(name, y)
            else:
                gradient = Gradient(PLAIN)
                waits.append(ours.wait(name, gradient))
                gradients.append((name, gradient))
            x = y
        return x

    start = torch.full((2,), 0.5, requires_grad=True)
    result = checkpoint(forward, start, use_reentrant=True)
    assert waits == [True] * 3
    assert all(gradient.pending for _, gradient in gradients)
    result.sum().backward()

    plain = torch.full((2,), 0.5, requires_grad=True)
    steps = [plain.sin()]
    steps.append(steps[-1].cos())
    steps.append(steps[-1].exp())
    for step in steps:
        step.retain_grad()
    steps[-1].sum().backward()
    for (_, gradient), step in zip(gradients, steps, strict=True):
        torch.testing.assert_close(gradient.value, step.grad)


def test_outside_a_checkpoint_no_gradient_waits_and_none_is_joined():
    gradient = Gradient(PLAIN)
    assert not ours.wait("a", gradient)
    assert not gradient.pending
    ours.join("a", torch.ones(1))


# Tensors taken


def test_what_a_tensor_will_weigh_goes_by_what_is_kept():
    view = torch.zeros(1000)[:10]
    assert expected_size(view, PLAIN) == 40
    assert expected_size(view, Conversion(dtype="float16")) == 20
    assert type(expected_size(view, Conversion(dtype="float16"))) is int
    assert expected_size(view, Conversion(dtype="float64")) == 80
    assert expected_size(view, Conversion(copy=False)) == 4000
    assert expected_size(torch.zeros(10, dtype=torch.int64), Conversion(dtype="float16")) == 80
    assert expected_size(torch.zeros(0), Conversion(dtype="float16")) == 0
    assert expected_size(numpy.zeros(10), Conversion(dtype="float16")) == 80


def test_a_gradient_is_waited_for_where_one_can_come():
    how = Conversion(grad=True)
    y = torch.ones(2, requires_grad=True) * 3
    kept = taken(y, how)
    assert isinstance(kept, WithGradient)
    assert parts(kept) == (kept.value,)
    y.sum().backward()
    value, gradient = split(kept)
    assert value is kept.value
    assert gradient is not None
    assert gradient.value.tolist() == [1, 1]
    assert [part.tolist() for part in parts(kept)] == [[3, 3], [1, 1]]
    assert type(taken(torch.ones(2), how)) is torch.Tensor
    assert taken("text", how) == "text"


def test_a_gradient_is_kept_only_where_there_is_room():
    asked: list[int] = []
    y = torch.ones(2, requires_grad=True) * 3
    kept = taken(y, Conversion(grad=True), room=lambda size: asked.append(size) or False)
    y.sum().backward()
    assert asked == [8 + EVENT]
    with pytest.raises(Exception, match="the memory limit was reached"):
        kept.gradient.value  # noqa: B018


def test_of_compiled_code_it_is_said_that_no_gradient_can_come():
    how = Conversion(grad=True)
    kept = taken(torch.ones(2), how, compiled=True)
    with pytest.raises(Exception, match=r"run the model without torch\.compile"):
        kept.gradient.value  # noqa: B018
    for value in (torch.ones(2, dtype=torch.int64), 1):
        assert not isinstance(taken(value, how, compiled=True), WithGradient)


def test_sparse_tensors_consist_of_their_indices_and_values():
    dense = torch.eye(3)
    coo, csr, csc = dense.to_sparse(), dense.to_sparse_csr(), dense.to_sparse_csc()
    assert [part.data_ptr() for part in parts_of(coo)] == [coo._indices().data_ptr(), coo._values().data_ptr()]
    for one, ends in ((csr, ("crow_indices", "col_indices")), (csc, ("ccol_indices", "row_indices"))):
        expected = [getattr(one, end)() for end in (*ends, "values")]
        assert [part.data_ptr() for part in parts_of(one)] == [part.data_ptr() for part in expected]
    for one in (torch.eye(4).to_sparse_bsr((2, 2)), torch.eye(4).to_sparse_bsc((2, 2))):
        assert len(parts_of(one)) == 3
    assert [part is dense for part in parts_of(dense)] == [True]


def test_a_tensor_that_cannot_say_where_its_data_is_weighs_something():
    class Odd(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            raise RuntimeError(function)

    scale = Scale()
    scale.put(torch.ones(2).as_subclass(Odd))
    assert dict(scale.bytes) == {"cpu": 64}
    scale.put(torch.ones(2, device="meta"))
    assert dict(scale.bytes) == {"cpu": 64}


# Tensors recorded


@pytest.fixture
def looks(on: None, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What `budget` is asked for; it gives ten thousand bytes."""
    asked: list[int] = []
    monkeypatch.setattr(budget, "look", lambda wanted: asked.append(wanted) or 10_000)
    for name, value in (("remaining_bytes", 0), ("limit_reached", False), ("accounted", 0), ("where", None)):
        monkeypatch.setattr(state, name, value)
    recording.select_code()
    return asked


def test_a_tensor_that_just_fits_takes_the_short_way(looks: list[int]):
    state.remaining_bytes = 40
    recorder.record(None, SITE, torch.zeros(10))
    assert (looks, state.remaining_bytes) == ([], 0)
    recorder.record(None, SITE, torch.zeros(10))
    assert looks == [40 + EVENT]
    assert len(draining.drain()) == 2


def test_a_tensor_is_recorded_detached_and_as_a_copy(looks: list[int]):
    state.remaining_bytes = 1000
    for tensor in (torch.zeros(2), torch.zeros(2, requires_grad=True) * 2):
        recorder.record(None, SITE, tensor)
        ((_, kept, *_),) = draining.drain()
        assert not kept.requires_grad
        assert kept.data_ptr() != tensor.data_ptr()
        assert kept.tolist() == [0, 0]


def test_what_a_function_makes_of_a_value_takes_the_room_that_it_takes(
    looks: list[int], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(state, "converting", True)
    monkeypatch.setattr(asked, "conversion_of", lambda *_: Conversion(reduce=lambda y: y[:1].clone()))
    recording.select_code()
    state.remaining_bytes = -1
    recorder.record(None, SITE, torch.zeros(1000))
    assert looks == [4 + EVENT]
    ((_, kept, *_),) = draining.drain()
    assert kept.shape == (1,)
