"""Which layer and which model a value is of, however the model is entered, eager and compiled; and in a store."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import astcapture
from astcapture.store.header import metadata

SOURCE = """\
import torch
from torch import nn


def eager_attention(query, key, module, scale=1):
    weights = (query @ key.mT * module.scale * scale).softmax(-1)
    return weights @ key


class Attention(nn.Module):
    scale = 0.5

    def forward(s, x):
        attn = (x @ x.mT).softmax(-1)
        return attn @ x


class Free(nn.Module):
    scale = 0.5

    def forward(self, x):
        return eager_attention(x, x, self)


class Processor:
    def __call__(self, attn, hidden_states):
        probs = (hidden_states @ hidden_states.mT * attn.scale).softmax(-1)
        return probs @ hidden_states


class Processed(nn.Module):
    scale = 0.5

    def __init__(self):
        super().__init__()
        self.processor = Processor()

    def forward(self, x):
        return self.processor(self, x)


class Block(nn.Module):
    def __init__(self, kind=Attention):
        super().__init__()
        self.attn = kind()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        return x + self.fc(self.attn(x))


class ViT(nn.Module):
    def __init__(self, depth=3, kind=Attention):
        super().__init__()
        self.blocks = nn.ModuleList([Block(kind) for _ in range(depth)])
        self.head = nn.Linear(4, 2)

    def forward_features(self, x):
        for block in self.blocks:
            x = block(x)
        return x

    def forward(self, x):
        return self.head(self.forward_features(x))

    def generate(self, x, steps=2):
        for _ in range(steps):
            x = self.forward_features(x)
        return x


class Shared(nn.Module):
    # As ALBERT: one layer of a group, run several times.
    def __init__(self):
        super().__init__()
        self.groups = nn.ModuleList([Block()])

    def forward(self, x):
        for _ in range(3):
            x = self.groups[0](x)
        return x


class Distiller(nn.Module):
    def __init__(self, student, teacher):
        super().__init__()
        self.student = student
        self.held = [teacher]

    def forward(self, x):
        return self.student(x) - self.held[0](x)
