"""Ready-made edits in compiled code: no graph break, the bits of the line by hand, no compilation for new numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch._dynamo.testing
from test_ready_made_edits import (
    CASES,
    NAMES,
    OTHER,
    SITE,
    VALUES,
    VECTOR,
    Case,
    a_value,
    edited_by_hand,
    projected,
    same,
    with_gradient,
)

from astcapture.edits import ReadyMade, Site, add, noise, patch, scale, zero

BACKENDS = ["eager", "aot_eager", pytest.param("inductor", marks=pytest.mark.slow)]


@pytest.fixture(autouse=True)
def _compiles_anew() -> Any:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.cases(8)
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_a_compiled_edit_is_the_line_written_by_hand(case: Case, dtype: torch.dtype, backend: str) -> None:
    edit, x = case.make(), a_value(dtype)
    compiled = torch.compile(lambda x: edit(x, SITE) * 1, fullgraph=True, backend=backend)
    expected = with_gradient(lambda x: edited_by_hand(x, case.by_hand), x)
    for one, other in zip(with_gradient(compiled, x), expected, strict=True):
        assert same(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", CASES[1::2], ids=NAMES[1::2])
def test_inductor_compiles_an_edit_as_the_line_written_by_hand(case: Case, dtype: torch.dtype) -> None:
    edit, x = case.make(), a_value(dtype)
    names: dict[str, Any] = {"VECTOR": VECTOR, "OTHER": OTHER, "projected": projected}
    exec(f"def by_hand(x):\n    y = x.clone()\n    {case.by_hand}\n    return y * 1", names)
    expected = with_gradient(torch.compile(names["by_hand"], fullgraph=True), x)
    found = with_gradient(torch.compile(lambda x: edit(x, SITE) * 1, fullgraph=True), x)
    for one, other in zip(found, expected, strict=True):
        assert same(one, other)


@pytest.mark.cases(8)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("make", "one", "other"), VALUES.values(), ids=VALUES)
def test_a_new_value_compiles_nothing(make: Callable[[Any], ReadyMade], one: Any, other: Any, backend: str) -> None:
    x, edit = a_value(), make(one)
    counter = torch._dynamo.testing.CompileCounterWithBackend(backend)
    compiled = torch.compile(lambda x: edit(x, SITE), fullgraph=True, backend=counter)
    compiled(x)
    count = counter.frame_count
    for value in (other, one, other):
        edit.value = value
        torch.testing.assert_close(compiled(x), make(value)(x, SITE), equal_nan=True)
    assert counter.frame_count == count


@pytest.mark.parametrize("backend", BACKENDS)
def test_trained_tensors_get_the_gradients_of_eager_code(backend: str) -> None:
    weight = torch.nn.Parameter(VECTOR.clone())
    first, second = scale(weight, heads=1), add(weight, tokens=-1)
    x = a_value().nan_to_num(0, 3)

    def change(x: torch.Tensor) -> torch.Tensor:
        return second(first(x)).square().sum()

    (expected,) = torch.autograd.grad(change(x), weight)
    (found,) = torch.autograd.grad(torch.compile(change, fullgraph=True, backend=backend)(x), weight)
    torch.testing.assert_close(found, expected)


@pytest.mark.slow
def test_sizes_may_vary() -> None:
    edits = [zero(tokens=-1), scale(0.5, heads=[0, 2], tokens=slice(1, None)), add(VECTOR, batch=0), noise(0.1, rows=0)]
    compiled = torch.compile(
        lambda x: [edit(x, SITE) for edit in edits], fullgraph=True, backend="aot_eager", dynamic=True
    )
    for batch, tokens in ((2, 5), (3, 7), (4, 9)):
        x = torch.randn(batch, 4, tokens, 6)
        for one, edit in zip(compiled(x), edits, strict=True):
            assert same(one, edit(x, SITE))


def test_a_checkpoint_of_compiled_code_draws_the_same_noise() -> None:
    edit, weight = noise(0.5), torch.linspace(0, 1, 8).requires_grad_()

    def block(x: torch.Tensor) -> torch.Tensor:
        return (edit(x * weight, SITE) ** 2).sum()

    def checkpointed(x: torch.Tensor) -> torch.Tensor:
        return torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False)

    (expected,) = torch.autograd.grad(block(torch.ones(8)), weight)
    compiled = torch.compile(checkpointed, fullgraph=True, backend="aot_eager")
    assert same(torch.autograd.grad(compiled(torch.ones(8)), weight)[0], expected)


def test_patch_of_several_layers_finds_each_in_compiled_code() -> None:
    edit = patch({"a": OTHER, "b": OTHER * 2}, heads=1)

    def both(x: torch.Tensor) -> torch.Tensor:
        return edit(edit(x, Site("a", None, "attn", 3)) * 2, Site("b", None, "attn", 3))

    x = a_value()
    assert same(torch.compile(both, fullgraph=True, backend="aot_eager")(x), both(x))


@pytest.mark.slow
def test_a_number_that_was_given_before_torch_was_imported_is_made_while_compiling() -> None:
    import subprocess
    import sys

    program = """
import sys
from astcapture.edits import scale, add
edit, other = scale(0.5, rows=0), add([1.0, 2.0])
assert "torch" not in sys.modules
import torch, torch._dynamo.testing
counter = torch._dynamo.testing.CompileCounterWithBackend("eager")
compiled = torch.compile(lambda x: other(edit(x)), fullgraph=True, backend=counter)
print(compiled(torch.ones(2, 2)).tolist())
edit.value = 2
other.value = [3.0, 4.0]
print(compiled(torch.ones(2, 2)).tolist(), counter.frame_count)
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert found.stdout.split("\n")[:2] == ["[[1.5, 2.5], [2.0, 3.0]]", "[[5.0, 6.0], [4.0, 5.0]] 1"], found.stderr
