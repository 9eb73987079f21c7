"""The path of a module that is not on the stack, from who holds whom; and what ran in place of a function."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from weakref import ref

import pytest
import torch
from torch import nn
from torch.nn.parallel import DataParallel

from astcapture.record import holders
from astcapture.record.bypassed import why_bypassed
from astcapture.record.holders import path_of


@pytest.fixture(autouse=True)
def _nothing_is_known_yet() -> Iterator[None]:
    holders._known.clear()
    yield
    holders._known.clear()


def paths(*modules: nn.Module) -> list[str | None]:
    return [path_of(ref(one)) for one in modules]


# Paths.


def test_a_module_has_its_path_in_the_model_that_holds_it() -> None:
    assert path_of(None) is None
    inner, leaf = nn.Sequential(nn.Identity()), nn.ReLU()
    model = nn.ModuleDict({"first": inner, "second": nn.Sequential(inner[0], leaf)})
    assert paths(model, inner, leaf, model["second"]) == ["", "first", "second.1", "second"]
    # One that is held twice has the first of its paths.
    assert paths(inner[0]) == ["first.0"]
    assert paths(nn.ReLU()) == [""]


def test_those_that_are_held_are_named_by_those_that_hold_them_however_they_were_made() -> None:
    part = nn.Sequential(nn.ReLU())  # older than its model
    model = nn.Sequential(nn.Identity(), part)
    younger = nn.ReLU()
    model.append(younger)
    assert paths(part, part[0], younger) == ["1", "1.0", "2"]


def test_the_names_of_wrappers_are_no_part_of_the_path() -> None:
    model = nn.Sequential(nn.ReLU())
    wrapper = DataParallel(model)
    assert paths(model[0], model, wrapper) == ["0", "", ""]


def test_modules_that_hold_one_another_have_paths_too() -> None:
    ordinary = nn.Sequential(nn.ReLU())
    one, other = nn.Module(), nn.Module()
    one.other, other.one = other, one
    one.leaf = nn.ReLU()
    assert sorted(str(path) for path in paths(one, other)) in (["", "other"], ["", "one"])
    (leaf,) = paths(one.leaf)
    assert leaf in ("leaf", "one.leaf")
    assert paths(ordinary[0]) == ["0"]


def test_a_path_outlives_the_module_and_its_model_until_it_is_forgotten() -> None:
    model = nn.Sequential(nn.ReLU(), nn.Sequential(nn.ReLU()))
    references = [ref(model[0]), ref(model[1][0])]
    assert [path_of(one) for one in references] == ["0", "1.0"]
    kept = model[1][0]
    del model
    assert [one() for one in references] == [None, kept]
    # The model is gone, and no other leads to what is left: it stays what it was.
    assert [path_of(one) for one in references] == ["0", "1.0"]
    # Nor does it change when another one is looked for, and all that are there are found.
    other = nn.Sequential(nn.Identity(), kept)
    assert path_of(ref(other[0])) == "0"
    assert path_of(references[1]) == "1.0"
    holders.forget_dead()
    assert path_of(references[0]) is None
    assert path_of(references[1]) == "1"  # no record of the model that is gone waits for its name
    del other
    holders.forget_dead()
    assert path_of(references[1]) == ""
    del kept
    holders.forget_dead()
    assert [path_of(one) for one in references] == [None, None]


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


def test_a_module_that_was_not_there_when_the_others_were_written_down_is_found() -> None:
    model = nn.Sequential(nn.ReLU())
    assert paths(model[0]) == ["0"]
    model.append(nn.ReLU())
    assert paths(model[1], model[0]) == ["1", "0"]


def test_one_that_was_never_seen_alive_has_no_path() -> None:
    leaf = nn.ReLU()
    gone = ref(leaf)
    del leaf
    assert path_of(gone) is None


def test_what_is_known_keeps_no_module_alive() -> None:
    model = nn.Sequential(nn.ReLU())
    assert paths(model[0]) == ["0"]
    gone = ref(model), ref(model[0])
    del model
    assert [one() for one in gone] == [None, None]


def test_a_path_that_is_known_is_not_looked_for_again() -> None:
    model = nn.Sequential(nn.ReLU(), nn.ReLU())
    assert paths(model[0]) == ["0"]
    looked = []

    def profile(frame: Any, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code is holders._write_down.__code__:
            looked.append(frame)

    sys.setprofile(profile)
    try:
        assert paths(model[1], model[0], model) == ["1", "0", ""]
    finally:
        sys.setprofile(None)
    assert looked == []


# What runs in place of a function.


def plain(x: torch.Tensor) -> torch.Tensor:
    return x * 2


class Plain(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2


class Other(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 3


SCRIPT = "torch.jit.script compiled it from its source file"


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")
def test_a_function_that_was_scripted_is_told_from_one_that_was_not() -> None:
    assert why_bypassed(__name__, "plain") is None
    assert why_bypassed(__name__, "Plain.forward") is None
    scripted = torch.jit.script(plain), torch.jit.script(Plain())
    assert scripted is not None
    for name in ("plain", "Plain.forward"):
        why = why_bypassed(__name__, name)
        assert why is not None and why.startswith(SCRIPT) and "run the model as it is before it is scripted" in why
        assert why_bypassed("another.module", name) is None
    assert why_bypassed(__name__, "Other.forward") is None
    assert why_bypassed(__name__, "other") is None
    assert why_bypassed(__name__, "Plain.Inner.forward") is None


def test_of_a_class_inside_a_class_the_whole_name_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    class Inner:
        pass

    Inner.__qualname__, Inner.__module__ = "Outer.Inner", "a.model"
    store = SimpleNamespace(type_store={Inner: []})
    monkeypatch.setattr(torch.jit._recursive, "concrete_type_store", store)
    assert SCRIPT in str(why_bypassed("a.model", "Outer.Inner.forward"))
    assert why_bypassed("a.model", "Outer.forward") is None
    assert why_bypassed("a.model", "Inner.forward") is None


LISTS = [("_state", "_jit_caching_layer"), ("_recursive", "concrete_type_store")]


@pytest.mark.parametrize(("home", "name"), LISTS)
@pytest.mark.parametrize("gone", ["the list", "the module"])
def test_where_torchs_lists_are_not_as_expected_nothing_is_said(
    home: str, name: str, gone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hasattr(getattr(torch.jit, home), name)
    if gone == "the list":
        monkeypatch.delattr(getattr(torch.jit, home), name)
    else:
        monkeypatch.delattr(torch.jit, home)
    assert why_bypassed(__name__, "Other.forward") is None


def test_a_store_of_another_kind_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hasattr(torch.jit._recursive.concrete_type_store, "type_store")
    monkeypatch.setattr(torch.jit._recursive, "concrete_type_store", SimpleNamespace())
    assert why_bypassed(__name__, "Other.forward") is None


def test_without_torch_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    assert why_bypassed("torch.nn.functional", "multi_head_attention_forward") is None


class Derived(nn.TransformerEncoderLayer):
    pass


FAST = {
    "attention": lambda: nn.MultiheadAttention(4, 2),
    "a layer": lambda: nn.TransformerEncoderLayer(4, 2),
    "a class of one's own": lambda: Derived(4, 2),
}
INSIDE = [
    ("torch.nn.functional", "multi_head_attention_forward"),
    ("torch.nn.modules.activation", "MultiheadAttention.forward"),
    ("torch.nn.modules.transformer", "TransformerEncoderLayer._sa_block"),
]


@pytest.fixture
def no_attention_yet() -> None:
    """No other test's model is in eval mode any more; one may be in a cycle."""

    def alive() -> bool:
        kinds = (nn.MultiheadAttention, nn.TransformerEncoderLayer)
        return any(isinstance(one, kinds) and not one.training for one in holders.modules.live_modules())

    holders.modules.find_torch()
    if alive():
        gc.collect()
    assert not alive()


