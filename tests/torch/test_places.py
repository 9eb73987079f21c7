"""Where a module stands, however it was entered, and in which model: asked for as the recorder does."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from types import CodeType, FrameType, MethodType
from typing import Any
from weakref import ref

import pytest
import torch
import torch._dynamo  # as checkpointing does when it is first used
from torch import nn
from torch._dynamo.eval_frame import OptimizedModule
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from astcapture.record.torch import module_tree, modules, places
from astcapture.record.torch.checkpoint import Recomputed

X = torch.ones(1)


found: list[str | None] = []
of_models: list[str | None] = []


@pytest.fixture(autouse=True)
def _nothing_found_yet() -> Iterator[None]:
    assert modules.find_torch()
    found.clear()
    of_models.clear()
    yield
    found.clear()
    places.forget_torch()


def record(owner: Any, *others: Any) -> None:
    """Stands where the recorder does, between the captured function and the question."""
    where = places.where(owner, others)
    found.append(None if where is None else where.layer)
    of_models.append(None if where is None else where.model)


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
    of_models.clear()
    run()
    return list(found)


def models(run: Callable[[], Any]) -> list[str | None]:
    layers(run)
    return list(of_models)


def paths(*owners: nn.Module) -> list[str | None]:
    """Their places, asked for where nothing runs."""
    return layers(lambda: [record(owner) for owner in owners])


def function(*others: Any) -> None:
    record(None, *others)


def named(name: str) -> Any:
    """A class of model that no other test has models of."""
    return type(name, (Calling,), {})


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
    expected = list(root.named_modules(remove_duplicate=False))
    walked = [(".".join(names), id(module)) for names, module in module_tree.walk(root)]
    assert walked == [(path, id(module)) for path, module in expected]


@pytest.mark.parametrize("model", MODELS)
def test_every_module_of_a_model_has_the_path_of_named_modules_where_nothing_runs(model: str) -> None:
    root = MODELS[model]()
    for path, module in root.named_modules():
        assert paths(module) == [path]


def test_a_module_that_holds_itself_is_walked_once_and_its_other_parts_are_found() -> None:
    root, leaf = nn.Module(), Leaf()
    inner = nn.Module()
    root.inner = inner
    inner.root = root
    inner.itself = inner
    inner.leaf = leaf
    root.last = leaf
    walked = [(".".join(names), module) for names, module in module_tree.walk(root)]
    assert walked == [
        ("", root),
        ("inner", inner),
        ("inner.root", root),
        ("inner.itself", inner),
        ("inner.leaf", leaf),
        ("last", leaf),
    ]


def test_modules_that_hold_one_another_have_paths_too() -> None:
    ordinary = nn.Sequential(nn.ReLU())
    one, other = nn.Module(), nn.Module()
    one.other, other.one = other, one
    one.leaf = nn.ReLU()
    assert {str(path) for path in paths(one, other)} <= {"", "one", "other"}
    assert paths(one.leaf)[0] in ("leaf", "one.leaf")
    assert paths(ordinary[0]) == ["0"]


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


WRAPPERS = [DataParallel, DistributedDataParallel, FullyShardedDataParallel, OptimizedModule]


@pytest.mark.parametrize("kind", WRAPPERS)
def test_the_name_under_which_a_wrapper_holds_its_model_is_no_part_of_a_path(kind: type[nn.Module]) -> None:
    model = named("Wrapped")(leaf=Leaf())
    assert (paths(model.leaf), models(lambda: record(model.leaf))) == (["leaf"], ["Wrapped"])
    root = wrapped(kind, model)
    assert paths(model.leaf, model, root) == ["leaf", "", ""]
    assert models(lambda: (record(model.leaf), record(model))) == ["Wrapped"] * 2
    twice = wrapped(DataParallel, root)
    assert (paths(model.leaf, twice), models(lambda: record(model.leaf))) == (["leaf", ""], ["Wrapped"])
    outer = named("Outer")(part=twice)
    assert (paths(model.leaf), models(lambda: record(model.leaf))) == (["part.leaf"], ["Outer"])
    assert outer.part.module is root


def test_what_else_a_wrapper_holds_and_what_is_called_as_in_a_wrapper_keep_their_names() -> None:
    wrapper = wrapped(DataParallel, Leaf())
    wrapper.other = Leaf()
    assert paths(wrapper.other) == ["other"]
    model = Calling(module=Leaf())
    assert paths(model.module) == ["module"]


def test_every_module_of_the_process_is_among_the_live_ones() -> None:
    leaf = Leaf()
    model = nn.Sequential(leaf)
    live = {id(one) for one in modules.live_modules()}
    assert {id(leaf), id(model)} <= live
    assert id(X) not in live
    assert modules.is_module(leaf)
    assert not modules.is_module(X)
    assert not modules.is_module(Leaf)


# Whose place it is.


def test_outside_any_module_there_is_no_place() -> None:
    assert layers(function) == [None]
    assert layers(lambda: function(X, "module")) == [None]


def test_a_module_has_its_place_where_it_is_called_by_hand() -> None:
    model = nn.Sequential(Leaf())
    assert layers(lambda: (Leaf().forward(X), model[0].forward(X))) == ["", "0"]


def test_the_model_itself_has_the_empty_path_and_its_parts_their_names() -> None:
    model = nn.Sequential(Leaf(), Calling(deep=Calling(leaf=Leaf())))
    assert layers(lambda: Leaf()(X)) == [""]
    for _ in range(3):
        assert layers(lambda: model(X)) == ["0", "1.deep.leaf"]


def test_a_part_that_is_run_alone_has_the_path_in_its_model() -> None:
    model = nn.Sequential(Leaf(), Calling(deep=Calling(leaf=Leaf())))
    expected = ["0", "1.deep.leaf", "1.deep.leaf"]
    for _ in range(2):
        assert layers(lambda: (model[0](X), model[1](X), model[1].deep.leaf(X))) == expected


def test_a_function_has_the_nearest_module_that_runs() -> None:
    inner = Calling(lambda self, x: (function(), function()))
    assert layers(lambda: inner(X)) == ["", ""]
    model = Calling(lambda self, x: (function(), self.leaf(x), function(), self.inner(x)), leaf=Leaf(), inner=inner)
    for _ in range(2):
        assert layers(lambda: model(X)) == ["", "leaf", "", "inner", "inner"]


def test_a_function_has_the_first_module_that_it_is_handed_and_else_the_one_that_runs() -> None:
    first, second = Leaf(), Leaf()
    model = Calling(lambda self, x: (function(x, second, first), function(first), function(x)), a=first, b=second)
    assert layers(lambda: model(X)) == ["b", "a", ""]
    assert layers(lambda: function("no module", None, first)) == ["a"]


def test_a_method_that_is_called_without_its_module_has_the_path_of_its_own() -> None:
    model = Calling(lambda self, x: (self.leaf.forward(x), self.outer(x)), leaf=Leaf())
    model.outer = Calling(lambda self, x: self.inner.forward(x), inner=Leaf())
    for _ in range(2):
        assert layers(lambda: model(X)) == ["leaf", "outer.inner"]


def test_a_module_that_is_not_registered_is_a_model_of_its_own() -> None:
    hidden = named("Hidden")(part=Leaf())
    model = named("Hiding")(lambda self, x: (hidden(x), self.leaf(x), hidden(x)), leaf=Leaf())
    for _ in range(2):
        assert layers(lambda: model(X)) == ["part", "leaf", "part"]
        assert of_models == ["Hidden", "Hiding", "Hidden"]


def test_the_same_module_is_named_by_the_model_that_runs() -> None:
    leaf = Leaf()
    one, other = Calling(one=leaf), Calling(part=Calling(other=leaf))
    for _ in range(3):
        assert layers(lambda: (one(X), other(X), other.part(X))) == ["one", "part.other", "part.other"]


def test_a_module_of_two_models_that_runs_alone_is_named_by_the_larger() -> None:
    leaf = Leaf()
    small, large = Calling(one=leaf), Calling(part=Calling(other=leaf), last=leaf)
    assert layers(lambda: leaf(X)) == ["part.other"]
    assert paths(small, large) == ["", ""]


def test_the_parts_of_a_model_in_a_sequential_beside_it_are_named_by_the_one_that_runs() -> None:
    model = named("Original")(a=Leaf(), b=Calling(leaf=Leaf()))
    assert layers(lambda: model(X)) == ["a", "b.leaf"]
    features = nn.Sequential(*model.children())
    for _ in range(2):
        assert layers(partial(features, X)) == ["0", "1.leaf"]
        assert layers(lambda: model(X)) == ["a", "b.leaf"]
        assert of_models == ["Original"] * 2
    del features
    assert layers(lambda: model.b(X)) == ["b.leaf"]


def test_each_thread_has_the_layers_of_its_own_run() -> None:
    def alone() -> None:
        thread = threading.Thread(target=lambda: (leaf(X), function()))
        thread.start()
        thread.join()

    leaf = Leaf()
    model = Calling(lambda self, x: (self.leaf(x), alone(), self.leaf(x), function()), leaf=leaf)
    assert layers(lambda: model(X)) == ["leaf", "leaf", None, "leaf", ""]


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
    assert layers(lambda: model[1](X)) == ["0.0.leaf", "0.0.leaf"]
    first, second = Calling(x=inner), Calling(y=inner)
    del model, outer
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


def test_blocks_shared_in_more_ways_than_are_looked_at_have_one_of_their_paths() -> None:
    block: Any = Leaf()
    leaf = block
    for _ in range(12):
        block = nn.Sequential(block, block)
    (path,) = layers(lambda: leaf(X))
    assert path in {".".join(names) for names in module_tree.names_below(block)}


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
def test_a_module_that_is_taken_out_while_the_model_runs_is_a_model_itself_from_then_on(how: str) -> None:
    kept = []

    def run(self: Any, x: Any) -> None:
        part, leaf = self.part, self.part.leaf
        kept.extend((part, leaf))
        leaf(x)
        if how == "deleted":
            del self.part.leaf
        elif how == "none":
            self.part = None
        else:
            self.part = Calling(leaf=Leaf())
        leaf(x)

    # What stood above it still holds it, or nobody does.
    after = "" if how == "deleted" else "leaf"
    assert layers(lambda: Calling(run, part=named("Part")(leaf=Leaf()))(X)) == ["part.leaf", after]
    assert of_models[-1] == ("Leaf" if how == "deleted" else "Part") or of_models[-1].startswith("Leaf#")


@pytest.mark.parametrize("how", ["append", "insert", "setitem", "setattr", "add_module", "extend"])
def test_a_new_module_in_a_known_model_has_its_path_and_those_that_it_moves_have_theirs(how: str) -> None:
    model = Calling(blocks=nn.ModuleList([Leaf(), Leaf()]))
    assert paths(*model.blocks) == ["blocks.0", "blocks.1"]
    leaf = Leaf()
    if how == "append":
        model.blocks.append(leaf)
    elif how == "insert":
        model.blocks.insert(0, leaf)
    elif how == "setitem":
        model.blocks[1] = leaf
    elif how == "setattr":
        model.leaf = leaf
    elif how == "add_module":
        model.blocks.add_module("x", leaf)
    else:
        model.blocks.extend([leaf])
    for _ in range(2):
        assert [paths(module) for _, module in model.named_modules()] == [[path] for path, _ in model.named_modules()]


@pytest.mark.parametrize("how", ["append", "setitem", "setattr", "add_module"])
def test_a_module_that_was_recorded_as_a_model_of_its_own_is_a_part_of_the_one_that_it_is_put_in(how: str) -> None:
    block = Calling(leaf=Leaf())
    model = Calling(blocks=nn.ModuleList([Leaf()]))
    assert layers(lambda: (block(X), model.blocks[0](X))) == ["leaf", "blocks.0"]
    if how == "append":
        model.blocks.append(block)
    elif how == "setitem":
        model.blocks[0] = block
    elif how == "setattr":
        model.block = block
    else:
        model.add_module("x", block)
    (expected,) = [path for path, module in model.named_modules() if module is block.leaf]
    assert layers(lambda: block(X)) == [expected]


def test_a_list_that_is_inserted_into_moves_a_block_that_was_recorded_before() -> None:
    block = Calling(leaf=Leaf())
    model = Calling(
        lambda self, x: [one(x) for one in self.blocks], blocks=nn.ModuleList([Calling(leaf=Leaf()), block])
    )
    assert layers(lambda: model(X)) == ["blocks.0.leaf", "blocks.1.leaf"]
    model.blocks.insert(0, Calling(leaf=Leaf()))
    assert layers(lambda: model(X)) == ["blocks.0.leaf", "blocks.1.leaf", "blocks.2.leaf"]
    model.blocks.pop(1)
    assert layers(lambda: model(X)) == ["blocks.0.leaf", "blocks.1.leaf"]
    assert paths(block.leaf) == ["blocks.1.leaf"]


def test_a_model_that_is_put_in_a_bigger_one_after_it_was_recorded_has_its_place_there() -> None:
    model = named("Backbone")(leaf=Leaf())
    assert (layers(lambda: model(X)), list(of_models)) == (["leaf"], ["Backbone"])
    bigger = named("Detector")(backbone=model)
    assert (layers(lambda: model(X)), list(of_models)) == (["backbone.leaf"], ["Detector"])
    assert (layers(partial(bigger, X)), list(of_models)) == (["backbone.leaf"], ["Detector"])
    del bigger
    assert (layers(lambda: model(X)), list(of_models)) == (["leaf"], ["Backbone"])


COPIES: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "torch.save": lambda model: _saved(model),
}


def _saved(model: nn.Module) -> Any:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


class Stored(Calling):
    """Can be pickled."""


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_that_registered_nothing_has_paths_of_its_own(how: str) -> None:
    model = Stored(blocks=nn.Sequential(Leaf(), Stored(leaf=Leaf())))
    assert layers(lambda: model(X)) == ["blocks.0", "blocks.1.leaf"]
    one = COPIES[how](model)
    for _ in range(2):
        assert layers(lambda: (one(X), one.blocks[1](X))) == ["blocks.0", "blocks.1.leaf", "blocks.1.leaf"]
        assert layers(lambda: model(X)) == ["blocks.0", "blocks.1.leaf"]


def test_a_module_that_was_unpickled_after_an_early_value_has_its_path() -> None:
    text = pickle.dumps(Stored(blocks=nn.Sequential(Leaf())))
    assert layers(function) == [None]
    assert paths(nn.ReLU()) == [""]
    model = pickle.loads(text)
    assert layers(lambda: model(X)) == ["blocks.0"]


def test_a_module_that_was_moved_has_the_path_of_where_it_is_now() -> None:
    leaf = nn.ReLU()
    model = nn.Sequential(leaf, nn.Sequential())
    assert paths(leaf) == ["0"]
    del model[0]
    model[0].append(leaf)
    assert paths(leaf) == ["0.0"]
    other = nn.Sequential(nn.Identity(), nn.Identity(), leaf)
    model[0].pop(0)
    assert paths(leaf) == ["2"]
    assert paths(other[0]) == ["0"]


def test_a_module_that_is_taken_out_of_its_model_is_a_model_itself() -> None:
    leaf = nn.ReLU()
    model = nn.Sequential(leaf)
    assert paths(leaf) == ["0"]
    model.pop(0)
    assert paths(leaf) == [""]


def test_those_that_are_held_are_named_by_those_that_hold_them_however_they_were_made() -> None:
    part = nn.Sequential(nn.ReLU())  # older than its model
    model = nn.Sequential(nn.Identity(), part)
    younger = nn.ReLU()
    model.append(younger)
    assert paths(part, part[0], younger) == ["1", "1.0", "2"]


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

    leaf = Leaf()
    model = Calling(fail, leaf=leaf)
    kept = []
    for _ in range(3):
        try:
            model(X)
        except RuntimeError as error:
            kept.append(error)
    other = nn.Sequential(nn.Sequential(leaf))
    assert layers(lambda: other(X)) == ["0.0"]
    assert len(kept) == 3


def test_forwards_that_outlive_their_call_name_no_later_run() -> None:
    own = Calling(leaf=Leaf())
    own.forward = MethodType(Calling.forward, own)
    for _ in range(2):
        assert layers(lambda: own(X)) == ["leaf"]
        outer = nn.Sequential(own)
        assert layers(partial(outer, X)) == ["0.leaf"]
        del outer

    class Borrowing(nn.Module):
        forward = own.forward  # bound to another module for good

    borrowing = Borrowing()
    borrowing.leaf = own.leaf
    for _ in range(2):
        assert layers(lambda: borrowing(X)) == ["leaf"]


def test_what_is_known_keeps_no_module_alive_and_goes_with_it() -> None:
    def tables() -> list[set[int]]:
        return [set(table) for table in (places._seen, places._held, places._known, places._topmost)]

    gc.collect()
    paths(nn.ReLU())
    before = tables()
    model = nn.Sequential(Leaf(), Leaf())
    model(X)
    known = {id(model[0]), id(model[1])}
    assert known <= set(places._known)
    gone = [ref(model), ref(model[0])]
    del model
    assert [one() for one in gone] == [None, None]
    assert [after - earlier for after, earlier in zip(tables(), before, strict=True)] == [set()] * 4


# Which model.


def test_the_model_is_its_class_and_from_the_second_live_one_on_a_number() -> None:
    kind = named("Numbered")
    one, two, three = (kind(leaf=Leaf()) for _ in range(3))
    for _ in range(2):
        assert models(lambda: (one(X), two(X), one(X), three(X))) == [
            "Numbered", "Numbered#2", "Numbered", "Numbered#3",
        ]  # fmt: skip


def test_a_number_is_free_again_when_its_model_is_gone() -> None:
    kind = named("Freed")
    one, two = kind(leaf=Leaf()), kind(leaf=Leaf())
    assert models(partial(one, X)) == ["Freed"]
    assert models(partial(two, X)) == ["Freed#2"]
    del one
    other, more = kind(leaf=Leaf()), kind(leaf=Leaf())
    assert models(lambda: (two(X), other(X), more(X), two(X))) == ["Freed#2", "Freed", "Freed#3", "Freed#2"]


def test_one_model_after_another_is_the_same_name() -> None:
    kind = named("Successive")
    for _ in range(3):
        model = kind(leaf=Leaf())
        assert models(partial(model, X)) == ["Successive"]
        del model


def test_a_number_is_free_again_when_its_model_is_a_part_of_another_one() -> None:
    kind = named("Taken")
    one = kind(leaf=Leaf())
    assert models(lambda: one(X)) == ["Taken"]
    bigger = named("Taking")(part=one)
    two = kind(leaf=Leaf())
    assert models(lambda: (one(X), two(X))) == ["Taking", "Taken"]
    assert bigger.part is one


@pytest.mark.parametrize("kind", WRAPPERS)
def test_a_number_is_free_again_when_its_model_is_a_part_of_another_one_in_a_wrapper(kind: type[nn.Module]) -> None:
    one = named("TakenWrapped")(leaf=Leaf())
    assert models(lambda: one(X)) == ["TakenWrapped"]
    bigger = named("TakingWrapped")(part=wrapped(kind, one))
    two = type(one)(leaf=Leaf())
    assert models(lambda: (two(X), one(X))) == ["TakenWrapped", "TakingWrapped"]
    assert bigger.part is not one


@pytest.mark.parametrize("kind", WRAPPERS)
def test_a_model_keeps_its_number_when_it_is_wrapped(kind: type[nn.Module]) -> None:
    model = named("Kept")(leaf=Leaf())
    assert models(lambda: model(X)) == ["Kept"]
    wrapper = wrapped(kind, model)
    other = type(model)(leaf=Leaf())
    assert models(lambda: (model(X), other(X))) == ["Kept", "Kept#2"]
    assert wrapper.module is model if kind is not OptimizedModule else wrapper._orig_mod is model


def test_a_parametrization_does_not_change_the_name_of_a_model() -> None:
    class Projecting(nn.Linear):
        def forward(self, x: Any) -> Any:
            record(self)
            return super().forward(x)

    model = parametrizations.weight_norm(Projecting(1, 1))
    assert type(model).__name__ == "ParametrizedProjecting"
    assert models(lambda: model(X)) == ["Projecting"]


def test_a_class_that_only_begins_as_those_do_keeps_its_name() -> None:
    assert places.class_name(type("FSDPNet", (nn.Module,), {})) == "FSDPNet"
    sharded = type("FSDPDecoder", (type("FSDPModule", (), {}), type("Decoder", (nn.Module,), {})), {})
    assert places.class_name(sharded) == "Decoder"


def test_replicas_as_data_parallel_makes_them_are_the_module_that_they_are_made_of() -> None:
    model = named("Replicated")(a=Leaf(), b=Calling(leaf=Leaf()))
    # As `torch.nn.parallel.replicate`, which needs several GPUs, does it.
    originals = list(model.modules())
    number = {one: index for index, one in enumerate(originals)}

    def replica() -> Any:
        copies = [one._replicate_for_data_parallel() for one in originals]
        for one, made in zip(originals, copies, strict=True):
            for key, child in one._modules.items():
                setattr(made, key, copies[number[child]])
        return copies[0]

    for _ in range(2):
        first, second = replica(), replica()
        assert layers(lambda: (first(X), model(X), second(X))) == ["a", "b.leaf"] * 3  # noqa: B023
        assert of_models == ["Replicated"] * 6
    wrapper = DataParallel(model)
    third = replica()
    assert layers(lambda: (wrapper(X), third(X))) == ["a", "b.leaf"] * 2
    assert of_models == ["Replicated"] * 4


# By a weak reference, for compiled code.


def path_of(reference: Any) -> str | None:
    where = places.where_of(reference)
    return None if where is None else where.layer


@pytest.fixture
def nothing_named() -> Iterator[None]:
    places._named.clear()
    yield
    places._named.clear()


@pytest.mark.usefixtures("nothing_named")
def test_a_place_outlives_the_module_and_its_model_until_it_is_forgotten() -> None:
    model = nn.Sequential(nn.ReLU(), nn.Sequential(nn.ReLU()))
    references = [ref(model[0]), ref(model[1][0])]
    assert [path_of(one) for one in references] == ["0", "1.0"]
    kept = model[1]
    del model
    assert [one() for one in references] == [None, kept[0]]
    assert path_of(references[0]) == "0"
    assert path_of(references[1]) == "1.0"  # what it was as it was recorded
    places.forget_dead()
    assert path_of(references[0]) is None
    assert path_of(references[1]) == "1.0"
    del kept
    places.forget_dead()
    assert [path_of(one) for one in references] == [None, None]


@pytest.mark.usefixtures("nothing_named")
def test_all_modules_of_a_model_are_named_when_one_of_them_is_asked_for() -> None:
    model = nn.Sequential(nn.ReLU(), nn.Sequential(nn.ReLU()))
    references = [ref(one) for one in model.modules()]
    places.name_all(references[1], ())
    del model
    assert [one() for one in references] == [None] * 4
    assert [path_of(one) for one in references] == ["", "0", "1", "1.0"]


@pytest.mark.usefixtures("nothing_named")
def test_one_that_was_never_seen_alive_has_no_place() -> None:
    leaf = nn.ReLU()
    gone = ref(leaf)
    del leaf
    assert path_of(gone) is None
    assert path_of(None) is None
    places.name_all(gone, ())
    assert path_of(gone) is None


@pytest.mark.usefixtures("nothing_named")
def test_of_several_places_the_running_modules_choose_and_what_was_chosen_stays() -> None:
    leaf = nn.ReLU()
    model = nn.Sequential(nn.Sequential(leaf), nn.Sequential(leaf))
    assert path_of(ref(leaf)) == "0.0"
    where = places.where_of(ref(leaf), [model, model[1]])
    assert where is not None and where.layer == "1.0"
    assert path_of(ref(leaf)) == "1.0"


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


def test_a_place_that_is_known_is_not_looked_for_again() -> None:
    model = Calling(lambda self, x: [self.flat(x) for _ in range(4)], flat=nn.Sequential(Leaf(), Leaf(), Leaf()))
    assert calls_of(places._place.__code__, lambda: model(X)) == 3
    for _ in range(2):
        assert calls_of(places._place.__code__, lambda: model(X)) == 0
        assert calls_of(modules.running.__code__, lambda: model(X)) == 0


def test_all_objects_are_looked_at_once_for_each_model_that_is_met_and_not_as_it_grows() -> None:
    def work() -> None:
        model = nn.Sequential(Leaf(), nn.Sequential(Leaf()))
        for _ in range(3):
            model(X)
            model.append(Leaf())
            model[1].append(nn.Sequential(Leaf()))
            model(X)

    calls_of(places._look_at_all.__code__, work)
    assert calls_of(places._look_at_all.__code__, work) == 1


def test_shared_blocks_are_told_apart_without_a_look_at_all_objects() -> None:
    leaf = Leaf()
    model = nn.Sequential(Calling(leaf=leaf), Calling(leaf=leaf))
    model(X)
    assert calls_of(places._look_at_all.__code__, lambda: model(X)) == 0


def test_a_module_that_runs_through_many_depths_is_named_all_the_same() -> None:
    model: nn.Module = Leaf()
    for _ in range(7):
        model = nn.Sequential(Leaf(), model)
    expected = [".".join("1" * depth + "0") for depth in range(7)] + [".".join("1" * 7)]
    for _ in range(3):
        assert layers(lambda: model(X)) == expected


def test_what_is_registered_is_seen_until_torch_is_forgotten_and_no_hook_is_left() -> None:
    home = torch.nn.modules.module
    before = len(home._global_module_registration_hooks)
    for _ in range(2):
        model = nn.Sequential(Leaf())
        assert paths(model[0]) == ["0"]
        assert len(home._global_module_registration_hooks) == before + 1
        places.forget_torch()
        assert len(home._global_module_registration_hooks) == before
        assert not places._seen and not places._known


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
        second.append(places.where(owner) is not None)

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
