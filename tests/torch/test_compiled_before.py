"""Models that were compiled, and ran, before capturing was switched on, changed or switched off."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import astcapture

pytestmark = pytest.mark.slow

SOURCE = """\
import functools

import torch
from torch import nn


def scores(q, k):
    attn = (q @ k.mT).softmax(-1)
    return attn


def noted(function):
    @functools.wraps(function)
    def wrapper(self, x):
        return function(self, x)
    return wrapper


class Helper:
    def double(self, x):
        y = x * 2
        return y


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qk = nn.Linear(8, 16)
        self.helper = Helper()

    def forward(self, x):
        q, k = self.qk(x).chunk(2, -1)
        attn = scores(q, k)
        return self.mixed(attn @ x)

    @noted
    def mixed(self, x):
        z = x + self.scaled(x)
        return self.helper.double(z)

    @staticmethod
    def scaled(x):
        w = x * 3
        return w


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(Attention() for _ in range(2))

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


class Listed(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = [Attention(), Attention()]

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


class Other(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(8, 8), nn.ReLU())

    def forward(self, x):
        return self.inner(x)


def call(model, x):
    return model(x) + 1
"""
TARGETS = {
    "Attention.forward=attn": 2,
    "Attention.mixed=z": 2,
    "Attention.scaled=w": 2,
    "Helper.double=y": 2,
    "scores=attn": 2,
}


@pytest.fixture
def netmod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / "netmod.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "netmod", raising=False)
    importlib.invalidate_caches()
    torch._dynamo.reset()
    torch.manual_seed(0)
    yield importlib.import_module("netmod")
    torch._dynamo.reset()


def by_module(netmod: Any) -> Callable[..., Any]:
    return torch.compile(netmod.Net(), backend="eager", fullgraph=True)


def by_itself(netmod: Any) -> Callable[..., Any]:
    model = netmod.Net()
    model.compile(backend="eager", fullgraph=True)
    return model  # type: ignore[no-any-return]


def by_list(netmod: Any) -> Callable[..., Any]:
    return torch.compile(netmod.Listed(), backend="eager", fullgraph=True)


def by_function(netmod: Any) -> Callable[..., Any]:
    model = netmod.Net()
    compiled: Any = torch.compile(netmod.call, backend="eager", fullgraph=True)
    return lambda x: compiled(model, x)


def by_blocks(netmod: Any) -> Callable[..., Any]:
    model = netmod.Net()
    for block in model.blocks:
        block.compile(backend="eager", fullgraph=True)
    return model  # type: ignore[no-any-return]


X = torch.linspace(-1, 1, 40).view(1, 5, 8)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("compiled", [by_module, by_itself, by_list, by_function, by_blocks])
def test_what_was_compiled_before_is_captured_from_then_on_and_plain_again_afterwards(
    netmod: Any, compiled: Callable[[Any], Any], target: str
) -> None:
    with torch.no_grad():
        run = compiled(netmod)
        plain = run(X)
        for _ in range(2):
            with astcapture.install(f"netmod:{target}"), astcapture.recording() as rec:
                assert torch.equal(run(X), plain)
                assert torch.equal(run(X), plain)
                assert len(rec.select()) == 2 * TARGETS[target]
            with astcapture.recording() as rec:
                assert torch.equal(run(X), plain)
                assert len(rec.select()) == 0


@pytest.mark.long
def test_switching_on_and_off_more_often_than_the_compiler_compiles_anew_is_never_refused(netmod: Any) -> None:
    run = by_module(netmod)
    run(X)
    for _ in range(torch._dynamo.config.recompile_limit + 2):
        with astcapture.install("netmod:Attention.forward=attn"), astcapture.recording() as rec:
            run(X)
            assert len(rec.select()) == 2
        run(X)


def test_a_second_hook_changes_what_is_compiled_already(netmod: Any) -> None:
    run = by_module(netmod)
    with astcapture.install("netmod:Net.forward=x"), astcapture.recording() as rec:
        run(X)
        with astcapture.install("netmod:Attention.forward=attn,q"):
            run(X)
        run(X)
        labels = [record.label for record in rec.select().records]
    assert sorted(labels) == ["attn", "attn", "q", "q", "x", "x", "x"]


def graphs(run: Callable[..., Any]) -> int:
    """How many graphs are made for a call."""
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    run(X)
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"] - before)


def test_a_model_in_which_nothing_has_changed_is_not_compiled_anew(netmod: Any) -> None:
    run, other = by_module(netmod), torch.compile(netmod.Other(), backend="eager", fullgraph=True)
    assert (graphs(run), graphs(other)) == (1, 1)
    with astcapture.install("netmod:Attention.forward=attn"):
        assert (graphs(run), graphs(other)) == (1, 0)
    assert (graphs(run), graphs(other)) == (1, 0)


def test_a_program_that_compiles_nothing_does_not_import_the_compiler(netmod: Any, tmp_path: Path) -> None:
    script = (
        "import sys, astcapture, torch, netmod\n"
        "model = netmod.Net()\n"
        "with astcapture.install('netmod:Attention.forward=attn'):\n"
        "    model(torch.ones(1, 5, 8))\n"
        "print(len(astcapture.cache['Attention.forward']), 'torch._dynamo' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == ["2", "False"], done.stderr
