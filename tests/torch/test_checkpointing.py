"""``torch.utils.checkpoint`` runs a forward again in backward: each value is recorded once, of either variant."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import astcapture

torch = pytest.importorskip("torch")
from torch.utils.checkpoint import checkpoint, checkpoint_sequential, set_checkpoint_early_stop  # noqa: E402

pytestmark = pytest.mark.torch

SOURCE = """\
import torch

class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 3)

    def forward(self, x):
        width = x.shape[-1]
        if width > 100:
            never = 1
        y = self.linear(x).exp()
        for _ in range(2):
            y = y.sin()
        return y * y

def plain(x):
    y = x.exp()
    return y.sin()

def expressed(x):
    y = x.exp()
    return y.sin()

class Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        return halve(gradient)

def halve(gradient):
    y = gradient * 0.5
    return y
"""
TARGETS = [
    "checkpointed:Block.forward=y,never,width,double:=y * 2,wrong:=y.nothing",
    "checkpointed:plain=y",
    "checkpointed:halve=y",
    "checkpointed:expressed=y,twice:=y * 2",
]


@pytest.fixture
def module(tmp_path: Path, fresh_imports: Any) -> Iterator[Any]:
    (tmp_path / "checkpointed.py").write_text(SOURCE)
    with astcapture.install(TARGETS, grad=True):
        yield importlib.import_module("checkpointed")


@pytest.fixture(params=[True, False], ids=["early stop", "no early stop"])
def early_stop(request: pytest.FixtureRequest) -> Iterator[None]:
    with set_checkpoint_early_stop(request.param):
        yield


def told() -> Any:
    cache = astcapture.cache
    records = cache["checkpointed:Block.forward"].records
    counts = {label: (count.missed, count.failed) for (_, label), count in cache.counts.items()}
    return [(record.label, record.call, record.layer) for record in records], counts


@pytest.mark.usefixtures("early_stop")
@pytest.mark.parametrize("reentrant", [True, False], ids=["reentrant", "not reentrant"])
def test_a_checkpointed_model_records_what_the_model_does(module: Any, reentrant: bool) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(module.Block(), module.Block())
    x = torch.randn(2, 3, requires_grad=True)
    model(x).sum().backward()
    expected, values = told(), list(astcapture.cache["checkpointed:Block.forward"]["y"])
    gradients = [record.grad for record in astcapture.cache["checkpointed:Block.forward"]["y"].records]
    astcapture.cache.clear()

    y = x
    for block in model:
        y = checkpoint(block, y, use_reentrant=reentrant)
    y.sum().backward()
    got = told()
    # Called one by one, each block is a model of its own.
    assert [one[:1] for one in got[0]] == [one[:1] for one in expected[0]]
    assert got[1] == expected[1] == {"never": (2, 0), "wrong": (0, 2)}
    records = astcapture.cache["checkpointed:Block.forward"]["y"].records
    assert all(torch.equal(record.value, value) for record, value in zip(records, values, strict=True))
    assert all(torch.allclose(record.grad, one) for record, one in zip(records, gradients, strict=True))
    assert all(record.grad is not None for record in records)


@pytest.mark.parametrize("reentrant", [True, False])
def test_the_gradients_of_a_checkpointed_model_are_those_of_the_plain_one(module: Any, reentrant: bool) -> None:
    block, x = module.Block(), torch.randn(2, 3, requires_grad=True)
    block(x).sum().backward()
    expected, x.grad = x.grad, None
    checkpoint(block, x, use_reentrant=reentrant).sum().backward()
    assert torch.allclose(x.grad, expected)


@pytest.mark.usefixtures("early_stop")
def test_a_checkpoint_inside_a_checkpoint_is_recorded_once(module: Any) -> None:
    block = module.Block()

    def outer(x: Any) -> Any:
        return checkpoint(block, block(x), use_reentrant=False)

    checkpoint(outer, torch.ones(1, 3, requires_grad=True), use_reentrant=False).sum().backward()
    assert len(astcapture.cache["checkpointed:Block.forward"]["y"]) == 2


def test_checkpoint_sequential_is_recorded_once(module: Any) -> None:
    model = torch.nn.Sequential(*(module.Block() for _ in range(4)))
    checkpoint_sequential(model, 2, torch.ones(1, 3, requires_grad=True), use_reentrant=True).sum().backward()
    assert len(astcapture.cache["checkpointed:Block.forward"]["y"]) == 4


@pytest.mark.usefixtures("early_stop")
@pytest.mark.parametrize("reentrant", [True, False])
def test_a_function_outside_any_module_is_recorded_once(module: Any, reentrant: bool) -> None:
    x = torch.ones(3, requires_grad=True)
    checkpoint(module.plain, x, use_reentrant=reentrant).sum().backward()
    (record,) = astcapture.cache["checkpointed:plain"].records
    assert torch.allclose(record.grad, torch.ones(3).exp().cos())


@pytest.mark.parametrize("reentrant", [True, False, None])
def test_what_a_custom_backward_calls_is_recorded(module: Any, reentrant: bool | None) -> None:
    def model(x: Any) -> Any:
        return module.Twice.apply(x.sin())

    x = torch.ones(3, requires_grad=True)
    y = model(x) if reentrant is None else checkpoint(model, x, use_reentrant=reentrant)
    y.sum().backward()
    assert [value.tolist() for value in astcapture.cache["checkpointed:halve"]] == [[0.5] * 3]


def test_two_backward_passes_through_one_checkpoint_record_once(module: Any) -> None:
    y = checkpoint(module.plain, torch.ones(3, requires_grad=True), use_reentrant=False)
    y.sum().backward(retain_graph=True)
    y.sum().backward()
    (record,) = astcapture.cache["checkpointed:plain"].records
    assert torch.allclose(record.grad, 2 * torch.ones(3).exp().cos())


@pytest.mark.slow
@pytest.mark.parametrize("function", ["plain", "expressed"])
@pytest.mark.parametrize("reentrant", [True, False])
def test_inside_torch_compile_the_program_runs_and_it_is_told_that_nothing_was_recorded(
    module: Any, reentrant: bool, function: str
) -> None:
    torch._dynamo.reset()

    def model(x: Any) -> Any:
        return checkpoint(getattr(module, function), x, use_reentrant=reentrant)

    x = torch.ones(3, requires_grad=True)
    torch.compile(model, fullgraph=True, backend="aot_eager")(x).sum().backward()
    assert torch.allclose(x.grad, torch.ones(3).exp().cos() * torch.ones(3).exp())
    assert len(astcapture.cache[f"checkpointed:{function}"]) == 0
    assert "NotRecorded: inside torch.compile, checkpoints and torch.cond allow no side" in astcapture.cache.summary()
    torch._dynamo.reset()


def test_inside_torch_compile_torchs_own_switch_has_it_recorded(module: Any) -> None:
    torch._dynamo.reset()

    def model(x: Any) -> Any:
        return checkpoint(module.expressed, x, use_reentrant=False)

    with torch._dynamo.config.patch(skip_fwd_side_effects_in_bwd_under_checkpoint=True):
        torch.compile(model, fullgraph=True, backend="aot_eager")(torch.ones(3, requires_grad=True)).sum().backward()
    y = torch.ones(3).exp()
    assert [value.tolist() for value in astcapture.cache["checkpointed:expressed"]] == [y.tolist(), (y * 2).tolist()]
    torch._dynamo.reset()


@pytest.mark.slow
def test_a_function_is_recorded_once_in_a_program_that_has_no_module_and_checkpoints_late(
    run_python: Any, tmp_path: Path
) -> None:
    # As long as there is no module and no checkpoint, nobody looks for them at each value.
    (tmp_path / "late.py").write_text("import torch\n\ndef plain(x):\n    y = x.exp()\n    return y.sin()\n")
    done = run_python(
        """
        import sys, astcapture
        astcapture.install(["late:plain=y"])
        import torch, late
        x = torch.ones(3, requires_grad=True)
        for _ in range(5):
            late.plain(x)
        assert "torch._dynamo" not in sys.modules
        from torch.utils.checkpoint import checkpoint
        for reentrant in (True, False):
            checkpoint(late.plain, x, use_reentrant=reentrant).sum().backward()
        print(len(astcapture.cache["late:plain"]))
        """
    )
    assert done.stdout == "7\n"
