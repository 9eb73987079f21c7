"""``grad=True``: the gradient that reaches a captured tensor, as ``retain_grad`` tells it, and no trace of us."""

from __future__ import annotations

import copy
import gc
import importlib
import pickle
import weakref
from pathlib import Path
from typing import Any

import pytest

import astcapture
from astcapture.errors import CaptureError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

SOURCE = """\
import torch

def f(x):
    y = x * x
    return y

def leaf(x):
    return x * 3

def chunks(x):
    q, k, v = (x * 2).chunk(3)
    return q * k

def unused(x):
    y = x * 2
    return x * 3

class Attention(torch.nn.Module):
    def forward(self, x):
        attn = (x @ x.mT).softmax(-1)
        return attn @ x + attn.sum()
"""


@pytest.fixture
def module(tmp_path: Path, fresh_imports: Any) -> Any:
    (tmp_path / "differentiated.py").write_text(SOURCE)
    with astcapture.install(
        ["differentiated:f=y", "differentiated:leaf=x", "differentiated:chunks=q,k,v", "differentiated:unused=y",
         "differentiated:Attention.forward=attn"], grad=True
    ):  # fmt: skip
        yield importlib.import_module("differentiated")


def records(key: str = "f") -> Any:
    return astcapture.cache[f"differentiated:{key}"].records


def test_the_gradient_of_a_tensor_that_is_no_leaf_is_that_of_retain_grad(module: Any) -> None:
    x = torch.randn(4, requires_grad=True)
    (module.f(x) ** 3).sum().backward()
    y = (x * x).detach().requires_grad_()
    (y**3).sum().backward()
    assert torch.allclose(records()[0].grad, y.grad)
    assert not records()[0].grad.requires_grad


def test_the_gradient_of_an_attention_map_that_is_used_twice_is_the_sum_over_its_uses(module: Any) -> None:
    x = torch.randn(1, 5, 8, requires_grad=True)
    attention = module.Attention()
    attention(x).square().sum().backward()
    attn = (x @ x.mT).softmax(-1).detach().requires_grad_()
    (attn @ x.detach() + attn.sum()).square().sum().backward()
    (record,) = records("Attention.forward")
    assert torch.allclose(record.grad, attn.grad)
    assert record.layer == ""


def test_a_leaf_has_the_gradient_of_the_next_backward_pass_and_no_hook_after_it(module: Any) -> None:
    x = torch.ones(2, requires_grad=True)
    module.leaf(x).sum().backward()
    (x * 100).sum().backward()
    assert records("leaf")[0].grad.tolist() == [3, 3]
    assert x.grad.tolist() == [103, 103]
    assert x._backward_hooks is None


def test_the_leaf_of_a_lasting_graph_has_one_gradient_for_each_record(module: Any) -> None:
    # As DistributedDataParallel does, which keeps the node of each parameter for good.
    x = torch.ones(2, requires_grad=True)
    node = x.view_as(x).grad_fn.next_functions[0][0]
    for factor in (1, 2):
        (module.leaf(x) * factor).sum().backward()
    assert [record.grad.tolist() for record in records("leaf")] == [[3, 3], [6, 6]]
    assert node is not None


def test_each_of_several_outputs_of_one_operation_has_its_own_gradient(module: Any) -> None:
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    module.chunks(x).backward()
    # q * k of 2x: the gradient of q is k, and of k is q; v is not used.
    grads = {record.label: record.grad for record in records("chunks")}
    assert (grads["q"].tolist(), grads["k"].tolist(), grads["v"]) == ([4], [2], None)


def test_without_backward_there_is_none_and_nothing_is_kept_alive(module: Any) -> None:
    x = torch.ones(2, requires_grad=True)
    saved = []

    class Saved:
        pass

    def pack(tensor: Any) -> Any:
        held = Saved()
        held.tensor = tensor.detach()
        saved.append(weakref.ref(held))
        return held

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda held: held.tensor):
        y = module.f(x)
    assert records()[0]._gradient.pending
    del y
    assert saved
    assert [one() for one in saved] == [None] * len(saved), "the graph outlives the program's own references"
    assert records()[0].grad is None
    assert not records()[0]._gradient.pending


def test_what_is_cleared_from_the_cache_is_gone_though_its_graph_lives(module: Any) -> None:
    y = module.f(torch.ones(2, requires_grad=True))
    gradient = weakref.ref(records()[0]._gradient)
    assert gradient() is not None
    gc.disable()
    try:
        astcapture.cache.clear()
        assert gradient() is None, "there is a cycle"
    finally:
        gc.enable()
    y.sum().backward()


def test_a_leaf_whose_backward_never_comes_is_let_go_of_with_its_record(module: Any) -> None:
    x = torch.ones(2, requires_grad=True)
    leaf = weakref.ref(x)
    module.leaf(x)
    assert records("leaf")[0].grad is None
    del x
    astcapture.cache.clear()
    assert leaf() is None


