"""What one `Gradient` does between a tensor and a backward pass, against ``retain_grad``."""

from __future__ import annotations

import sys
import weakref
from typing import Any

import pytest
import torch

from astcapture.errors import CaptureError
from astcapture.record.options import PLAIN, Conversion
from astcapture.record.torch.gradient import Gradient
from astcapture.record.weight import EVENT


def watched(tensor: torch.Tensor, *given: Any) -> Gradient:
    gradient = Gradient(PLAIN, *given)
    assert gradient.watch(tensor) is True
    return gradient


def leaf(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32, requires_grad=True)


def test_before_any_backward_there_is_none_and_one_is_waited_for() -> None:
    gradient = Gradient(PLAIN)
    assert (gradient.value, gradient.held, gradient.pending, gradient.error) == (None, None, False, None)
    x = leaf(1, 2)
    y = x * 2
    gradient = watched(y)
    assert (gradient.value, gradient.held, gradient.pending, gradient.error) == (None, None, True, None)
    y.sum().backward()
    assert gradient.pending is False
    assert gradient.value.tolist() == gradient.held.tolist() == [1, 1]


def test_it_is_no_longer_waited_for_once_the_graph_is_gone() -> None:
    y = leaf(1) * 2
    gradient = watched(y)
    del y
    assert gradient.pending is False
    assert gradient.value is None


def test_a_gradient_that_is_not_for_this_tensor_leaves_it_empty() -> None:
    first, second = (leaf(1, 2) * 2).chunk(2)
    one, other = watched(first), watched(second)
    (second * 5).backward()
    assert one.value is None
    assert one.pending
    assert other.value.tolist() == [5]


@pytest.mark.parametrize("passes", [1, 2, 3])
def test_of_several_passes_it_is_their_sum(passes: int) -> None:
    y = leaf(1, 2) * 2
    gradient = watched(y)
    for number in range(passes):
        (y * 10**number).sum().backward(retain_graph=True)
    assert gradient.value.tolist() == [sum(10**number for number in range(passes))] * 2


def test_a_leaf_has_that_of_the_next_pass_alone_and_then_is_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", errors.append)
    for lasting in (False, True):  # as DistributedDataParallel does, which keeps the node of each parameter
        x = leaf(1, 2)
        node = x.view_as(x).grad_fn.next_functions[0][0] if lasting else None
        gradient = watched(x)
        assert gradient.pending
        (x * 3).sum().backward()
        (x * 100).sum().backward()
        assert gradient.value.tolist() == [3, 3]
        assert x.grad is not None and x.grad.tolist() == [103, 103]
        gone = weakref.ref(x)
        del x, node
        assert gone() is None
        assert gradient.value.tolist() == [3, 3]
    del gradient
    assert errors == []  # nothing is let go of twice


