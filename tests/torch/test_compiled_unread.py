"""Containers of numbers in compiled code: capturing one that the program does not read compiles nothing again."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import astcapture

SOURCE = """\
import torch


def passed(x, state):
    return x * 2


def keywords(x, **state):
    return x * 2


def within(x, state):
    inner = [state, (x, 1)]
    return x * 2


def mixed(x, a, b):
    several = {"a": a, "b": (a, b), "x": x}
    return x * 2


def partly_read(x, state):
    return x * len(state)


def one_is_read(x, state):
    return x * state["read"]


class Attribute(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.state = None

    def forward(self, x, state):
        held = self.state
        return x * 2


held = Attribute()


def attribute(x, state):
    held.state = state
    return held(x, state)
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ModuleType, ModuleType]]:
    """The source as a plain and as a captured module."""
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("unread_plain", "unread_captured"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        (tmp_path / f"{name}.py").write_text(SOURCE)
    importlib.invalidate_caches()
    with astcapture.install({"unread_captured:[!A]*": ["*"], "unread_captured:Attribute.forward": ["held"]}):
        yield importlib.import_module("unread_plain"), importlib.import_module("unread_captured")
    torch._dynamo.reset()


def steps(kind: str) -> list[dict[str, Any]]:
    """What a program passes on, with other numbers in each step."""
    states: dict[str, Any] = {
        "dict": lambda n: {"step": n, "rate": 0.1 * n, "name": "a" * n, "on": n % 2 == 0, "of": None},
        "list": lambda n: [n, 0.1 * n, "a" * n],
        "tuple": lambda n: (n, 0.1 * n, True),
        "read": lambda n: {"read": 3, "step": n},
    }
    return [{"state": states[kind](n)} for n in range(4)]


CASES = {
    "dict": ("passed", steps("dict"), "state"),
    "list": ("passed", steps("list"), "state"),
    "tuple": ("passed", steps("tuple"), "state"),
    "keywords": ("keywords", [one["state"] for one in steps("dict")], "state"),
    "within": ("within", steps("dict"), "inner"),
    "mixed": ("mixed", [{"a": n, "b": 0.5 * n} for n in range(4)], "several"),
    "length_is_read": ("partly_read", steps("list"), "state"),
    "one_is_read": ("one_is_read", steps("read"), "state"),
    "attribute": ("attribute", steps("list"), "held"),
}


@pytest.mark.parametrize("case", CASES)
def test_numbers_that_the_program_does_not_read_are_recorded_and_not_compiled_for(
    case: str, modules: tuple[ModuleType, ModuleType]
) -> None:
    name, keywords, label = CASES[case]
    graphs, found = [], []
    for compiled, module in ((True, modules[0]), (True, modules[1]), (False, modules[1])):
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        function: Any = getattr(module, name)
        if compiled:
            function = torch.compile(function, backend="eager", fullgraph=True)
        with astcapture.recording() as rec:
            for given in keywords:
                function(torch.ones(2), **given)
            found.append([record.value for record in rec.select(label=label).records])
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert graphs == [1, 1, 0]
    assert len(found[1]) == len(keywords)
    assert [flat(one) for one in found[1]] == [flat(one) for one in found[2]]


def flat(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, (tuple, list)):
        return type(value), [flat(one) for one in value]
    if isinstance(value, dict):
        return type(value), [(key, flat(one)) for key, one in value.items()]
    return type(value), value
