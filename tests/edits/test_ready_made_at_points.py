"""Every ready-made edit, installed at every kind of point: bit for bit the source with that line written by hand."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo.testing

import astcapture
from astcapture.edits import Site, add, clamp, mean, noise, patch, project_out, replace, scale, zero

SOURCE = """
import torch
from torch import nn

class Attention(nn.Module):
    def forward(self, x):{enter}
        attn = (x * 2){input}.softmax(-1){call}{assign}
        z = attn @ x.mT
        return z + x[..., :1]{result}

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = Attention(), Attention()

    def forward(self, x):
        return self.second(self.first(x))
"""
#: Where a value is edited, and what stands there by hand; BY_HAND is a function of the value.
POINTS = {
    "enter": ("x@enter", {"enter": "\n        x = BY_HAND(x)"}),
    "input": ("softmax@input", {"input": ")", "before": "BY_HAND("}),
    "call": ("softmax@call", {"call": ")", "before": "BY_HAND("}),
    "assign": ("attn", {"assign": "\n        attn = BY_HAND(attn)"}),
    "return": ("@return", {"result": ")", "before_result": "BY_HAND("}),
}
VECTOR = torch.tensor([0.5, -1.0, 2.0, 0.25])
OTHER = torch.linspace(0, 1, 96).reshape(2, 3, 4, 4)


def projected(x: torch.Tensor) -> torch.Tensor:
    return x - (x * VECTOR).sum(-1, keepdim=True) / (VECTOR * VECTOR).sum() * VECTOR


def with_part(x: torch.Tensor, index: Any, value: Any) -> torch.Tensor:
    x = x.clone()
    x[index] = value
    return x


HEAD = (slice(None), 1)
CHANGES: dict[str, tuple[Callable[[], Any], Callable[[torch.Tensor], torch.Tensor]]] = {
    "zero": (lambda: zero(heads=[1]), lambda x: with_part(x, HEAD, 0)),
    "scale": (lambda: scale(0.3, heads=1), lambda x: with_part(x, HEAD, x[HEAD] * 0.3)),
    "add": (lambda: add(VECTOR, tokens=-1), lambda x: with_part(x, (..., -1, slice(None)), x[..., -1, :] + VECTOR)),
    "replace": (lambda: replace(0.25, columns=[0, 1, 3]), lambda x: with_part(x, (..., [0, 1, 3]), 0.25)),
    "mean": (lambda: mean(heads=1), lambda x: with_part(x, HEAD, x[HEAD].mean((0, 1), keepdim=True))),
    "clamp": (lambda: clamp(0.1, 0.4), lambda x: x.clamp(0.1, 0.4)),
    "project_out": (lambda: project_out(VECTOR), projected),
    "patch": (lambda: patch(OTHER, heads=1), lambda x: with_part(x, HEAD, OTHER[HEAD])),
}


def source_by_hand(point: str) -> str:
    parts = {"enter": "", "input": "", "call": "", "assign": "", "result": ""}
    parts.update({name: text for name, text in POINTS[point][1].items() if name in parts})
    source = SOURCE.format(**parts)
    if point == "input":
        source = source.replace("(x * 2))", "BY_HAND(x * 2)")
    elif point == "call":
        source = source.replace("(x * 2).softmax(-1))", "BY_HAND((x * 2).softmax(-1))")
    elif point == "return":
        source = source.replace("return z + x[..., :1])", "return BY_HAND(z + x[..., :1])")
    return source


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], Any]]:
    monkeypatch.syspath_prepend(tmp_path)

    def load(name: str, source: str) -> Any:
        (tmp_path / f"{name}.py").write_text(source)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    yield load
    torch._dynamo.reset()
    for name in ("at_points", "edited_source"):
        sys.modules.pop(name, None)


def plain_source() -> str:
    return SOURCE.format(enter="", input="", call="", assign="", result="")


def results(model: Callable[[torch.Tensor], torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    output = model(x)
    (gradient,) = torch.autograd.grad((output * torch.linspace(-1, 1, output.numel()).view_as(output)).sum(), x)
    return output.detach(), gradient


CASES = [(change, point, False) for change in CHANGES for point in POINTS]
CASES += [
    pytest.param(change, point, True, marks=() if point == "assign" else pytest.mark.slow)
    for change in CHANGES
    for point in POINTS
]


@pytest.mark.cases(6)
@pytest.mark.parametrize(("change", "point", "compiled"), CASES)
def test_an_installed_edit_is_the_line_written_by_hand(load: Any, change: str, point: str, compiled: bool) -> None:
    make, by_hand = CHANGES[change]
    model, other = load("at_points", plain_source()).Model(), load("edited_source", source_by_hand(point))
    other.BY_HAND = by_hand
    expected = results(other.Model())
    unedited = results(model)
    with astcapture.edit(f"at_points:Attention.forward={POINTS[point][0]}", make()) as edit:
        run = torch.compile(model, fullgraph=True, backend="aot_eager") if compiled else model
        found = results(run)
    assert [torch.equal(one, other) for one, other in zip(found, expected, strict=True)] == [True, True]
    assert not torch.equal(found[0], unedited[0])
    assert {layer: one.fired for layer, one in edit.receipts.items()} == {"first": 1, "second": 1}
    # Zeros and means of the first layer come to the second, which then has nothing to change.
    assert edit.receipts["first"].changed
    assert all(torch.equal(one, other) for one, other in zip(results(model), unedited, strict=True))


def test_a_new_value_of_an_installed_edit_compiles_nothing(load: Any) -> None:
    model, x = load("at_points", plain_source()).Model(), OTHER.clone()
    counter = torch._dynamo.testing.CompileCounter()
    with astcapture.edit("at_points:Attention.forward=attn", scale(0.5, heads=1), layer="second") as edit:
        compiled = torch.compile(model, fullgraph=True, backend=counter)
        compiled(x)
        count = counter.frame_count
        for value in (0.25, 2, 1.5):
            edit.value = value
            assert torch.equal(compiled(x), model(x))
        assert counter.frame_count == count


def test_noise_is_that_of_its_layer_and_the_same_in_compiled_code(load: Any) -> None:
    model = load("at_points", plain_source()).Model()
    change = noise(0.1, seed=3, heads=0)
    seen: dict[str | None, torch.Tensor] = {}

    def noted(value: torch.Tensor, site: Site) -> torch.Tensor:
        seen[site.layer] = change(value, site) - value
        return change(value, site)

    with astcapture.edit("at_points:Attention.forward=attn", noted):
        expected = results(model)
    assert not torch.equal(seen["first"][:, 0], seen["second"][:, 0])
    with astcapture.edit("at_points:Attention.forward=attn", change):
        assert all(torch.equal(one, other) for one, other in zip(results(model), expected, strict=True))
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        assert all(torch.equal(one, other) for one, other in zip(results(compiled), expected, strict=True))


def test_checkpointed_noise_gives_the_gradients_without_a_checkpoint(load: Any) -> None:
    model = load("at_points", plain_source()).Model()
    with astcapture.edit("at_points:Attention.forward=attn", noise(0.1)):
        expected = results(model)
        for reentrant in (False, True):
            kept = lambda x, reentrant=reentrant: torch.utils.checkpoint.checkpoint(model, x, use_reentrant=reentrant)  # noqa: E731
            x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
            output = kept(x)
            (output * torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()
            assert torch.equal(output, expected[0]) and torch.equal(x.grad, expected[1])


def test_a_run_is_patched_back_in(load: Any, tmp_path: Path) -> None:
    model = load("at_points", plain_source()).Model()
    clean, corrupted = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1)).split(1)
    target = "at_points:Attention.forward=z,attn"
    with astcapture.install(target, store=tmp_path / "run"):
        model(clean)
    run = astcapture.load(tmp_path / "run")
    first, second = run.select(label="z")
    with astcapture.edit("at_points:Attention.forward=z", patch(run)):
        expected = second + (first + corrupted[..., :1])[..., :1]
        assert torch.equal(model(corrupted), expected)
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        assert torch.equal(compiled(corrupted), expected)
    one_head = patch(run["Attention.forward"]["z"], heads=1)
    with astcapture.edit("at_points:Attention.forward=z", one_head, layer="first"):
        with astcapture.install(target), astcapture.recording() as records:
            model(corrupted)
    kept = records.select(label="z", layer="first")[0]
    assert torch.equal(kept[:, 1], first[:, 1]) and not torch.equal(kept[:, 0], first[:, 0])