def test_a_value_that_nothing_depends_on_has_no_gradient(module: Any) -> None:
    module.unused(torch.ones(2, requires_grad=True)).sum().backward()
    assert records("unused")[0].grad is None


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_values_without_a_graph_have_none(module: Any, mode: Any) -> None:
    with mode():
        module.f(torch.ones(2))
    assert (records()[0].value.tolist(), records()[0].grad) == ([1, 1], None)


def test_a_change_in_place_after_the_capture_leaves_the_gradient_that_of_what_was_captured(module: Any) -> None:
    y = module.f(torch.ones(2, requires_grad=True))
    y.mul_(10)
    y.sum().backward()
    assert (records()[0].value.tolist(), records()[0].grad.tolist()) == ([1, 1], [10, 10])


def test_several_backward_passes_add_up_as_in_torch(module: Any) -> None:
    y = module.f(torch.ones(2, requires_grad=True))
    y.sum().backward(retain_graph=True)
    (y * 2).sum().backward()
    assert records()[0].grad.tolist() == [3, 3]


def test_a_second_derivative_adds_to_it_as_to_retain_grad(module: Any) -> None:
    def penalise(f: Any, retain: bool) -> Any:
        x = torch.tensor([2.0, 3.0], requires_grad=True)
        y = f(x)
        if retain:
            y.retain_grad()
        (slope,) = torch.autograd.grad((y**2).sum(), x, create_graph=True)
        (y.sum() + slope.square().sum()).backward()
        return y

    penalise(module.f, False)
    (record,) = records()
    plain = penalise(lambda x: x * x, True)
    assert torch.equal(record.grad, plain.grad)


def test_the_gradient_is_kept_as_its_value_is(module: Any) -> None:
    def rows(value: Any) -> Any:
        return value[0].clone()

    with astcapture.install(["differentiated:f=y"], grad=True, reduce=rows, dtype="float64"):
        (module.f(torch.ones(3, 2, requires_grad=True)) * 7).sum().backward()
    (record,) = records()
    assert (record.value.dtype, record.value.shape) == (torch.float64, (2,))
    assert (record.grad.dtype, record.grad.tolist()) == (torch.float64, [7, 7])


def test_a_reduce_that_fails_on_the_gradient_is_told_to_who_asks_for_it(module: Any) -> None:
    calls = []

    def once(value: Any) -> Any:
        calls.append(value)
        if len(calls) > 1:
            raise ZeroDivisionError("no more")
        return value

    with astcapture.install(["differentiated:f=y"], grad=True, reduce=once):
        module.f(torch.ones(2, requires_grad=True)).sum().backward()
    with pytest.raises(CaptureError, match=r"^the gradient could not be kept: ZeroDivisionError: no more$"):
        _ = records()[0].grad


def test_the_program_sees_no_hook_on_its_tensors(module: Any) -> None:
    x = torch.ones(2, requires_grad=True)
    y = module.f(x)
    assert (y._backward_hooks, y.retains_grad, y.grad_fn.name()) == (None, False, "MulBackward0")
    assert module.leaf(x).requires_grad
    assert x._backward_hooks is None
    assert not getattr(x, "_post_accumulate_grad_hooks", None)
    assert copy.deepcopy(x).requires_grad
    assert pickle.loads(pickle.dumps(x.detach())).tolist() == [1, 1]


def test_gradients_of_the_program_are_those_of_a_plain_run(module: Any) -> None:
    x = torch.randn(1, 4, 3, requires_grad=True)
    module.Attention()(x).square().sum().backward()
    captured, x.grad = x.grad, None
    attn = (x @ x.mT).softmax(-1)
    (attn @ x + attn.sum()).square().sum().backward()
    assert torch.equal(captured, x.grad)


def test_the_gradient_is_a_copy(module: Any) -> None:
    y = module.f(torch.ones(2, requires_grad=True))
    gradient = torch.ones(2)
    y.backward(gradient)
    gradient.zero_()
    assert records()[0].grad.tolist() == [1, 1]


def test_inside_a_transform_there_is_none(module: Any) -> None:
    torch.func.grad(lambda x: module.f(x).sum())(torch.ones(2))
    assert (records()[0].value.tolist(), records()[0].grad) == ([1, 1], None)


def test_asked_of_autograd_grad_as_an_input_the_gradient_goes_to_the_caller_alone(module: Any) -> None:
    y = module.f(torch.ones(2, requires_grad=True))
    (gradient,) = torch.autograd.grad((y * 5).sum(), y)
    assert gradient.tolist() == [5, 5]
    assert records()[0].grad is None


def test_inside_compiled_code_it_is_said_that_there_can_be_none(module: Any) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(module.f, fullgraph=True, backend="aot_eager")
    compiled(torch.ones(2, requires_grad=True)).sum().backward()
    assert records()[0].value.tolist() == [1, 1]
    with pytest.raises(CaptureError, match=r"returns captured values as extra outputs.*without torch\.compile"):
        _ = records()[0].grad
    torch._dynamo.reset()


def test_a_record_without_grad_has_none(module: Any) -> None:
    with astcapture.install(["differentiated:f=y"]):
        module.f(torch.ones(2, requires_grad=True)).sum().backward()
    assert records()[0].grad is None
