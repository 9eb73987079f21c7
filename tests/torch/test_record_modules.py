"""Which module is running and its path in the model, asked for as the recorder does."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from types import CodeType, FrameType, MethodType
from typing import Any

import pytest
import torch
import torch._dynamo  # as checkpointing does when it is first used
from torch import nn
from torch._dynamo.eval_frame import OptimizedModule
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from astcapture.record import modules
from astcapture.record.checkpoint import Recomputed

X = torch.ones(1)


@pytest.fixture(autouse=True)
def _torch_is_found() -> None:
    assert modules.find_torch()


found: list[str | None] = []


@pytest.fixture(autouse=True)
def _nothing_found_yet() -> Iterator[None]:
    found.clear()
    yield
    found.clear()


def record(owner: Any) -> None:
    """Stands where the recorder does, between the captured function and the question."""
    found.append(modules.layer(owner))


class Leaf(nn.Module):
    def forward(self, x: Any) -> Any:
        record(self)
        return x


class Calling(nn.Module):
    """A model that runs what it is given, with its parts at hand."""

    def __init__(self, run: Callable[..., Any] | None = None, **parts: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Any) -> Any:
        if self.run is not None:
            return self.run(self, x)
        for part in self.children():
            x = part(x)
        return x


def layers(run: Callable[[], Any]) -> list[str | None]:
    found.clear()
    run()
    return list(found)


def function() -> None:
    record(None)


# What a model holds.


def shared() -> nn.Module:
    leaf = Leaf()
    return nn.Sequential(nn.Sequential(leaf, nn.ReLU()), nn.ModuleDict({"a": leaf, "b": nn.Sequential(leaf)}))


MODELS = {
    "one module": Leaf,
    "nested": lambda: nn.Sequential(nn.Linear(1, 1), nn.Sequential(Leaf(), nn.Sequential(Leaf()))),
    "torch's own": lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2), 2, enable_nested_tensor=False),
    "shared modules": shared,
    "an empty place": lambda: Calling(a=nn.Sequential(Leaf()), none=None, b=Leaf()),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("model", MODELS)
def test_every_way_into_a_model_is_found_in_the_order_of_named_modules(model: str) -> None:
    root = MODELS[model]()
    walked = modules.walk(root)
    expected = list(root.named_modules(remove_duplicate=False))
    assert [(path, id(module)) for _, path, module in walked] == [(path, id(module)) for path, module in expected]
    assert [".".join(names) for names, _, _ in walked] == [path for path, _ in expected]


def test_a_module_that_holds_itself_is_walked_once_and_its_other_parts_are_found() -> None:
    root, leaf = nn.Module(), Leaf()
    inner = nn.Module()
    root.inner = inner
    inner.root = root
    inner.itself = inner
    inner.leaf = leaf
    root.last = leaf
    walked = [(path, module) for _, path, module in modules.walk(root)]
    assert walked == [
        ("", root),
        ("inner", inner),
        ("inner.root", root),
        ("inner.itself", inner),
        ("inner.leaf", leaf),
        ("last", leaf),
    ]


def wrapped(kind: type[nn.Module], model: nn.Module) -> Any:
    """A wrapper of a class of torch's that holds a model; they cannot all be made without processes or GPUs."""
    if kind is OptimizedModule:
        return torch.compile(model, backend="eager")  # it compiles nothing before it is called
    wrapper = kind.__new__(kind)
    nn.Module.__init__(wrapper)
    name = "_fsdp_wrapped_module" if kind is FullyShardedDataParallel else "module"
    wrapper._modules[name] = model
    assert wrapper.module is model
    return wrapper


@pytest.mark.parametrize("kind", [DataParallel, DistributedDataParallel, FullyShardedDataParallel, OptimizedModule])
def test_the_name_under_which_a_wrapper_holds_its_model_is_no_part_of_a_path(kind: type[nn.Module]) -> None:
    model = Calling(leaf=Leaf())
    for root, prefix in ((wrapped(kind, model), ""), (Calling(part=wrapped(kind, model)), "part.")):
        walked = modules.walk(root)
        (path,) = [path for _, path, module in walked if module is model.leaf]
        assert path == f"{prefix}leaf"
        (names,) = [names for names, _, module in walked if module is model.leaf]
        assert root.get_submodule(".".join(names)) is model.leaf
        assert names != tuple(path.split("."))


