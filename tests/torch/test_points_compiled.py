"""Calls, entries and yields under torch.compile, in training and with checkpoints: as eager, and nothing changes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters
from torch.utils.checkpoint import checkpoint

import astcapture

SOURCE = """
import torch
import torch.nn.functional as F
from torch import nn


def double(x):
    return x * 2


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q = nn.Linear(8, 8)
        self.dropout = nn.Dropout(0.5)

    def scaled(self, x, *, by):
        return x * by

    def forward(self, x, mask=None):
        q = self.q(x)
        x = x + 1
        parts = [F.relu(part) for part in x.unbind(0)]
        y = torch.stack([*parts])
        named = {"by": 2}
        z = self.scaled(*[y], **named)
        a = self.dropout(
            (q @ x.mT)
            .div(8**0.5)
            .softmax(
                -1
            )
        ) @ x
        return F.gelu(double(a) + self.scaled(z, by=3))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(Attention(), Attention())

    def forward(self, x):
        return self.blocks(x)
"""
# What the lines of `Attention.forward` compute, written out: the oracle.
BY_HAND = """
import torch
import torch.nn.functional as F

def forward(self, x, kept):
    kept("x@enter", x)
    q = self.q(x)
    kept("q", q)
    x = x + 1
    parts = []
    for part in x.unbind(0):
        kept("relu@input", part)
        part = F.relu(part)
        kept("relu", part)
        parts.append(part)
    y = torch.stack(parts)
    z = y * 2
    kept("scaled@input", y)
    kept("scaled", z)
    s = (q @ x.mT).div(8**0.5)
    kept("softmax@input", s)
    s = s.softmax(-1)
    kept("softmax", s)
    kept("dropout@input", s)
    a = self.dropout(s)
    kept("dropout", a)
    a = a @ x
    kept("scaled@input", z)
    z = z * 3
    kept("scaled", z)
    a = F.gelu(a * 2 + z)
    kept("gelu", a)
    return a