def test_a_leaf_that_gets_no_gradient_in_one_pass_has_that_of_the_next() -> None:
    class Nothing(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(context: Any, *gradients: torch.Tensor) -> Any:
            return None

    x = leaf(1, 2)
    gradient = watched(x)
    Nothing.apply(x).sum().backward()
    assert gradient.value is None
    (x * 3).sum().backward()
    assert gradient.value.tolist() == [3, 3]


def test_a_leaf_is_let_go_of_with_the_gradient_that_waits_for_it() -> None:
    x = leaf(1)
    gradient = watched(x)
    gone = weakref.ref(gradient), weakref.ref(x)
    node = x.view_as(x).grad_fn.next_functions[0][0]
    del gradient
    assert gone[0]() is None
    (x * 2).sum().backward()
    del x, node
    assert gone[1]() is None


def test_a_tensor_that_is_no_leaf_is_not_kept_and_its_graph_keeps_no_gradient() -> None:
    y = leaf(1) * 2
    gradient = watched(y)
    gone = weakref.ref(gradient)
    del gradient
    assert gone() is None
    y.sum().backward()
    z = leaf(1) * 2
    kept = watched(z)
    tensor = weakref.ref(z)
    del z
    assert tensor() is None
    assert not kept.pending


def test_a_leaf_that_is_watched_inside_no_grad_has_its_gradient_too() -> None:
    x = leaf(1, 2)
    with torch.no_grad():
        gradient = watched(x)
    (x * 4).sum().backward()
    assert gradient.value.tolist() == [4, 4]


def test_where_none_can_come_it_is_not_waited_for() -> None:
    gradient = Gradient(PLAIN)
    assert gradient.watch(torch.ones(2)) is False
    with torch.no_grad():
        assert gradient.watch(leaf(1) * 2) is False
    seen = []
    torch.func.grad(lambda x: (seen.append(gradient.watch(x * 2)), (x * 2).sum())[1])(torch.ones(2))
    torch.func.vmap(lambda x: (seen.append(gradient.watch(x)), x)[1])(leaf(1, 2))
    assert seen == [False, False]
    assert gradient.pending is False


def test_one_that_waits_for_a_second_run_may_come_as_long_as_its_context_lives() -> None:
    class Context:
        pass

    context = Context()
    gradient = Gradient(PLAIN)
    gradient.wait_for(context)
    assert gradient.pending
    del context
    assert not gradient.pending


def test_without_room_it_is_not_kept_and_who_asks_is_told() -> None:
    asked: list[int] = []
    y = torch.ones(3, 5, dtype=torch.float64, requires_grad=True) * 2
    gradient = watched(y, lambda size: (asked.append(size), False)[1])
    y.sum().backward()
    assert asked == [3 * 5 * 8 + EVENT]
    assert gradient.held is None
    assert gradient.pending is False
    with pytest.raises(CaptureError, match=r"^the gradient could not be kept: the memory limit was reached$"):
        _ = gradient.value


def test_where_there_is_room_it_is_kept() -> None:
    y = leaf(1) * 2
    gradient = watched(y, lambda size: True)
    y.sum().backward()
    assert gradient.value.tolist() == [1]


def test_a_backward_is_not_disturbed_by_what_goes_wrong_here() -> None:
    def fail(value: Any) -> Any:
        raise KeyError("reduce")

    x = leaf(1)
    y = x * 2
    gradient = Gradient(Conversion(reduce=fail))
    gradient.watch(y)
    y.sum().backward()
    assert x.grad is not None and x.grad.tolist() == [2]
    assert gradient.held is None
    with pytest.raises(CaptureError, match=r"^the gradient could not be kept: KeyError: 'reduce'$"):
        _ = gradient.value


def test_why_one_is_out_of_reach_is_told_to_who_asks() -> None:
    gradient = Gradient.out_of_reach("it is compiled")
    assert gradient.error == "it is compiled"
    assert gradient.pending is False
    with pytest.raises(CaptureError, match=r"^the gradient could not be kept: it is compiled$"):
        _ = gradient.value


def test_it_is_converted_as_the_value_and_always_a_copy_without_a_graph() -> None:
    y = leaf(1, 2) * 2
    gradient = Gradient(Conversion(copy=False, dtype="float64", grad=True))
    gradient.watch(y)
    given = torch.tensor([3.0, 4.0])
    y.backward(given, create_graph=False, retain_graph=True)
    assert gradient.value.dtype == torch.float64
    plain = Gradient(Conversion(copy=False, grad=True))
    plain.watch(y)
    given = torch.tensor([3.0, 4.0])
    y.backward(given)
    given.zero_()
    assert plain.value.tolist() == [3, 4]
    assert not plain.value.requires_grad


def test_a_gradient_that_has_a_graph_itself_is_kept_without_it() -> None:
    x = leaf(2, 3)
    y = x * x
    gradient = watched(y)
    torch.autograd.grad((y * y).sum(), x, create_graph=True)
    assert gradient.value.tolist() == [8, 18]
    assert not gradient.value.requires_grad


def test_one_gradient_takes_no_more_than_it_says() -> None:
    # There is one for each tensor that is captured.
    gradient = Gradient(PLAIN)
    assert not hasattr(gradient, "__dict__")
    with pytest.raises(AttributeError):
        gradient.more = 1  # type: ignore[attr-defined]