def test_what_else_a_wrapper_holds_and_what_is_called_as_in_a_wrapper_keep_their_names() -> None:
    wrapper = wrapped(DataParallel, Leaf())
    wrapper.other = Leaf()
    assert [path for _, path, _ in modules.walk(wrapper)] == ["", "", "other"]
    assert [path for _, path, _ in modules.walk(Calling(module=Leaf()))] == ["", "module"]


def test_names_lead_to_a_module_and_to_no_other() -> None:
    leaf = Leaf()
    model = Calling(a=Calling(b=leaf), c=Calling(b=Leaf()))
    assert modules.leads_to(model, ("a", "b"), leaf)
    assert modules.leads_to(model, (), model)
    assert not modules.leads_to(model, ("c", "b"), leaf)
    assert not modules.leads_to(model, ("a",), leaf)
    assert not modules.leads_to(model, (), leaf)
    assert modules.leads_to(model, ("a", "x"), leaf) is False
    assert modules.leads_to(model, ("x", "b"), leaf) is False
    model.a = None
    assert modules.leads_to(model, ("a", "b"), leaf) is False


def test_every_module_of_the_process_is_among_the_live_ones() -> None:
    leaf = Leaf()
    model = nn.Sequential(leaf)
    live = {id(one) for one in modules.live_modules()}
    assert {id(leaf), id(model)} <= live
    assert id(X) not in live
    assert modules.is_module(leaf)
    assert not modules.is_module(X)
    assert not modules.is_module(Leaf)


# Which of them runs.


def test_outside_any_module_that_runs_there_is_no_layer() -> None:
    assert layers(function) == [None]
    assert layers(lambda: Leaf().forward(X)) == [None]


def test_the_model_itself_has_the_empty_path_and_its_parts_their_names() -> None:
    model = nn.Sequential(Leaf(), Calling(deep=Calling(leaf=Leaf())))
    assert layers(lambda: Leaf()(X)) == [""]
    for _ in range(3):
        assert layers(lambda: model(X)) == ["0", "1.deep.leaf"]


def test_a_function_has_the_nearest_module_that_runs() -> None:
    inner = Calling(lambda self, x: (function(), function()))
    assert layers(lambda: inner(X)) == ["", ""]
    model = Calling(lambda self, x: (function(), self.leaf(x), function(), self.inner(x)), leaf=Leaf(), inner=inner)
    for _ in range(2):
        assert layers(lambda: model(X)) == ["", "leaf", "", "inner", "inner"]


def test_a_method_that_is_called_without_its_module_has_the_path_of_its_own() -> None:
    model = Calling(lambda self, x: (self.leaf.forward(x), self.outer(x)), leaf=Leaf())
    model.outer = Calling(lambda self, x: self.inner.forward(x), inner=Leaf())
    for _ in range(2):
        assert layers(lambda: model(X)) == ["leaf", "outer.inner"]


def test_a_module_that_is_not_registered_is_named_by_its_class() -> None:
    hidden = Leaf()
    model = Calling(lambda self, x: (hidden(x), self.leaf(x), hidden(x)), leaf=Leaf())
    assert layers(lambda: model(X)) == ["<Leaf>", "leaf", "<Leaf>"]


def test_the_same_module_is_named_by_the_model_that_runs() -> None:
    leaf = Leaf()
    one, other = Calling(one=leaf), Calling(part=Calling(other=leaf))
    for _ in range(3):
        assert layers(lambda: (one(X), other(X), leaf(X), other.part(X))) == ["one", "part.other", "", "other"]


def test_each_thread_has_the_layers_of_its_own_run() -> None:
    def alone() -> None:
        thread = threading.Thread(target=lambda: (leaf(X), function()))
        thread.start()
        thread.join()

    leaf = Leaf()
    model = Calling(lambda self, x: (self.leaf(x), alone(), self.leaf(x)), leaf=leaf)
    assert layers(lambda: model(X)) == ["leaf", "", None, "leaf"]


# A module that is held under several names.


def test_of_several_paths_it_is_the_one_that_the_running_modules_lead_to() -> None:
    leaf = Leaf()
    model = nn.Sequential(Calling(leaf=leaf), Calling(part=Calling(leaf=leaf)), Calling(leaf=leaf))
    for _ in range(2):
        assert layers(lambda: model(X)) == ["0.leaf", "1.part.leaf", "2.leaf"]