"""
CAPTURES = (
    "x@enter,q@call,relu@call,relu_input:=relu@input,scaled@call,scaled_input:=scaled@input,softmax@call,"
    "softmax_input:=softmax@input,dropout@call,dropout_input:=dropout@input,gelu@call"
)
NAMES = {"x": "x@enter"} | {f"{name}_input": f"{name}@input" for name in ("relu", "scaled", "softmax", "dropout")}


@pytest.fixture
def points_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "points_model.py").write_text(SOURCE)
    (tmp_path / "points_model_plain.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "points_model"
    sys.modules.pop("points_model", None)


def run(name: str, captures: str | None, compiled: dict[str, Any] | None, wrap: Any = None) -> dict[str, Any]:
    """Two steps of training: the outputs, gradients, records, and the graphs and breaks of the compiler."""
    torch._dynamo.reset()
    counters.clear()
    # The compiler keeps the modules that it has imported once, by their names.
    name = name if captures else f"{name}_plain"
    sys.modules.pop(name, None)
    hook = astcapture.install([f"{name}:Attention.forward={captures}"]) if captures else None
    try:
        module = importlib.import_module(name)
        torch.manual_seed(0)
        model = module.Model()
        forward = wrap(model) if wrap else model
        if compiled is not None:
            forward = torch.compile(forward, **compiled)
        # A reentrant checkpoint has gradients only where its input has.
        x = torch.randn(2, 4, 8, requires_grad=wrap is not None)
        torch.manual_seed(1)
        outputs = []
        for _ in range(2):
            output = forward(x)
            output.square().sum().backward()
            outputs.append(output.detach())
        return {
            "outputs": outputs,
            "gradients": [one.grad for one in model.parameters()],
            "records": astcapture.cache.select(function="Attention.forward").records if captures else [],
            "counts": (counters["stats"].get("unique_graphs"), dict(counters["graph_break"])),
            "recompiled": dict(counters["recompiles"]) if "recompiles" in counters else {},
        }
    finally:
        if hook is not None:
            hook.uninstall()
        astcapture.cache.clear()


def written_out(name: str) -> list[tuple[str, str, torch.Tensor]]:
    """The same two steps with the source edited by hand: layer, point and value."""
    sys.modules.pop(name, None)
    module = importlib.import_module(name)
    namespace: dict[str, Any] = {}
    exec(BY_HAND, namespace)
    torch.manual_seed(0)
    model = module.Model()
    x = torch.randn(2, 4, 8)
    torch.manual_seed(1)
    kept: list[tuple[str, str, torch.Tensor]] = []
    for _ in range(2):
        value = x
        for index, block in enumerate(model.blocks):
            layer = f"blocks.{index}"
            value = namespace["forward"](block, value, lambda what, one, layer=layer: kept.append((layer, what, one)))
    return kept


def sorted_records(records: Any) -> list[tuple[str, str, Any]]:
    return [(one.layer, NAMES.get(one.label, one.label), one.value) for one in records]


def check_same(records: list[tuple[str, str, Any]], expected: list[tuple[str, str, Any]]) -> None:
    by_name = sorted({(layer, what) for layer, what, _ in expected})
    assert sorted({(layer, what) for layer, what, _ in records}) == by_name
    for where in by_name:
        found = [value for layer, what, value in records if (layer, what) == where]
        wanted = [value for layer, what, value in expected if (layer, what) == where]
        assert len(found) == len(wanted), where
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other.detach(), msg=lambda text, where=where: f"{where}: {text}")


def test_eager_code_records_what_the_lines_written_out_compute(points_model):
    plain, captured = run(points_model, None, None), run(points_model, CAPTURES, None)
    assert all(map(torch.equal, captured["outputs"], plain["outputs"]))
    assert all(map(torch.equal, captured["gradients"], plain["gradients"]))
    check_same(sorted_records(captured["records"]), written_out(points_model))


@pytest.mark.cases(1)
@pytest.mark.parametrize("captures", [CAPTURES, "*@call", "*@input,*@enter"])
@pytest.mark.parametrize(
    "options",
    [
        {"backend": "eager", "fullgraph": True},
        {"backend": "aot_eager", "fullgraph": True},
        {"backend": "eager", "fullgraph": True, "dynamic": True},
        pytest.param({"backend": "inductor", "fullgraph": True}, marks=[pytest.mark.slow, pytest.mark.long]),
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_compiled_code_records_the_same_and_is_compiled_as_often(points_model, options, captures):
    plain, captured = run(points_model, None, options), run(points_model, captures, options)
    eager = run(points_model, captures, None)
    assert captured["counts"] == plain["counts"]
    assert all(map(torch.equal, captured["outputs"], plain["outputs"]))
    assert all(map(torch.equal, captured["gradients"], plain["gradients"]))
    tensors = [
        [one for one in sorted_records(run["records"]) if isinstance(one[2], torch.Tensor)] for run in (captured, eager)
    ]
    if options["backend"] != "inductor":  # which draws other random numbers for dropout
        check_same(*tensors)
    assert sorted(one[:2] for one in tensors[0]) == sorted(one[:2] for one in tensors[1])


@pytest.mark.cases(2)
@pytest.mark.parametrize("compiled", [None, {"backend": "aot_eager", "fullgraph": True}], ids=["eager", "compiled"])
@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpointed_forward_is_recorded_once(points_model, compiled, reentrant):
    if compiled and reentrant:
        compiled = {"backend": "aot_eager"}

    def wrap(model: Any) -> Any:
        def forward(x: Any) -> Any:
            for block in model.blocks:
                x = checkpoint(block, x, use_reentrant=reentrant)
            return x

        return forward

    # Else the compiler allows no side effects there, which is said.
    with torch._dynamo.config.patch(skip_fwd_side_effects_in_bwd_under_checkpoint=True):
        plain, captured = run(points_model, None, compiled, wrap), run(points_model, CAPTURES, compiled, wrap)
    assert all(map(torch.equal, captured["outputs"], plain["outputs"]))
    assert all(map(torch.equal, captured["gradients"], plain["gradients"]))
    check_same(sorted_records(captured["records"]), written_out(points_model))


def test_nothing_is_computed_twice(points_model):
    """Operations as a dispatch mode sees them, and the state of the random numbers after a dropout."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Names(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.names: list[str] = []

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.names.append(str(function))
            return function(*args, **(kwargs or {}))

    def seen(captures: str | None) -> tuple[list[str], torch.Tensor]:
        sys.modules.pop(points_model, None)
        hook = astcapture.install([f"{points_model}:Attention.forward={captures}"]) if captures else None
        try:
            module = importlib.import_module(points_model)
            torch.manual_seed(0)
            model = module.Model()
            with Names() as names:
                model(torch.ones(2, 4, 8))
            return names.names, torch.get_rng_state()
        finally:
            if hook is not None:
                hook.uninstall()
            astcapture.cache.clear()

    plain, captured = seen(None), seen(CAPTURES + ",*@call,*@input")
    assert captured[0] == plain[0]
    assert torch.equal(captured[1], plain[1])
