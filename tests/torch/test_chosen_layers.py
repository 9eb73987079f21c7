"""`install(layers=)`: of layers that are not chosen nothing is computed or kept; and reductions that ask for more."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import astcapture
from astcapture import CaptureError
from astcapture.record import draining
from astcapture.record.events import events as waiting
from astcapture.record.torch import attention
from astcapture.record.torch import chain as compiled_chain

SOURCE = """\
import torch
from torch import nn
from torch.nn import functional as F


class Attention(nn.Module):
    def forward(self, x):
        q = x * 2
        attn = (q @ x.mT).softmax(-1)
        return F.scaled_dot_product_attention(q, x, attn @ x)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn = Attention()

    def forward(self, x):
        return x + self.attn(x)


class Net(nn.Module):
    def __init__(self, depth=3):
        super().__init__()
        self.blocks = nn.ModuleList([Block() for _ in range(depth)])

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


def free(x):
    y = x + 1
    return y
"""
ATTENTION = "chosen:Attention.forward"
X = torch.arange(12.0).reshape(1, 3, 4) / 12


@pytest.fixture(autouse=True)
def load(tmp_path: Path, fresh_imports: Any) -> Iterator[Callable[[], Any]]:
    (tmp_path / "chosen.py").write_text(SOURCE)
    torch._dynamo.reset()
    yield lambda: importlib.import_module("chosen")
    torch._dynamo.reset()


def whole(model: Any) -> Any:
    return torch.compile(model, backend="eager", fullgraph=True)


def by_blocks(model: Any) -> Any:
    for block in model.blocks:
        block.compile(backend="eager", fullgraph=True)
    return model


HOW: dict[str, Callable[[Any], Any]] = {"eager": lambda model: model, "compiled": whole, "by blocks": by_blocks}
how_it_runs = pytest.mark.parametrize("how", HOW)


def counts(label: str = "attn") -> dict[str | None, int]:
    return {layer: len(found) for layer, found in astcapture.cache.select(label=label).by_layer().items()}


CHOICES: dict[Any, list[int]] = {
    "blocks.1.*": [1],
    "blocks.1.attn": [1],
    "blocks.1": [],
    "*": [0, 1, 2],
    "blocks.0.*, blocks.2.*": [0, 2],
    ("blocks.2.*", "head"): [2],
    "blocks.[!0].*": [1, 2],
    "nowhere": [],
}


@pytest.mark.slow
@how_it_runs
@pytest.mark.parametrize("layers", CHOICES)
def test_the_layers_that_a_pattern_chooses_are_recorded_and_no_others(load: Any, how: str, layers: Any) -> None:
    given = list(layers) if isinstance(layers, tuple) else layers
    with astcapture.install(f"{ATTENTION}=attn", layers=given):
        model = HOW[how](load().Net())
        model(X)
        model(X)
        assert counts() == {f"blocks.{index}.attn": 2 for index in CHOICES[layers]}


@pytest.mark.slow
@how_it_runs
def test_what_is_recorded_of_a_chosen_layer_is_what_is_recorded_of_all(load: Any, how: str) -> None:
    module = load()
    with astcapture.install(f"{ATTENTION}=attn"):
        module = sys.modules["chosen"]
        model = module.Net()
        with astcapture.recording() as rec:
            model(X)
        expected = rec.select(label="attn").by_layer()["blocks.1.attn"]
    with astcapture.install(f"{ATTENTION}=attn", layers="blocks.1.*"):
        torch._dynamo.reset()
        HOW[how](model)(X)
        (value,) = astcapture.cache.select(label="attn")
    torch.testing.assert_close(value, expected[0])


@pytest.mark.slow
@how_it_runs
def test_the_reduction_is_called_for_the_chosen_layers_alone(load: Any, how: str) -> None:
    called: list[int] = []

    def reduce(value: Any) -> Any:
        called.append(1)
        return value.sum()

    with astcapture.install(f"{ATTENTION}=attn", layers="blocks.1.*", reduce=reduce):
        model = HOW[how](load().Net())
        model(X)
        model(X)
        assert counts() == {"blocks.1.attn": 2}
    assert len(called) == 2


def test_the_weights_of_fused_attention_and_expressions_are_computed_for_the_chosen_layers_alone(
    load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[Any] = []
    weights = attention.attention_weights
    monkeypatch.setattr(attention, "attention_weights", lambda **named: computed.append(named) or weights(**named))
    with astcapture.install([f"{ATTENTION}=weights@sdpa,q"], layers={"weights": "blocks.2.*"}):
        model = load().Net()
        model(X)
        assert len(computed) == 1
        with astcapture.pause():
            model(X)
        assert len(computed) == 1
        assert counts("weights") == {"blocks.2.attn": 1}
        assert counts("q") == {f"blocks.{index}.attn": 1 for index in range(3)}


@pytest.mark.slow
@how_it_runs
def test_of_layers_that_are_not_chosen_no_copy_is_left(load: Any, how: str) -> None:
    with astcapture.install(f"{ATTENTION}=q", layers="nowhere"):
        model = HOW[how](load().Net())
        with torch.no_grad():
            model(X)
            draining.settle_compiled()
            held = [value for chain in compiled_chain.chains for value in chain.values()]
        assert [site[2] for site, *_ in waiting if site[2]] == []
        assert not any(isinstance(value, torch.Tensor) for value in held)
        assert len(astcapture.cache.select()) == 0


@pytest.mark.slow
def test_a_value_outside_any_layer_is_taken_where_no_layers_are_asked_for(load: Any) -> None:
    with astcapture.install([f"{ATTENTION}=attn", "chosen:free=y"], layers="*"):
        load().free(X)
        assert len(astcapture.cache["free"]) == 0
    with astcapture.install([f"{ATTENTION}=attn", "chosen:free=y"], layers={ATTENTION: "blocks.0.*"}):
        load().free(X)
        load().Net()(X)
        assert len(astcapture.cache["free"]) == 1
        assert counts() == {"blocks.0.attn": 1}


def test_each_target_may_have_layers_of_its_own(load: Any) -> None:
    layers = {f"{ATTENTION}=attn": "blocks.0.*", "q": ["blocks.1.*", "blocks.2.*"], "*": None}
    with astcapture.install([f"{ATTENTION}=attn,q,x"], layers=layers):
        load().Net()(X)
        assert counts("attn") == {"blocks.0.attn": 1}
        assert counts("q") == {"blocks.1.attn": 1, "blocks.2.attn": 1}
        assert counts("x") == {f"blocks.{index}.attn": 1 for index in range(3)}


BAD: list[Any] = [1, True, "", " , ", [], [""], ["blocks.*", 3], {"attn": 5}, {"attn": []}, object()]


@pytest.mark.parametrize("layers", BAD, ids=[f"{number}" for number in range(len(BAD))])
def test_what_names_no_layers_is_refused_with_what_to_write(layers: Any) -> None:
    with pytest.raises(CaptureError, match=r'layers.*: write layer patterns, layers="blocks\.11'):
        astcapture.install(f"{ATTENTION}=attn", layers=layers)


PROGRAM = """
    import torch, chosen, astcapture
    chosen.Net()(torch.ones(1, 3, 4))
    print({layer: len(found) for layer, found in astcapture.cache.select(label="attn").by_layer().items()})
