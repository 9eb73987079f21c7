"""What `install` makes of a tensor on its way in: copied or not, moved, cast, reduced; for all and per target."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest

import astcapture
from astcapture.errors import CaptureError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

SOURCE = """\
import torch

def f(x):
    y = x * 1
    return y

def given(x):
    return 0

def pair(x):
    both = [x * 1, (x * 2, {"three": x * 3})]
    return both
"""

Load = Callable[[], Any]


@pytest.fixture
def module(tmp_path: Path, fresh_imports: Any) -> Load:
    (tmp_path / "converted.py").write_text(SOURCE)
    return lambda: importlib.import_module("converted")


def taken(key: str = "converted:f") -> list[Any]:
    return list(astcapture.cache[key])


@pytest.mark.parametrize("dtype", [torch.float16, "bfloat16", numpy.float16, "torch.float64", "float8_e4m3fn"], ids=str)
def test_floating_tensors_are_kept_in_the_dtype_that_is_asked_for(module: Load, dtype: Any) -> None:
    x = torch.randn(5, 7).T
    with astcapture.install(["converted:f=y"], dtype=dtype):
        y = module().f(x)
    name = dtype.__name__ if isinstance(dtype, type) else str(dtype).removeprefix("torch.")
    (value,) = taken()
    assert value.dtype == getattr(torch, name)
    assert torch.equal(value.float(), x.to(value.dtype).float())
    assert y.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.complex64], ids=str)
def test_a_floating_dtype_leaves_whole_numbers_booleans_and_complex_tensors_as_they_are(
    module: Load, dtype: Any
) -> None:
    x = torch.tensor([1, 0, 1]).to(dtype)
    with astcapture.install(["converted:given=x"], dtype="float16"):
        module().given(x)
    (value,) = taken("converted:given")
    assert value.dtype == dtype
    assert torch.equal(value, x)
    assert value.data_ptr() != x.data_ptr()


def test_a_complex_dtype_is_for_complex_tensors(module: Load) -> None:
    with astcapture.install(["converted:f=y"], dtype="complex64"):
        module().f(torch.ones(2, dtype=torch.complex128))
        module().f(torch.ones(2))
    assert [value.dtype for value in taken()] == [torch.complex64, torch.float32]


def test_the_dtype_that_a_tensor_has_already_still_means_a_copy(module: Load) -> None:
    with astcapture.install(["converted:f=y"], dtype="float32", device="cpu"):
        y = module().f(torch.ones(3))
    y.zero_()
    assert taken()[0].tolist() == [1, 1, 1]


def test_a_device_is_where_tensors_are_kept(module: Load) -> None:
    with astcapture.install(["converted:f=y"], device="meta"):
        y = module().f(torch.ones(3, 4))
    assert (taken()[0].device.type, taken()[0].shape) == ("meta", (3, 4))
    assert y.device.type == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused(module: Load) -> None:
    with pytest.raises(CaptureError) as caught:
        astcapture.install(["converted"], device="cuda:3")
    assert str(caught.value) == ("device='cuda:3': torch finds no cuda device here: write device=\"cpu\" or omit it")


def test_a_device_that_torch_does_not_know_is_refused_with_those_that_it_knows(module: Load) -> None:
    with pytest.raises(CaptureError, match=r"^device='gpu': Expected one of cpu, cuda, "):
        astcapture.install(["converted"], device="gpu")


@pytest.mark.slow
def test_a_device_that_fails_only_when_it_is_used_is_counted(run_python: Any, tmp_path: Path) -> None:
    (tmp_path / "converted.py").write_text(SOURCE)
    done = run_python(
        """
        import astcapture
        astcapture.install(["converted:f=y"], device="maia")
        import torch, converted
        print(converted.f(torch.ones(2)).tolist())
        print(astcapture.cache.summary())
        """
    )
    assert done.stdout.startswith("[1.0, 1.0]\n")
    assert "converted:f: 'y' failed once; the first time with " in done.stdout


# --- copy=False ---------------------------------------------------------------------------------------------------


def test_without_a_copy_the_value_shares_the_memory_of_the_programs(module: Load) -> None:
    x = torch.ones(3, requires_grad=True)
    with astcapture.install(["converted:f=y"], copy=False):
        y = module().f(x)
    (value,) = taken()
    assert value.data_ptr() == y.data_ptr()
    assert (value.requires_grad, value.grad_fn) == (False, None)


@pytest.mark.parametrize("change", [lambda y: y.add_(1), lambda y: y[0].zero_()])
def test_a_value_that_was_not_copied_and_has_changed_is_an_error_when_it_is_read(module: Load, change: Any) -> None:
    with astcapture.install(["converted:f=y"], copy=False), astcapture.recording() as rec:
        y = module().f(torch.ones(3))
    change(y)
    with pytest.raises(CaptureError) as caught:
        rec["converted:f"][0]
    assert str(caught.value).startswith("this tensor of shape (3,) was captured with copy=False and modified in place")
    # What is known without the value is told all the same.
    assert "(3,)" in rec.summary()
    assert repr(rec["converted:f"].records[0]) == "<Record converted:f y float32 (3,)>"


def test_a_value_that_was_not_copied_and_not_changed_is_read(module: Load) -> None:
    with astcapture.install(["converted:f=y"], copy=False):
        y = module().f(torch.ones(3))
        (y + 1).add_(1)
    assert taken()[0].tolist() == [1, 1, 1]


def test_a_conversion_is_a_copy_though_none_is_asked_for(module: Load) -> None:
    with astcapture.install(["converted:f=y"], copy=False, dtype="float64"):
        y = module().f(torch.ones(3))
    y.zero_()
    assert taken()[0].tolist() == [1, 1, 1]


def test_changes_of_inference_tensors_are_not_counted_by_torch_and_so_not_seen(module: Load) -> None:
    with astcapture.install(["converted:f=y"], copy=False), torch.inference_mode():
        y = module().f(torch.ones(3))
        y.zero_()
    assert taken()[0].tolist() == [0, 0, 0]


# --- reduce -------------------------------------------------------------------------------------------------------


def test_reduce_makes_of_the_value_what_is_kept(module: Load) -> None:
    x = torch.randn(2, 4, 6)
    with astcapture.install(["converted:f=y"], reduce=lambda attn: attn.mean(1), dtype="float64"):
        y = module().f(x)
    (value,) = taken()
    assert value.dtype == torch.float64
    assert torch.allclose(value, x.mean(1).double())
    assert y.shape == (2, 4, 6)


@pytest.mark.parametrize("grad", [False, True])
def test_a_reduce_that_writes_to_its_argument_does_not_reach_the_program(module: Load, grad: bool) -> None:
    with astcapture.install(["converted:f=y"], reduce=lambda value: value.mul_(100)):
        y = module().f(torch.ones(3, requires_grad=grad))
    assert y.tolist() == [1, 1, 1]
    assert y._version == 0
    assert taken()[0].tolist() == [100, 100, 100]


def test_reduce_runs_without_a_graph_and_outside_autocast(module: Load) -> None:
    seen = []

    def look(value: Any) -> Any:
        seen.append((value.requires_grad, torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")))
        return value @ value

    with astcapture.install(["converted:f=y"], reduce=look), torch.autocast("cpu", torch.bfloat16):
        module().f(torch.ones(3, 3, requires_grad=True))
    assert seen == [(False, False, False)]
    assert taken()[0].dtype == torch.float32


def test_a_view_that_reduce_returns_does_not_keep_the_whole_value(module: Load) -> None:
    with astcapture.install(["converted:f=y"], reduce=lambda attn: attn[0]):
        module().f(torch.ones(100, 3))
    assert taken()[0].untyped_storage().nbytes() == 12


def test_what_reduce_returns_is_kept_as_it_was_then(module: Load) -> None:
    total = torch.zeros(3)

    def add_up(value: Any) -> Any:
        return total.add_(value)

    with astcapture.install(["converted:f=y"], reduce=add_up):
        for _ in range(3):
            module().f(torch.ones(3))
    assert [value.tolist() for value in taken()] == [[1, 1, 1], [2, 2, 2], [3, 3, 3]]


def test_reduce_may_return_anything(module: Load) -> None:
    with astcapture.install(["converted:f=y"], reduce=lambda value: (value.sum().item(), value.argmax())):
        module().f(torch.tensor([1.0, 3.0]))
    ((total, index),) = taken()
    assert (total, index.item()) == (4.0, 1)


def test_a_reduce_that_raises_is_counted_once_for_each_value(module: Load) -> None:
    with astcapture.install(["converted:f=y"], reduce=lambda value: value.mean(7)):
        assert module().f(torch.ones(3)).tolist() == [1, 1, 1]
        module().f(torch.ones(3))
    assert taken() == []
    assert "'y' failed 2 times; the first time with IndexError: Dimension out of range" in astcapture.cache.summary()


def test_a_reduce_that_writes_to_a_value_that_is_not_copied_is_told(module: Load) -> None:
    def spoil(value: Any) -> Any:
        return value.zero_()

    with astcapture.install(["converted:f=y"], reduce=spoil, copy=False):
        module().f(torch.ones(3))
    assert taken() == []
    assert astcapture.cache.counts["converted:f", "y"].error == (
        "ChangedInPlace: reduce=spoil modified the value in place, and with copy=False that is the program's own "
        "tensor: remove copy=False, so that reduce gets a copy"
    )


def test_reduce_without_a_copy_is_given_the_programs_own_memory(module: Load) -> None:
    pointers = []
    with astcapture.install(["converted:f=y"], reduce=lambda v: pointers.append(v.data_ptr()) or v.sum(), copy=False):
        y = module().f(torch.ones(3))
    assert pointers == [y.data_ptr()]
    assert taken()[0] == 3


# --- per target ---------------------------------------------------------------------------------------------------


def test_each_target_can_have_options_of_its_own(module: Load) -> None:
    with astcapture.install(
        ["converted:f=y", "converted:given=x"],
        reduce={"converted:f=y": torch.sum},
        dtype={"*:given": "float16"},
        copy={"x": False},
    ):
        x = torch.ones(3)
        module().f(x)
        module().given(x)
    assert taken()[0] == 3
    assert taken()[0].dtype == torch.float32
    assert taken("converted:given")[0].dtype == torch.float16


def test_what_one_hook_converts_the_others_values_take_unconverted(module: Load) -> None:
    with astcapture.install(["converted:f=y"], dtype="float16"), astcapture.install(["converted:given=x"]):
        module().f(torch.ones(3))
        module().given(torch.ones(3))
    assert (taken()[0].dtype, taken("converted:given")[0].dtype) == (torch.float16, torch.float32)


def test_tensors_in_containers_are_converted_as_those_outside_are(module: Load) -> None:
    with astcapture.install(["converted:pair=both"], dtype="float16"):
        both = module().pair(torch.ones(2))
    one, (two, others) = taken("converted:pair")[0]
    assert [one.dtype, two.dtype, others["three"].dtype] == [torch.float16] * 3
    assert [one.tolist(), two.tolist(), others["three"].tolist()] == [[1, 1], [2, 2], [3, 3]]
    assert both[0].dtype == torch.float32


def test_a_container_can_be_taken_apart_by_reduce(module: Load) -> None:
    with astcapture.install(["converted:pair=both"], reduce=lambda both: both[1][1]["three"], dtype="float16"):
        both = module().pair(torch.ones(2))
    both[1][1]["three"].zero_()
    value = taken("converted:pair")[0]
    assert (value.tolist(), value.dtype) == ([3, 3], torch.float16)


def test_no_option_warns_of_anything(module: Load) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with astcapture.install(["converted:f=y"], reduce=torch.mean, dtype="float16", device="cpu", grad=True):
            module().f(torch.ones(3, requires_grad=True)).sum().backward()
    assert taken()[0] == 1


def test_the_program_draws_the_same_random_numbers_and_gradients(module: Load) -> None:
    def run() -> tuple[Any, Any]:
        torch.manual_seed(0)
        x = torch.rand(4, requires_grad=True)
        (module().f(x) * torch.rand(4)).sum().backward()
        return x.grad, torch.rand(1)

    plain = run()
    with astcapture.install(["converted:f=y"], reduce=lambda v: v.sum(), dtype="float16", grad=True):
        captured = run()
    assert all(torch.equal(one, other) for one, other in zip(plain, captured, strict=True))
    assert len(taken()) == 1


@pytest.mark.filterwarnings("ignore:.* is not stored:astcapture.CaptureWarning")
def test_a_store_refuses_a_value_that_was_not_copied_and_has_changed(module: Load, tmp_path: Path) -> None:
    with astcapture.install(["converted:f=y"], copy=False, store=tmp_path / "run"):
        y = module().f(torch.ones(3))
        y.add_(1)
        module().f(torch.ones(2))
    run = astcapture.load(tmp_path / "run")
    assert [value.tolist() for value in run["converted:f"]] in ([[1, 1]], [[1, 1, 1], [1, 1]])
    assert len(run["converted:f"]) == 2 or "captured with copy=False and modified in place once since" in run.summary()


def test_a_store_keeps_reduced_values_and_their_gradients(module: Load, tmp_path: Path) -> None:
    with astcapture.install(
        ["converted:f=y"], store=tmp_path / "run", grad=True, dtype="float16", reduce=lambda value: value[:2]
    ):
        for number in range(5):
            (module().f(torch.ones(8, requires_grad=True)) * number).sum().backward()
    records = astcapture.load(tmp_path / "run")["converted:f"].records
    assert [record.grad.tolist() for record in records] == [[number] * 2 for number in range(5)]
    assert {(record.value.dtype, record.grad.dtype) for record in records} == {(torch.float16, torch.float16)}
