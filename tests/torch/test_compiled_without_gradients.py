"""Captures in compiled code where gradients are off, and in operators with a body of their own."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import astcapture

SOURCE = """
import torch
import torch.nn.functional as F

def inferring(x):
    with torch.inference_mode():
        v = x
        y = v * 2
        z = F.scaled_dot_product_attention(x, x, x)
    return x + 1

def without_gradients(x):
    with torch.no_grad():
        v = x
        y = v * 2
    return x + 1

class Op(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        total = x.sum()
        return x * 2

    @staticmethod
    def backward(ctx, g):
        return g * 2

def operator(x):
    return Op.apply(x) + 1
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "off", raising=False)
    (tmp_path / "off.py").write_text(SOURCE)
    importlib.invalidate_caches()
    torch._dynamo.reset()
    targets = [
        "off:inferring=v@assign,y@assign,weights@sdpa,query@sdpa",
        "off:without_gradients=v@assign,y@assign",
        "off:Op.forward=total,number:=x.sum().item(),half:=x.mean()",
    ]
    hook = astcapture.install(targets)
    yield importlib.import_module("off")
    hook.uninstall()
    torch._dynamo.reset()


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["inferring", "without_gradients"])
def test_a_tensor_from_outside_is_recorded_where_gradients_are_off(module: Any, name: str, backend: str) -> None:
    function = getattr(module, name)
    x = torch.randn(2, 3, 4, requires_grad=True)
    with astcapture.recording() as eager:
        function(x)
    with astcapture.recording() as compiled:
        run: Any = torch.compile(function, backend=backend, fullgraph=True)
        run(x).sum().backward()
    assert torch.equal(x.grad, torch.ones(2, 3, 4))  # type: ignore[arg-type]
    key = f"off:{name}"
    values, want = ({one.label: one.value for one in rec[key].records} for rec in (compiled, eager))
    assert set(values) == set(want) and len(want) == (4 if name == "inferring" else 2)
    for label, value in values.items():
        assert not value.requires_grad
        torch.testing.assert_close(value, want[label])
    # torch works as ever in this process.
    assert torch.equal(torch.ones(2) + 1, torch.full((2,), 2.0))


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_number_from_data_in_the_body_of_an_operator_is_counted(module: Any, backend: str) -> None:
    x = torch.ones(2, 2, requires_grad=True)
    with astcapture.recording() as rec:
        run: Any = torch.compile(module.operator, backend=backend, fullgraph=True)
        run(x).sum().backward()
        values = {one.label: one.value.item() for one in rec["off:Op.forward"].records}
        count = dict(rec.counts)["off:Op.forward", "number"]
    assert torch.equal(x.grad, torch.full((2, 2), 2.0))  # type: ignore[arg-type]
    assert values == {"total": 4.0, "half": 1.0}
    assert count.failed == 1
    assert "cannot trace the expression, which depends on data" in str(count.error)
