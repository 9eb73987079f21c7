"""Where the compiler breaks a graph it compiles what is called next: none of that is ours."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import astcapture

SOURCE = """\
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(8, 8)

    def forward(self, x, often=2):
        for step in range(often):
            torch._dynamo.graph_break()
            attn = (x @ x.mT).softmax(-1)
            x = self.out(attn @ x)
        if often > 5:
            unbound = x
        return x


class Straight(Attention):
    def forward(self, x):
        scores = (x @ x.mT).softmax(-1)
        torch._dynamo.graph_break()
        y = self.out(scores @ x)
        torch._dynamo.graph_break()
        return y * 2


def generated(x):
    for step in range(2):
        torch._dynamo.graph_break()
        y = x * step
        yield y


def no_module(x):
    for step in range(2):
        torch._dynamo.graph_break()
        part = [x * step, {"a": x}]
        x = part[0]
    return x


def of_a_generator(x):
    return sum(generated(x))


def of_modules(kind):
    torch.manual_seed(0)
    return nn.Sequential(*(kind() for _ in range(12)))
"""
PROGRAMS: dict[str, Callable[[Any], Any]] = {
    "loops": lambda module: module.of_modules(module.Attention),
    "straight": lambda module: module.of_modules(module.Straight),
    "no_module": lambda module: module.no_module,
    "generator": lambda module: module.of_a_generator,
}
CAPTURES = ["*", "*@assign", "x:=x.sum(),failing:=x.nothing", "attn"]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("broken_plain", "broken"):
        (tmp_path / f"{name}.py").write_text(SOURCE)
        monkeypatch.delitem(__import__("sys").modules, name, raising=False)
    importlib.invalidate_caches()
    yield importlib.import_module
    torch._dynamo.reset()


def told(program: Any, **options: Any) -> tuple[Any, ...]:
    """The results of some calls, and what torch tells of compiling them."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    torch.manual_seed(0)
    compiled: Any = torch.compile(program, backend="eager")
    results = [compiled(torch.randn(1, 5, 8, requires_grad=True)).tolist() for _ in range(6)]
    counters = torch._dynamo.utils.counters
    return results, dict(counters["frames"]), sum(counters["graph_break"].values()), counters["stats"]["unique_graphs"]


@pytest.mark.slow
@pytest.mark.parametrize("captures", CAPTURES)
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_with_graph_breaks_compiles_as_many_frames_as_without_captures(
    module: Callable[[str], Any], program: str, captures: str
) -> None:
    plain = told(PROGRAMS[program](module("broken_plain")))
    with astcapture.install(f"broken:*={captures}"), astcapture.recording() as rec:
        captured = told(PROGRAMS[program](module("broken")))
        assert len(rec.select()) or captures == "attn"
    assert captured == plain
