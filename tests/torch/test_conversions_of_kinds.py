"""What a record holds of every kind of tensor, and of code that is traced rather than run. See docs/values.md."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

import astcapture

torch = pytest.importorskip("torch")
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode  # noqa: E402

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta"),
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors"),
    pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

SOURCE = """\
import torch

def given(x):
    return 0

def f(x):
    y = x.sin()
    return y * 2

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 3)

    def forward(self, x):
        y = self.linear(x)
        return y * 2
"""
TARGETS = ["kinds:given=x", "kinds:f=y", "kinds:Model.forward=y"]


@pytest.fixture
def kinds(tmp_path: Path, fresh_imports: Any) -> Any:
    (tmp_path / "kinds.py").write_text(SOURCE)
    return lambda: importlib.import_module("kinds")


def values(key: str = "given") -> list[Any]:
    return list(astcapture.cache[f"kinds:{key}"])


def quantised() -> Any:
    return torch.quantize_per_tensor(torch.tensor([1.0, 2.0]), 0.1, 0, torch.qint8)


def jagged() -> Any:
    return torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged)


def strided_nested() -> Any:
    return torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])


KINDS = {
    "bfloat16": lambda: torch.ones(3, dtype=torch.bfloat16),
    "float8": lambda: torch.ones(3).to(torch.float8_e4m3fn),
    "complex": lambda: torch.tensor([1 + 2j]).conj(),
    "negated": lambda: torch.tensor([1 + 2j]).conj().imag,
    "quantised": quantised,
    "sparse coo": lambda: torch.eye(3).to_sparse(),
    "sparse csr": lambda: torch.eye(3).to_sparse_csr(),
    "sparse csc": lambda: torch.eye(3).to_sparse_csc(),
    "sparse bsr": lambda: torch.eye(4).to_sparse_bsr((2, 2)),
    "sparse bsc": lambda: torch.eye(4).to_sparse_bsc((2, 2)),
    "nested jagged": jagged,
    "nested strided": strided_nested,
    "meta": lambda: torch.empty(3, device="meta"),
    "no elements": lambda: torch.empty(0, 3),
    "no axes": lambda: torch.tensor(2.0),
    "channels last": lambda: torch.ones(1, 3, 2, 2).to(memory_format=torch.channels_last),
    "expanded": lambda: torch.ones(3, 1).expand(3, 4),
    "parameter": lambda: torch.nn.Parameter(torch.ones(2)),
}


def dense(tensor: Any) -> Any:
    """What can be compared: the values in a plain tensor."""
    if tensor.dtype == torch.float8_e4m3fn:
        return tensor.float()
    if tensor.is_quantized:
        return tensor.dequantize()
    if tensor.is_nested:
        return torch.cat([one.flatten() for one in tensor.unbind()])
    return tensor.detach().to_dense() if tensor.layout is not torch.strided else tensor.detach().resolve_conj()


@pytest.mark.parametrize("options", [{}, {"device": "cpu"}, {"grad": True}, {"copy": False}], ids=str)
def test_every_kind_of_tensor_is_kept_as_what_it_is(kinds: Any, options: dict[str, Any]) -> None:
    tensors = {kind: make() for kind, make in KINDS.items()}
    with astcapture.install(TARGETS, **options, limit="1GB"):
        for x in tensors.values():
            kinds().given(x)
    assert len(values()) == len(KINDS)
    for (kind, x), value in zip(tensors.items(), values(), strict=True):
        assert (value.dtype, value.layout, value.device) == (x.dtype, x.layout, x.device), kind
        assert not value.requires_grad, kind
        assert kind == "meta" or torch.equal(dense(value), dense(x)), kind
    assert astcapture.cache.counts == {}
    assert astcapture.cache.summary()


def test_a_dtype_is_for_the_floating_ones_among_them(kinds: Any) -> None:
    tensors = {kind: make() for kind, make in KINDS.items()}
    with astcapture.install(TARGETS, dtype="float64"):
        for x in tensors.values():
            kinds().given(x)
    for (kind, x), value in zip(tensors.items(), values(), strict=True):
        floats = x.dtype.is_floating_point and not x.is_quantized
        assert (value.dtype, value.layout) == (torch.float64 if floats else x.dtype, x.layout), kind


def test_the_strides_of_a_dense_tensor_are_kept(kinds: Any) -> None:
    x = KINDS["channels last"]()
    with astcapture.install(TARGETS):
        kinds().given(x)
    with astcapture.install(TARGETS, dtype="float64"):
        kinds().given(x)
    assert [value.stride() for value in values()] == [x.stride()] * 2


def test_what_an_expanded_tensor_repeats_is_written_out(kinds: Any) -> None:
    with astcapture.install(TARGETS):
        kinds().given(torch.ones(3, 1).expand(3, 4))
    assert values()[0].untyped_storage().nbytes() == 48


# --- subclasses ---------------------------------------------------------------------------------------------------


class Marked(torch.Tensor):
    """A class with a way of its own with functions."""


class Wrapping(torch.Tensor):
    """A class that holds two tensors and computes with both."""

    @staticmethod
    def __new__(cls, one: Any, other: Any) -> Any:
        return torch.Tensor._make_wrapper_subclass(cls, one.shape, dtype=one.dtype)

    def __init__(self, one: Any, other: Any) -> None:
        self.one, self.other = one, other

    def __tensor_flatten__(self) -> Any:
        return ["one", "other"], None

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        def part(name: str) -> Any:
            return function(
                *[getattr(value, name) if isinstance(value, Wrapping) else value for value in arguments],
                **(options or {}),
            )

        return cls(part("one"), part("other"))


def test_a_subclass_stays_one(kinds: Any) -> None:
    with astcapture.install(TARGETS):
        x = torch.ones(2).as_subclass(Marked)
        kinds().given(x)
        x.zero_()
    assert (type(values()[0]), values()[0].tolist()) == (Marked, [1, 1])


def test_a_subclass_that_wraps_others_is_copied_by_its_own_rules_and_weighed_by_its_parts(kinds: Any) -> None:
    from astcapture.record.weight import Scale

    x = Wrapping(torch.ones(100), torch.zeros(100))
    with astcapture.install(TARGETS):
        kinds().given(x)
        x.one.zero_()
    (value,) = values()
    assert (type(value), value.one[0], value.other[0]) == (Wrapping, 1, 0)
    scale = Scale()
    scale.put(value)
    assert scale.bytes["cpu"] == 800


def test_a_fake_tensor_is_kept_as_one_and_weighs_nothing(kinds: Any) -> None:
    from astcapture.record.weight import Scale

    with astcapture.install(TARGETS), FakeTensorMode():
        kinds().f(torch.ones(1000, 4))
    (value,) = values("f")
    assert (type(value), value.shape) == (FakeTensor, (1000, 4))
    scale = Scale()
    scale.put(value)
    assert scale.bytes["cpu"] == 0


# --- torch.func ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{}, {"dtype": "float64"}, {"copy": False}, {"reduce": lambda v: v * 1}],
    ids=["plain", "dtype", "no copy", "reduce"],
)
def test_inside_vmap_the_values_of_all_examples_are_one_tensor_with_their_axis_first(kinds: Any, options: Any) -> None:
    x = torch.randn(2, 5, 3)
    with astcapture.install(TARGETS, **options):
        torch.vmap(kinds().f, in_dims=1)(x)
    (value,) = values("f")
    assert value.shape == (5, 2, 3)
    assert torch.allclose(value.float(), x.movedim(1, 0).sin())
    assert not torch._C._functorch.is_functorch_wrapped_tensor(value)


def test_of_two_vmaps_the_outer_one_has_the_first_axis(kinds: Any) -> None:
    x = torch.randn(2, 3, 4)
    with astcapture.install(TARGETS):
        torch.vmap(torch.vmap(kinds().f, in_dims=1), in_dims=2)(x)
    # The outer maps the axis of 4, and the inner, of what is left, that of 3.
    assert torch.allclose(values("f")[0], x.permute(2, 1, 0).sin())


def transformed(name: str) -> Any:
    return {
        "grad": lambda f, x: torch.func.grad(lambda x: f(x).sum())(x),
        "jacrev": lambda f, x: torch.func.jacrev(f)(x),
        "jvp": lambda f, x: torch.func.jvp(f, (x,), (x,)),
        "functionalize": lambda f, x: torch.func.functionalize(f)(x),
        "grad of grad": lambda f, x: torch.func.grad(torch.func.grad(lambda x: f(x.sum())))(x[0]),
    }[name]


@pytest.mark.parametrize("name", ["grad", "jacrev", "jvp", "functionalize"])
@pytest.mark.parametrize("options", [{}, {"dtype": "float64", "grad": True}], ids=str)
def test_inside_a_transform_a_plain_tensor_is_recorded(kinds: Any, name: str, options: dict[str, Any]) -> None:
    x = torch.randn(3)
    with astcapture.install(TARGETS, **options):
        captured = transformed(name)(kinds().f, x)
    assert str(captured) == str(transformed(name)(lambda x: x.sin() * 2, x))
    for value in values("f"):
        assert torch.allclose(value.float(), x.sin())
        assert not torch._C._functorch.is_functorch_wrapped_tensor(value)
        assert (value.requires_grad, value.grad_fn) == (False, None)


def test_inside_a_transform_of_a_transform_too(kinds: Any) -> None:
    with astcapture.install(TARGETS):
        transformed("grad of grad")(kinds().f, torch.ones(1))
    assert [value.tolist() for value in values("f")] == [torch.ones(()).sin().item()]


def test_functional_call_is_a_call_like_any_other(kinds: Any) -> None:
    with astcapture.install(TARGETS):
        model = kinds().Model()
        torch.func.functional_call(model, {name: one * 0 for name, one in model.named_parameters()}, torch.ones(1, 3))
    assert values("Model.forward")[0].tolist() == [[0, 0, 0]]


# --- inference mode -----------------------------------------------------------------------------------------------


def test_in_inference_mode_a_record_is_an_inference_tensor_as_a_clone_of_ones_own_would_be(kinds: Any) -> None:
    with astcapture.install(TARGETS), torch.inference_mode():
        kinds().f(torch.ones(2))
    (value,) = values("f")
    assert value.is_inference()
    assert value.clone().requires_grad_().requires_grad


# --- traced, not run ----------------------------------------------------------------------------------------------


def test_what_torch_fx_traces_is_counted_and_the_traced_module_has_no_trace_of_us(kinds: Any) -> None:
    with astcapture.install(TARGETS):
        model = kinds().Model()
        traced = torch.fx.symbolic_trace(model)
        assert values("Model.forward") == []
        traced(torch.ones(1, 3))
    assert [node.name for node in traced.graph.nodes] == ["x", "linear", "mul", "output"]
    assert "NotRun: torch.fx traces this function instead of running it" in astcapture.cache.summary()


@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_program_has_no_trace_of_us(kinds: Any, strict: bool) -> None:
    torch._dynamo.reset()
    with astcapture.install(TARGETS):
        model = kinds().Model()
        program = torch.export.export(model, (torch.ones(1, 3),), strict=strict)
        assert program.module()(torch.ones(1, 3)).shape == (1, 3)
    names = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert names == ["aten.linear.default", "aten.mul.Tensor"]
    assert values("Model.forward") == []
    if not strict:
        assert "NotRun: torch.export traces this function without data" in astcapture.cache.summary()
    torch._dynamo.reset()


def test_tracing_by_torch_jit_runs_the_function_which_is_recorded_and_the_traced_one_is_not(kinds: Any) -> None:
    with astcapture.install(TARGETS):
        model = kinds().Model()
        x = torch.ones(1, 3)
        traced = torch.jit.trace(model, x, check_trace=False)
        assert len(values("Model.forward")) == 1
        assert torch.equal(traced(x), model(x))
        assert len(values("Model.forward")) == 2
    assert "clone" not in str(traced.graph)
    assert "detach" not in str(traced.graph)


def test_scripting_by_torch_jit_reads_the_source_and_records_nothing(kinds: Any) -> None:
    with astcapture.install(TARGETS):
        scripted = torch.jit.script(kinds().Model())
        assert scripted(torch.ones(1, 3)).shape == (1, 3)
    assert values("Model.forward") == []
    assert "astcapture" not in scripted.code
    assert "torch.jit.script compiled it" in astcapture.cache.summary()


def test_a_trace_by_make_fx_runs_the_function_and_holds_the_copy_too(kinds: Any) -> None:
    from torch.fx.experimental.proxy_tensor import make_fx

    with astcapture.install(TARGETS):
        traced = make_fx(kinds().f)(torch.ones(3))
    assert len(values("f")) == 1
    traced.graph.eliminate_dead_code()
    targets = [str(node.target) for node in traced.graph.nodes if node.op == "call_function"]
    assert targets == ["aten.sin.default", "aten.mul.Tensor"]


# --- compiled -----------------------------------------------------------------------------------------------------


def test_options_hold_for_compiled_code_too(kinds: Any) -> None:
    torch._dynamo.reset()
    with astcapture.install(TARGETS, reduce=lambda value: value.sum(), dtype="float64"):
        compiled = torch.compile(kinds().f, fullgraph=True, backend="aot_eager")
        for number in range(4):
            compiled(torch.full((3,), float(number)))
    expected = [3 * torch.tensor(float(number)).sin().item() for number in range(4)]
    assert [value.dtype for value in values("f")] == [torch.float64] * 4
    assert [value.item() for value in values("f")] == pytest.approx(expected)
    torch._dynamo.reset()


def test_a_reduce_that_fails_in_compiled_code_is_counted(kinds: Any) -> None:
    torch._dynamo.reset()
    with astcapture.install(TARGETS, reduce=lambda value: value.mean(7)):
        torch.compile(kinds().f, fullgraph=True, backend="aot_eager")(torch.ones(3))
    assert values("f") == []
    assert astcapture.cache.counts["kinds:f", "y"].failed == 1
    torch._dynamo.reset()