"""


@pytest.mark.long
@pytest.mark.slow
def test_layers_are_read_from_the_environment_and_from_a_file(tmp_path: Path, run_python: Any) -> None:
    start = "import astcapture; astcapture.install()\n"
    program = start + "\n".join(line.strip() for line in PROGRAM.strip().splitlines())
    asked = {"ASTCAPTURE": f"{ATTENTION}=attn", "ASTCAPTURE_LAYERS": "blocks.0.*,blocks.2.*"}
    assert run_python(program, env=asked).stdout == "{'blocks.0.attn': 1, 'blocks.2.attn': 1}\n"
    config = tmp_path / "capture.toml"
    for written in ('layers = "blocks.1.*"', 'layers = ["blocks.1.*"]', '[layers]\nattn = ["blocks.1.*"]'):
        config.write_text(f'targets = ["{ATTENTION}=attn"]\n{written}\n')
        done = run_python(program, env={"ASTCAPTURE_CONFIG": str(config)})
        assert done.stdout == "{'blocks.1.attn': 1}\n"
    config.write_text(f'targets = ["{ATTENTION}=attn"]\nlayers = 3\n')
    told = run_python("import astcapture; astcapture.install()", env={"ASTCAPTURE_CONFIG": str(config)}, status=1)
    assert "CaptureError" in told.stderr and "layers" in told.stderr


# Reductions that ask for what they reduce.


@pytest.mark.slow
@how_it_runs
def test_a_reduction_of_two_parameters_is_told_of_the_value(load: Any, how: str) -> None:
    told: list[Any] = []

    def reduce(value: Any, record: Any) -> Any:
        told.append(record)
        return record.layer, value.shape[-1]

    with astcapture.install(f"{ATTENTION}=attn", reduce=reduce):
        model = HOW[how](load().Net(2))
        with astcapture.tag(image="dog"):
            model(X)
        assert list(astcapture.cache["chosen:Attention.forward"]) == [("blocks.0.attn", 3), ("blocks.1.attn", 3)]
    first = told[0]
    assert (first.label, first.module, first.function) == ("attn", "chosen", "Attention.forward")
    assert (first.layer, dict(first.tags)) == ("blocks.0.attn", {"image": "dog"})
    # With a number, should a model of another test not be gone yet.
    assert first.model.partition("#")[0] == "Net"
    assert first.lineno == 10
    assert [(one.layer, one.model) for one in told] == [
        (record.layer, record.model) for record in astcapture.cache.select(label="attn").records
    ]


@pytest.mark.slow
def test_a_reduction_by_name_may_ask_for_what_it_reduces(load: Any, tmp_path: Path) -> None:
    (tmp_path / "reducing.py").write_text(
        "class Of:\n"
        "    @staticmethod\n"
        "    def two(value, record):\n        return record.layer\n"
        "def one(value):\n        return 'one'\n"
        "def with_default(value, dim=None):\n        return dim\n"
    )
    for name, expected in (
        ("reducing:Of.two", ["blocks.0.attn"]),
        ("reducing:one", ["one"]),
        ("reducing:with_default", [None]),
    ):
        with astcapture.install(f"{ATTENTION}=attn", reduce=name), astcapture.recording() as rec:
            load().Net(1)(X)
        assert list(rec["chosen:Attention.forward"]) == expected


REDUCTIONS: list[tuple[Any, Any]] = [
    (lambda value: "one", "one"),
    (lambda value, record: record.layer, "blocks.0.attn"),
    (lambda value, dim=None: dim, None),
    (lambda value, *more: more, ()),
    (lambda value, *, keep=True: keep, True),
    (torch.Tensor.numel, 9),
    (len, 1),
]


@pytest.mark.parametrize(("reduce", "expected"), REDUCTIONS, ids=range(len(REDUCTIONS)))
def test_a_reduction_is_given_a_second_argument_only_where_it_must_be(load: Any, reduce: Any, expected: Any) -> None:
    with astcapture.install(f"{ATTENTION}=attn", reduce=reduce), astcapture.recording() as rec:
        load().Net(1)(X)
    assert list(rec["chosen:Attention.forward"]) == [expected]


def test_outside_any_module_a_reduction_is_told_of_no_layer(load: Any) -> None:
    with astcapture.install("chosen:free=y", reduce=lambda value, record: (record.layer, record.model)):
        load().free(X)
        assert list(astcapture.cache["free"]) == [(None, None)]
