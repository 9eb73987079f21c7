"""Tensors inside ``torch.func`` transforms as the plain ones that they wrap, and functions that are traced."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import torch._dynamo
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from astcapture.record.torch.tracing import NotRun, check_run
from astcapture.record.torch.transforms import is_wrapped, outside, unwrap

# Transforms.


def unwrapped(tensor: Any) -> torch.Tensor:
    assert is_wrapped(tensor)
    with outside():
        return unwrap(tensor)


def test_a_plain_tensor_is_wrapped_by_no_transform() -> None:
    plain = torch.ones(2)
    assert is_wrapped(plain) is False
    kept = unwrap(torch.ones(2, requires_grad=True) * 2)
    assert kept.tolist() == [2, 2]
    assert not kept.requires_grad


def test_a_torch_without_transforms_wraps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch._C", SimpleNamespace())  # type: ignore[arg-type]
    assert is_wrapped(torch.ones(2)) is False
    monkeypatch.delitem(sys.modules, "torch._C")
    assert is_wrapped(torch.ones(2)) is False


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_the_mapped_dimension_comes_first(axis: int) -> None:
    x = torch.arange(24.0).reshape(2, 3, 4)
    seen = []
    torch.func.vmap(lambda part: (seen.append(unwrapped(part)), part)[1], in_dims=axis)(x)
    assert torch.equal(seen[0], x.movedim(axis, 0))


def test_of_nested_maps_the_outermost_comes_first() -> None:
    x = torch.arange(120.0).reshape(2, 3, 4, 5)
    seen: list[torch.Tensor] = []

    def inner(part: torch.Tensor) -> torch.Tensor:
        seen.append(unwrapped(part))
        return part

    # The outer takes dimension 2 of four (4), the inner dimension 1 of the three that are left (3).
    torch.func.vmap(torch.func.vmap(inner, in_dims=1, out_dims=1), in_dims=2, out_dims=2)(x)
    assert torch.equal(seen[0], x.permute(2, 1, 0, 3))
    seen.clear()
    torch.func.vmap(torch.func.vmap(torch.func.vmap(inner, in_dims=1), in_dims=-1), in_dims=1)(x)
    assert torch.equal(seen[0], x.permute(1, 3, 2, 0))


def test_inside_grad_it_is_the_value_without_a_graph() -> None:
    seen = []

    def loss(x: torch.Tensor) -> torch.Tensor:
        y = x * 3
        seen.append(unwrapped(y))
        return y.sum()

    gradient = torch.func.grad(loss)(torch.ones(2))
    assert gradient.tolist() == [3, 3]
    assert (seen[0].tolist(), seen[0].requires_grad, is_wrapped(seen[0])) == ([3, 3], False, False)
    per_row = torch.func.vmap(torch.func.grad(loss), in_dims=1)(torch.tensor([[1.0, 2], [3, 4], [5, 6]]))
    assert per_row.shape == (2, 3)
    assert seen[1].tolist() == [[3, 9, 15], [6, 12, 18]]


def test_outside_no_transform_is_running_and_afterwards_it_is_again() -> None:
    running = []

    def level() -> bool:
        return torch._C._functorch.peek_interpreter_stack() is not None

    def f(part: torch.Tensor) -> torch.Tensor:
        for wrapped in (True, False):
            with outside(wrapped):
                running.append(level())
        with outside():
            running.append(level())
        running.append(level())
        return part * 2

    assert torch.func.vmap(f)(torch.ones(3)).tolist() == [2, 2, 2]
    # A value that no transform wraps is computed with as it is.
    assert running == [False, True, False, True]
    with outside(), outside(False):
        assert torch.ones(2).sum() == 2


def test_where_torch_has_no_transforms_outside_is_where_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch._functorch.pyfunctorch")
    with outside():
        assert torch.ones(2).sum() == 2


# Tracing.


def test_a_value_passes() -> None:
    for value in (None, 1, "text", torch.ones(2), torch.nn.Parameter(torch.ones(1)), object()):
        check_run(value)


def test_a_proxy_of_fx_is_no_value_and_what_traces_is_named() -> None:
    class Traced(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            for value in (x, x * 2):
                with pytest.raises(NotRun, match=r"^torch\.fx traces this function.*no value to record$"):
                    check_run(value)
            check_run(torch.ones(2))
            return x

    torch.fx.symbolic_trace(Traced())


def test_a_tensor_without_data_is_no_value_while_operations_are_written_down() -> None:
    told = []

    def traced(x: torch.Tensor) -> torch.Tensor:
        check_run(3)
        y = x * 2
        told.append(type(y).__module__)
        with pytest.raises(NotRun, match=r"^make_fx traces this function.*no value to record$"):
            check_run(y)
        return y

    make_fx(traced, tracing_mode="fake")(torch.ones(2))
    assert told and told[0].startswith("torch._subclasses.")


def test_a_tensor_without_data_that_nobody_writes_down_is_one() -> None:
    with FakeTensorMode():
        check_run(torch.ones(2))


@pytest.mark.parametrize("name", ["get_proxy_mode", "get_innermost_proxy_mode"])
def test_either_name_that_torch_has_given_the_question_is_asked(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeTensorMode():
        value = torch.ones(2)
    home = ModuleType("torch.fx.experimental.proxy_tensor")
    monkeypatch.setitem(sys.modules, home.__name__, home)
    check_run(value)  # it has neither name
    setattr(home, name, lambda: None)
    check_run(value)
    setattr(home, name, lambda: object())
    with pytest.raises(NotRun):
        check_run(value)
    check_run(torch.ones(2))
    monkeypatch.delitem(sys.modules, home.__name__)
    check_run(value)


def test_without_fx_nothing_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch.fx.proxy")
    check_run(torch.ones(2))
    check_run(None)
