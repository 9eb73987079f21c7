"""What a record keeps of a tensor: the values of that moment, no graph, the same type and place, in every thread."""

from __future__ import annotations

import gc
import threading
import weakref
from collections import Counter

import pytest

from astcapture.imports.compile import compile_tree
from astcapture.record import switch
from astcapture.rewrite.plan import plan_module
from astcapture.rewrite.transform import rewrite
from astcapture.targets.target import parse_targets
from astcapture.values.cache import recording

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch


@pytest.fixture
def load():
    """Execute source with its captures, recording on."""
    import ast

    def load(source: str, targets: str) -> dict:
        tree = ast.parse(source)
        plan = plan_module(tree, "m", "m.py", parse_targets(targets))
        names = {"__name__": "m", "torch": torch}
        exec(compile_tree(rewrite(tree, plan), "m.py"), names)
        return names

    switch.installed(+1)
    yield load
    switch.installed(-1)


IN_PLACE = "def f(x):\n    y = x * 1\n    return y\n"


@pytest.mark.parametrize("target", ["m:f=y", "m:f=label:=y", "m:f=label:=(y)", "m:f=label:=[y for _ in 'a'][0]"])
@pytest.mark.parametrize("grad", [False, True])
def test_a_change_in_place_after_the_record_does_not_reach_it(load, target, grad):
    f = load(IN_PLACE, target)["f"]
    with recording() as rec:
        y = f(torch.ones(3, requires_grad=grad))
        y /= 10
        with torch.no_grad():
            y.zero_()
    assert rec["f"][0].tolist() == [1, 1, 1]
    assert y.tolist() == [0, 0, 0]


def test_a_change_in_place_in_a_finally_clause_does_not_reach_the_record(load):
    f = load("def f(x):\n    try:\n        return x.sum()\n    finally:\n        x.mul_(2)\n", "m:f=x")["f"]
    with recording() as rec:
        assert f(torch.ones(3)) == 3
    assert rec["f"][0].tolist() == [1, 1, 1]


class Saved:
    """What a graph saves of a tensor: alive as long as the graph is."""

    def __init__(self, tensor):
        self.tensor = tensor


def test_a_record_keeps_no_graph_alive(load):
    f = load("def f(x):\n    y = x.exp()\n    return y.sum()\n", "m:f=y,x,label:=y * 2")["f"]
    x = torch.ones(3, requires_grad=True)
    saved = []

    def pack(tensor):
        held = Saved(tensor.detach())
        saved.append(weakref.ref(held))
        return held

    with recording() as rec, torch.autograd.graph.saved_tensors_hooks(pack, lambda held: held.tensor):
        loss = f(x)
    assert any(one() is not None for one in saved)
    del loss
    gc.collect()
    assert [one() for one in saved] == [None] * len(saved)
    assert [(value.requires_grad, value.grad_fn) for value in rec["f"]] == [(False, None)] * 3


def test_gradients_are_those_of_a_plain_run(load):
    source = "def f(x):\n    y = x * x\n    return (y * y).sum()\n"
    gradients = []
    for f in (load(source, "m:f=y,x")["f"], lambda x: (x**4).sum()):
        x = torch.tensor([1.0, 2.0], requires_grad=True)
        with recording():
            f(x).backward()
        gradients.append(x.grad)
    assert torch.equal(*gradients)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_a_record_is_taken_in_every_gradient_mode(load, mode):
    f = load(IN_PLACE, "m:f=y")["f"]
    with recording() as rec:
        with mode():
            y = f(torch.ones(3, requires_grad=mode is not torch.inference_mode))
            y.detach().add_(1)
        value = rec["f"][0]
    assert value.tolist() == [1, 1, 1]
    assert not value.requires_grad
    assert value.data_ptr() != y.data_ptr()


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float16, torch.float64, torch.complex64, torch.int8, torch.bool], ids=str
)
def test_the_type_and_shape_of_a_tensor_are_kept(load, dtype):
    f = load("def f(x):\n    return x.shape\n", "m:f=x")["f"]
    x = torch.tensor([[1, 0, 1]]).to(dtype).T
    with recording() as rec:
        f(x)
    value = rec["f"][0]
    assert (value.dtype, value.shape, value.stride()) == (dtype, x.shape, x.stride())
    assert torch.equal(value, x)