@pytest.mark.usefixtures("no_attention_yet")
@pytest.mark.parametrize("kind", FAST)
def test_the_path_in_c_is_taken_by_torchs_attention_in_eval_mode(kind: str) -> None:
    model = FAST[kind]().eval()
    for module, name in INSIDE:
        why = why_bypassed(module, name)
        assert why is not None
        assert "nn.MultiheadAttention and nn.TransformerEncoderLayer take a path in C++" in why
        assert "in eval mode" in why
        assert "call torch.backends.mha.set_fastpath_enabled(False) first" in why
    assert why_bypassed(__name__, "Other.forward") is None
    model.train()
    assert why_bypassed(*INSIDE[0]) is None
    for part in model.children():
        part.eval()
    assert (why_bypassed(*INSIDE[0]) is None) == (kind == "attention")  # the attention in a layer is such a module too
    model.eval()
    for part in model.children():
        part.train()
    assert why_bypassed(*INSIDE[0]) is not None
    model.eval()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        assert why_bypassed(*INSIDE[0]) is None
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


@pytest.mark.usefixtures("no_attention_yet")
def test_a_model_without_such_attention_takes_no_path_in_c() -> None:
    model = nn.Sequential(Plain(), nn.Linear(2, 2)).eval()
    assert why_bypassed(*INSIDE[0]) is None
    assert not model.training