def test_a_name_that_begins_as_another_does_not_lead_to_it() -> None:
    leaf = Leaf()
    model = nn.ModuleDict({"ab": Calling(leaf=leaf), "a": Calling(leaf=leaf)})
    model.forward = lambda x: (model["a"](x), model["ab"](x))
    assert layers(lambda: model(X)) == ["a.leaf", "ab.leaf"]


def test_blocks_that_are_shared_twice_over_are_told_apart_by_all_that_run() -> None:
    inner = Calling(leaf=Leaf())
    outer = nn.Sequential(inner, inner)
    model = nn.Sequential(outer, outer)
    # Which of the two calls within `outer` it is, nothing on the stack says.
    assert layers(lambda: model[1](X)) == ["0.leaf", "0.leaf"]
    first, second = Calling(x=inner), Calling(y=inner)
    model = nn.Sequential(Calling(a=first, b=second), Calling(b=second, a=first))
    assert layers(lambda: model(X)) == ["0.a.x.leaf", "0.b.y.leaf", "1.b.y.leaf", "1.a.x.leaf"]


def test_where_the_running_modules_lead_to_none_of_several_paths_it_is_the_first() -> None:
    leaf = Leaf()
    stranger = Calling(lambda self, x: leaf(x))
    model = Calling(lambda self, x: (self.stranger(x), self.b.leaf(x), function()), stranger=stranger)
    model.a, model.b = Calling(leaf=leaf), Calling(leaf=leaf)
    assert layers(lambda: model(X)) == ["a.leaf", "a.leaf", ""]


def test_a_shared_module_that_is_itself_running_is_named_by_its_path() -> None:
    part = Calling(lambda self, x: (record(self), function(), x)[-1])
    model = Calling(wrap=nn.Sequential(part, nn.Sequential(part)))
    assert layers(lambda: model(X)) == ["wrap.0", "wrap.0", "wrap.1.0", "wrap.1.0"]


# Models that change, end, and fail.


def test_two_modules_that_change_places_while_the_model_runs_have_the_paths_of_then() -> None:
    def run(self: Any, x: Any) -> None:
        for part in (self.a, self.b):
            part(x)
        self.a, self.b = self.b, self.a
        for part in (self.a, self.b):
            part(x)

    assert layers(lambda: Calling(run, a=Leaf(), b=Leaf())(X)) == ["a", "b", "a", "b"]


@pytest.mark.parametrize("how", ["deleted", "none", "another above"])
def test_a_module_that_is_taken_out_while_the_model_runs_is_named_by_its_class_from_then_on(how: str) -> None:
    def run(self: Any, x: Any) -> None:
        leaf = self.part.leaf
        leaf(x)
        if how == "deleted":
            del self.part.leaf
        elif how == "none":
            self.part = None
        else:
            self.part = Calling(leaf=Leaf())
        leaf(x)

    assert layers(lambda: Calling(run, part=Calling(leaf=Leaf()))(X)) == ["part.leaf", "<Leaf>"]


def test_a_module_that_is_added_to_a_known_model_has_its_path() -> None:
    model = nn.Sequential(Leaf())
    assert layers(lambda: model(X)) == ["0"]
    model.append(Leaf())
    assert layers(lambda: model(X)) == ["0", "1"]


def test_a_deep_model_before_does_not_hide_the_layers_of_a_flat_one() -> None:
    deep: nn.Module = Leaf()
    for _ in range(40):
        deep = nn.Sequential(deep)
    flat = Calling(near=Leaf(), away=nn.Sequential(Leaf()), farther=nn.Sequential(nn.Sequential(Leaf())))

    def run() -> None:  # in a thread, whose stack is not as deep as that
        deep(X)
        flat(X)

    def in_thread() -> None:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()

    assert layers(in_thread) == [".".join("0" * 40), "near", "away.0", "farther.0.0"]


def test_a_run_that_failed_and_whose_traceback_is_kept_names_no_other() -> None:
    def fail(self: Any, x: Any) -> None:
        self.leaf(x)
        raise RuntimeError

    model = Calling(fail, leaf=Leaf())
    kept = []
    for _ in range(3):
        try:
            model(X)
        except RuntimeError as error:
            kept.append(error)
    leaf = model.leaf
    assert layers(lambda: leaf(X)) == [""]
    assert layers(lambda: nn.Sequential(nn.Sequential(leaf))(X)) == ["0.0"]
    assert len(kept) == 3


