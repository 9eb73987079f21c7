"""What is computed for a record is seen by no mode of the program's: plain runs and captured ones beside each other."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts
from torch.utils.flop_counter import FlopCounterMode

import astcapture

SOURCE = """\
def block(x):
    attn = (x @ x.mT).softmax(-1)
    y = attn @ x
    z = [y, (y * 3).clone()]
    return (z[1] * z[1]).sum()
"""
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "reduced": {"reduce": lambda value: value @ value.mT if isinstance(value, torch.Tensor) else value},
    "converted": {"dtype": "float64"},
    "with_gradient": {"grad": True},
    "by_reference": {"copy": False},
    "limited": {"limit": 2200},
}


@pytest.fixture
def block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    (tmp_path / "watched.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "watched", raising=False)
    importlib.invalidate_caches()
    return importlib.import_module("watched").block  # type: ignore[no-any-return]


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(str(function))
        return function(*args, **(kwargs or {}))


class Functions(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(getattr(function, "__name__", str(function)))
        return function(*args, **(kwargs or {}))


def seen(block: Callable[..., Any]) -> list[Any]:
    """What modes see of a forward and its backward."""
    told: list[Any] = []
    for mode in (Operations(), Functions(), FlopCounterMode(display=False)):
        x = torch.arange(16.0).view(4, 4).requires_grad_()
        with mode:
            block(x).backward()
        told.append(mode.get_total_flops() if isinstance(mode, FlopCounterMode) else mode.seen)
    return told


@pytest.mark.parametrize("options", OPTIONS)
def test_a_mode_sees_of_a_captured_function_what_it_sees_of_the_plain_one(
    block: Callable[..., Any], options: str
) -> None:
    plain = seen(block)
    assert all(plain)
    with astcapture.install("watched:block=*@assign", **OPTIONS[options]), astcapture.recording() as rec:
        assert seen(block) == plain
        recorded = [record.label for record in rec.select().records].count("attn")
    assert recorded == 3 or options == "limited"


@pytest.mark.cases(6)
@pytest.mark.parametrize("saved", ["nothing", "products", "everything"])
@pytest.mark.parametrize("options", OPTIONS)
def test_a_selective_checkpoint_gives_the_gradient_of_the_plain_run(
    block: Callable[..., Any], options: str, saved: str
) -> None:
    products = (torch.ops.aten.mm.default, torch.ops.aten.bmm.default)

    def policy(context: Any, operation: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
        keep = saved == "everything" or (saved == "products" and operation in products)
        return CheckpointPolicy.MUST_SAVE if keep else CheckpointPolicy.PREFER_RECOMPUTE

    def gradient() -> torch.Tensor:
        x = torch.arange(16.0).div(16).view(4, 4).requires_grad_()
        contexts = functools.partial(create_selective_checkpoint_contexts, policy)
        checkpoint(block, x, use_reentrant=False, context_fn=contexts).backward()
        assert x.grad is not None
        return x.grad

    plain = gradient()
    with astcapture.install("watched:block=*@assign", **OPTIONS[options]), astcapture.recording():
        assert torch.equal(gradient(), plain)


def test_what_compiled_code_has_recorded_is_reduced_without_a_mode_seeing_it(block: Callable[..., Any]) -> None:
    torch._dynamo.reset()
    with astcapture.install("watched:block=attn", reduce=lambda value: value @ value.mT):
        torch.compile(block, backend="eager", fullgraph=True)(torch.ones(4, 4))
        with Operations() as operations, Functions() as functions:
            (value,) = astcapture.cache["watched:block"]
        assert operations.seen == functions.seen == []
        assert torch.equal(value, torch.full((4, 4), 0.25) @ torch.full((4, 4), 0.25))
    torch._dynamo.reset()


def test_a_default_device_keeps_no_value_from_being_recorded(block: Callable[..., Any]) -> None:
    with astcapture.install("watched:block=attn"), astcapture.recording() as rec, torch.device("cpu"):
        block(torch.ones(4, 4))
        assert torch.equal(rec["watched:block"][0], torch.full((4, 4), 0.25))