"""
TARGETS = [
    "ways:Attention.forward=attn", "ways:eager_attention=weights", "ways:Processor.__call__=probs",
]  # fmt: skip
LABELS = {"Attention": "attn", "Free": "weights", "Processed": "probs"}
X = torch.arange(12.0).reshape(1, 3, 4) / 12


@pytest.fixture
def ways(tmp_path: Path, fresh_imports: Any) -> Iterator[Any]:
    (tmp_path / "ways.py").write_text(SOURCE)
    torch._dynamo.reset()
    with astcapture.install(TARGETS, strict=True):
        yield importlib.import_module("ways")
    torch._dynamo.reset()


def whole(model: Any) -> Any:
    return torch.compile(model, backend="eager", fullgraph=True)


def by_blocks(model: Any) -> Any:
    for block in getattr(model, "blocks", None) or model.groups:
        block.compile(backend="eager", fullgraph=True)
    return model


HOW: dict[str, Callable[[Any], Any]] = {"eager": lambda model: model, "compiled": whole, "by blocks": by_blocks}
how_it_runs = pytest.mark.parametrize("how", HOW)


def taken(label: str = "attn") -> list[tuple[str | None, str | None]]:
    """Layer and model of each value, in order; and nothing is left."""
    found = [(record.layer, record.model) for record in astcapture.cache.select(label=label).records]
    astcapture.cache.clear()
    return found


def own_loop(model: Any, x: Any) -> None:
    for block in model.blocks:
        x = block(x)


WAYS_IN: dict[str, Callable[[Any, Any], Any]] = {
    "model(x)": lambda model, x: model(x),
    "forward by hand": lambda model, x: model.forward(x),
    "forward_features": lambda model, x: model.forward_features(x),
    "a loop of one's own": own_loop,
    "blocks alone": lambda model, x: [block(x) for block in model.blocks],
    "parts by hand": lambda model, x: [block.attn.forward(x) for block in model.blocks],
    "in a thread": lambda model, x: _in_thread(lambda: model(x)),
    "under no_grad in a lambda": lambda model, x: torch.no_grad()(lambda: model.forward_features(x))(),
}


def _in_thread(work: Callable[[], Any]) -> None:
    import threading

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


@pytest.mark.slow
@how_it_runs
@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("way", WAYS_IN)
def test_each_value_has_the_layer_that_named_modules_says_however_the_model_is_entered(
    ways: Any, how: str, kind: str, way: str
) -> None:
    model = ways.ViT(kind=getattr(ways, kind))
    expected = [(path, "ViT") for path, module in model.named_modules() if type(module).__name__ == kind]
    run = HOW[how](model)
    for _ in range(2):
        WAYS_IN[way](run, X)
        assert taken(LABELS[kind]) == expected


@how_it_runs
def test_the_values_of_each_layer_are_those_that_its_hook_is_given(ways: Any, how: str) -> None:
    model = ways.ViT()
    truth: dict[str, Any] = {}
    for path, module in model.named_modules():
        if isinstance(module, ways.Attention):
            hook = module.register_forward_pre_hook(
                lambda module, given, path=path: truth.__setitem__(path, (given[0] @ given[0].mT).softmax(-1).detach())
            )
            model(X)
            hook.remove()
    astcapture.cache.clear()
    HOW[how](model).forward_features(X)
    got = astcapture.cache.select(label="attn").by_layer()
    assert list(got) == list(truth)
    for layer, values in got.items():
        torch.testing.assert_close(values[0], truth[layer])


@how_it_runs
def test_a_loop_that_generates_numbers_its_steps_on_each_layer(ways: Any, how: str) -> None:
    model = ways.ViT(2)
    HOW[how](model).generate(X, 3)
    calls = [(record.layer, record.call) for record in astcapture.cache.select(label="attn").records]
    assert calls == [(f"blocks.{block}.attn", step) for step in range(3) for block in range(2)]


@how_it_runs
def test_a_layer_that_is_run_several_times_has_one_path_and_a_number_for_each_run(ways: Any, how: str) -> None:
    model = HOW[how](ways.Shared())
    model(X)
    records = astcapture.cache.select(label="attn").records
    assert [(record.layer, record.call, record.model) for record in records] == [
        ("groups.0.attn", call, "Shared") for call in range(3)
    ]


@pytest.mark.slow
@how_it_runs
def test_student_and_teacher_of_one_class_are_two_models(ways: Any, how: str) -> None:
    student, teacher = ways.ViT(1), ways.ViT(2)
    student(X)  # met first
    astcapture.cache.clear()
    distiller = ways.Distiller(HOW[how](student), HOW[how](teacher))
    distiller(X)
    found = taken()
    # Now a part of the distiller, the student gives its number back.
    assert found == [("student.blocks.0.attn", "Distiller"), ("blocks.0.attn", "ViT"), ("blocks.1.attn", "ViT")]


@how_it_runs
def test_two_live_models_of_a_class_are_told_apart_and_the_first_number_is_free_again(ways: Any, how: str) -> None:
    one, two = ways.ViT(1), ways.ViT(1)
    run_one, run_two = HOW[how](one), HOW[how](two)
    for _ in range(2):
        run_one(X), run_two(X), run_one(X)
        assert [model for _, model in taken()] == ["ViT", "ViT#2", "ViT"]
    del one, run_one
    torch._dynamo.reset()  # compiled code of a model may keep it
    three = HOW[how](ways.ViT(1))
    run_two(X), three(X)
    assert [model for _, model in taken()] == ["ViT#2", "ViT"]


def test_records_of_two_models_are_counted_selected_and_keyed_by_model(ways: Any) -> None:
    draft, target = ways.ViT(1), ways.ViT(2)
    for _ in range(2):
        draft(X)
    target(X)
    attention = astcapture.cache["ways:Attention.forward"]
    assert [(record.model, record.layer, record.call) for record in attention.records] == [
        ("ViT", "blocks.0.attn", 0),
        ("ViT", "blocks.0.attn", 1),
        ("ViT#2", "blocks.0.attn", 0),
        ("ViT#2", "blocks.1.attn", 0),
    ]
    assert {key: len(values) for key, values in attention.by_layer().items()} == {
        "ViT:blocks.0.attn": 2,
        "ViT#2:blocks.0.attn": 1,
        "ViT#2:blocks.1.attn": 1,
    }
    assert list(attention.select(model="ViT#2").by_layer()) == ["blocks.0.attn", "blocks.1.attn"]
    assert len(attention.select(model="ViT")) == 2
    assert len(attention.select(model="ViT*")) == 4
    assert len(astcapture.cache.select(model="ViT#2", layer="blocks.1.*")) == 1


@how_it_runs
def test_the_parts_of_a_model_in_a_sequential_beside_it_are_named_by_the_one_that_runs(ways: Any, how: str) -> None:
    model = ways.ViT(2)
    features = nn.Sequential(*model.blocks)
    if how == "by blocks":
        pytest.skip("a block that is compiled alone does not say through which of its models it is run")
    run_model, run_features = HOW[how](model), HOW[how](features)
    # Compiled code names a module of several places as it is traced, and keeps to that.
    for _ in range(2 if how == "eager" else 1):
        run_model(X)
        assert taken() == [("blocks.0.attn", "ViT"), ("blocks.1.attn", "ViT")]
        run_features(X)
        assert [layer for layer, _ in taken()] == ["0.attn", "1.attn"]


@how_it_runs
def test_a_model_that_is_wrapped_in_a_bigger_one_after_it_was_recorded_has_its_place_there(ways: Any, how: str) -> None:
    model = ways.ViT(1)
    HOW[how](model)(X)
    assert taken() == [("blocks.0.attn", "ViT")]
    bigger = nn.ModuleDict({"backbone": model})
    HOW[how](model)(X)
    ((layer, name),) = taken()
    assert layer == "backbone.blocks.0.attn"
    assert name is not None and name.partition("#")[0] == "ModuleDict"
    del bigger


@how_it_runs
def test_wrappers_are_no_part_of_layer_and_model(ways: Any, how: str) -> None:
    wrapper = nn.DataParallel(HOW[how](ways.ViT(1)))
    wrapper(X)
    assert taken() == [("blocks.0.attn", "ViT")]


# In a store.


def test_models_are_stored_and_come_back(ways: Any, tmp_path: Path) -> None:
    one, two = ways.ViT(1), ways.ViT(1)
    with astcapture.install(TARGETS, store=tmp_path / "run"):
        one(X), two(X)
    run = astcapture.load(tmp_path / "run")
    assert [(record.model, record.layer, record.call) for record in run.select(label="attn").records] == [
        ("ViT", "blocks.0.attn", 0),
        ("ViT#2", "blocks.0.attn", 0),
    ]
    assert list(run.select(label="attn").by_layer()) == ["ViT:blocks.0.attn", "ViT#2:blocks.0.attn"]
    (value,) = run.select(model="ViT#2")
    assert torch.as_tensor(value).shape == (1, 3, 3)


def _without_models(path: Path) -> None:
    """Rewrite a shard as it was written before records said their model."""
    whole = path.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8:start])
    about = json.loads(header["__metadata__"]["astcapture"])
    del about["models"]
    about["groups"] = [group[:6] for group in about["groups"]]
    header["__metadata__"] = metadata(json.dumps(about))
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + whole[start:])


def test_a_run_that_was_stored_before_models_had_names_loads(ways: Any, tmp_path: Path) -> None:
    with astcapture.install(TARGETS, store=tmp_path / "run"):
        ways.ViT(2)(X)
    files = list((tmp_path / "run").rglob("*.safetensors"))
    assert files
    for file in files:
        _without_models(file)
    run = astcapture.load(tmp_path / "run")
    assert not run.damaged
    assert [(record.model, record.layer) for record in run.select(label="attn").records] == [
        (None, "blocks.0.attn"),
        (None, "blocks.1.attn"),
    ]
    assert list(run.select(label="attn").by_layer()) == ["blocks.0.attn", "blocks.1.attn"]