def test_forwards_that_outlive_their_call_name_no_later_run() -> None:
    own = Calling(leaf=Leaf())
    own.forward = MethodType(Calling.forward, own)
    for _ in range(2):
        assert layers(lambda: own(X)) == ["leaf"]
        assert layers(lambda: nn.Sequential(own)(X)) == ["0.leaf"]

    class Borrowing(nn.Module):
        forward = own.forward  # bound to another module for good

    borrowing = Borrowing()
    borrowing.leaf = own.leaf
    for _ in range(2):
        assert layers(lambda: borrowing(X)) == ["leaf"]
        assert layers(lambda: nn.Sequential(borrowing)(X)) == ["0.leaf"]


def test_what_is_written_down_of_a_model_keeps_nothing_alive_and_goes_with_it() -> None:
    before = set(modules._paths)
    model = nn.Sequential(Leaf())
    model(X)
    assert set(modules._paths) - before == {id(model)}
    gone = [weakref.ref(model), weakref.ref(model[0])]
    del model
    assert [one() for one in gone] == [None, None]
    assert set(modules._paths) <= before


# What it costs.


def calls_of(code: CodeType, run: Callable[[], Any]) -> int:
    count = 0

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event == "call" and frame.f_code is code

    sys.setprofile(profile)
    try:
        run()
    finally:
        sys.setprofile(None)
    return count


def test_within_one_run_the_stack_is_gone_up_once_for_each_depth_that_is_new() -> None:
    modules._runs.clear()  # the depths of other tests' models
    flat = nn.Sequential(Leaf(), Leaf(), Leaf())
    model = Calling(lambda self, x: [self.flat(x) for _ in range(4)], flat=flat)
    looks = modules._look_for_layer.__code__
    for _ in range(2):  # the second run is another one
        assert calls_of(looks, lambda: model(X)) == 1
    assert found == [f"flat.{index}" for index in range(3)] * 8
    depths = nn.Sequential(Leaf(), nn.Sequential(Leaf(), nn.Sequential(Leaf())), Leaf())
    assert calls_of(looks, lambda: depths(X)) == 3
    assert calls_of(looks, lambda: depths(X)) == 1
    four = nn.Sequential(Leaf(), nn.Sequential(Leaf(), nn.Sequential(Leaf(), nn.Sequential(Leaf()))), Leaf())
    assert calls_of(looks, lambda: four(X)) == 2  # at three of the four depths the model before had modules too
    assert calls_of(looks, lambda: four(X)) == 1
    assert calls_of(modules._write_down.__code__, lambda: (depths(X), model(X), four(X))) == 0


def test_a_module_that_runs_through_more_depths_than_are_remembered_is_named_all_the_same() -> None:
    model: nn.Module = Leaf()
    for _ in range(7):
        model = nn.Sequential(Leaf(), model)
    expected = [".".join("1" * depth + "0") for depth in range(7)] + [".".join("1" * 7)]
    for _ in range(3):
        assert layers(lambda: model(X)) == expected


# Second runs.


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("number", [0, 1, 2, 1000])
def test_the_second_run_of_a_checkpointed_function_is_said_to_be_one(
    reentrant: bool, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The number that torch gives a backward pass goes up from process start.
    backward_runs = False
    monkeypatch.setattr(torch._C, "_current_graph_task_id", lambda: number if backward_runs else -1)
    assert modules.find_torch()
    second = []

    def captured(x: Any) -> Any:
        try:
            function_in_layer(None)
        except Recomputed:
            second.append(True)
        return x * x

    def function_in_layer(owner: Any) -> None:
        second.append(modules.layer(owner) is not None)

    y = checkpoint(captured, torch.ones(2, requires_grad=True), use_reentrant=reentrant)
    assert second == [False]
    backward_runs = True
    y.sum().backward()
    assert second == [False, True]
    monkeypatch.undo()
    assert modules.find_torch()


def test_a_function_that_runs_in_a_backward_pass_and_in_no_second_run_is_none() -> None:
    class Calls(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(context: Any, *gradients: torch.Tensor) -> Any:
            function()
            return gradients[0]

    x = torch.ones(2, requires_grad=True)
    assert layers(lambda: Calls.apply(x).sum().backward()) == [None]
