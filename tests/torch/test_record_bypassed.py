"""What ran in place of a function: code that torch made of it, or a path of torch's in C++."""

from __future__ import annotations

import gc
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from astcapture.record.torch import modules
from astcapture.record.torch.bypassed import Live, why_bypassed


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
    assert why_bypassed(__name__, "plain", Live()) is None
    assert why_bypassed(__name__, "Plain.forward", Live()) is None
    scripted = torch.jit.script(plain), torch.jit.script(Plain())
    assert scripted is not None
    for name in ("plain", "Plain.forward"):
        why = why_bypassed(__name__, name, Live())
        assert why is not None and why.startswith(SCRIPT) and "run the model without torch.jit.script" in why
        assert why_bypassed("another.module", name, Live()) is None
    assert why_bypassed(__name__, "Other.forward", Live()) is None
    assert why_bypassed(__name__, "other", Live()) is None
    assert why_bypassed(__name__, "Plain.Inner.forward", Live()) is None


def test_of_a_class_inside_a_class_the_whole_name_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    class Inner:
        pass

    Inner.__qualname__, Inner.__module__ = "Outer.Inner", "a.model"
    store = SimpleNamespace(type_store={Inner: []})
    monkeypatch.setattr(torch.jit._recursive, "concrete_type_store", store)
    assert SCRIPT in str(why_bypassed("a.model", "Outer.Inner.forward", Live()))
    assert why_bypassed("a.model", "Outer.forward", Live()) is None
    assert why_bypassed("a.model", "Inner.forward", Live()) is None


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
    assert why_bypassed(__name__, "Other.forward", Live()) is None


def test_a_store_of_another_kind_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hasattr(torch.jit._recursive.concrete_type_store, "type_store")
    monkeypatch.setattr(torch.jit._recursive, "concrete_type_store", SimpleNamespace())
    assert why_bypassed(__name__, "Other.forward", Live()) is None


def test_without_torch_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    assert why_bypassed("torch.nn.functional", "multi_head_attention_forward", Live()) is None


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
        return any(isinstance(one, kinds) and not one.training for one in modules.live_modules())

    modules.find_torch()
    if alive():
        gc.collect()
    assert not alive()


@pytest.mark.slow
@pytest.mark.usefixtures("no_attention_yet")
@pytest.mark.parametrize("kind", FAST)
def test_the_path_in_c_is_taken_by_torchs_attention_in_eval_mode(kind: str) -> None:
    model = FAST[kind]().eval()
    for module, name in INSIDE:
        why = why_bypassed(module, name, Live())
        assert why is not None
        assert "nn.MultiheadAttention and nn.TransformerEncoderLayer use a fast path in C++" in why
        assert "in eval mode" in why
        assert "call torch.backends.mha.set_fastpath_enabled(False) first" in why
    assert why_bypassed(__name__, "Other.forward", Live()) is None
    model.train()
    assert why_bypassed(*INSIDE[0], Live()) is None
    for part in model.children():
        part.eval()
    assert (why_bypassed(*INSIDE[0], Live()) is None) == (
        kind == "attention"
    )  # the attention in a layer is such a module too
    model.eval()
    for part in model.children():
        part.train()
    assert why_bypassed(*INSIDE[0], Live()) is not None
    model.eval()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        assert why_bypassed(*INSIDE[0], Live()) is None
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


@pytest.mark.usefixtures("no_attention_yet")
def test_a_model_without_such_attention_takes_no_path_in_c() -> None:
    model = nn.Sequential(Plain(), nn.Linear(2, 2)).eval()
    assert why_bypassed(*INSIDE[0], Live()) is None
    assert not model.training