def test_tensors_without_elements_without_axes_sparse_and_meta_are_taken(load):
    f = load("def f(x):\n    return x.shape\n", "m:f=x")["f"]
    tensors = [torch.empty(0, 3), torch.tensor(2.0), torch.eye(3).to_sparse(), torch.empty(2, device="meta")]
    with recording() as rec:
        for tensor in tensors:
            f(tensor)
    assert [value.shape for value in rec["f"]] == [tensor.shape for tensor in tensors]
    assert [value.layout for value in rec["f"]] == [tensor.layout for tensor in tensors]


def test_a_parameter_and_a_subclass_are_copied_too(load):
    class Marked(torch.Tensor):
        pass

    f = load("def f(x):\n    return x.shape\n", "m:f=x")["f"]
    for tensor in (torch.nn.Parameter(torch.ones(2)), torch.ones(2).as_subclass(Marked)):
        with recording() as rec:
            f(tensor)
        with torch.no_grad():
            tensor.zero_()
        assert rec["f"][0].tolist() == [1, 1]
        assert not rec["f"][0].requires_grad


def test_a_tensor_that_cannot_be_copied_is_counted_and_the_program_goes_on(load):
    class Stubborn(torch.Tensor):
        def clone(self, *args, **kwargs):
            raise RuntimeError("not to be copied")

    f = load("def f(x):\n    return 5\n", "m:f=x")["f"]
    with recording() as rec:
        assert f(torch.ones(2).as_subclass(Stubborn)) == 5
        assert len(rec["m:f"]) == 0
    assert rec.counts["m:f", "x"].error == "RuntimeError: not to be copied"


MODEL = """
class Attention(torch.nn.Module):
    def forward(self, x):
        attn = (x @ x.mT).softmax(-1)
        if x.shape[0] > 2:
            late = attn.sum()
        return attn @ x
"""


@pytest.mark.slow
def test_no_record_is_lost_when_replicas_run_in_threads(load):
    model = load(MODEL, "m:Attention.forward=attn,late,total:=attn.sum()")["Attention"]()
    inputs = [torch.full((1 + index % 4, 2, 2), float(index)) for index in range(8)]
    rounds, outputs = 50, []
    start = threading.Barrier(len(inputs))

    def replica(x):
        start.wait()
        for _ in range(rounds):
            outputs.append((x, model(x)))

    threads = [threading.Thread(target=replica, args=(x,)) for x in inputs]
    with recording() as rec:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        records = rec["m:Attention.forward"].records
    # Every result went back to the caller that it belongs to.
    assert all(torch.equal(y, (x @ x.mT).softmax(-1) @ x) for x, y in outputs)
    late = sum(x.shape[0] > 2 for x in inputs)
    assert Counter(record.label for record in records) == {"attn": 400, "total": 400, "late": late * rounds}
    assert sum(count.missed for count in rec.counts.values()) == (len(inputs) - late) * rounds
    by_thread = Counter((record.thread, record.value.shape) for record in records if record.label == "attn")
    assert len({thread for thread, _ in by_thread}) == len(inputs)
    assert set(by_thread.values()) == {rounds}


def test_the_result_is_the_very_object_that_the_function_returns(load):
    names = load("def f(x):\n    if x is None: y = 1\n    return keep(x)\n", "m:f=x,y,z:=x.shape,w:=[x for _ in 'a']")
    kept = []
    names["keep"] = lambda x: kept.append(x + 1) or kept[-1]
    with recording():
        assert names["f"](torch.ones(2)) is kept[0]
