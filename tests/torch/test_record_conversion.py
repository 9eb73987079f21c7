"""What is kept of one value by what is asked for: reduced, converted, moved, copied or not, each alone and together."""

from __future__ import annotations

import functools
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy
import pytest

from astcapture.record.deferred import Shared, read
from astcapture.record.options import Conversion
from astcapture.record.torch.conversion import ChangedInPlace, _is_on, convert, dtype_of, keep

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")]


def same_memory(one: Any, other: Any) -> bool:
    if isinstance(one, numpy.ndarray):
        return bool(numpy.shares_memory(one, other))
    return bool(one.data_ptr() == other.data_ptr())


def itself(value: Any) -> Any:
    return value


# --- tensors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("take", [convert, keep])
def test_of_a_tensor_a_copy_is_kept_that_has_no_graph(take: Any, grad: bool) -> None:
    x = torch.ones(3, requires_grad=grad) * 2
    kept = take(x, Conversion())
    assert kept.tolist() == [2, 2, 2]
    assert not same_memory(kept, x)
    assert (kept.requires_grad, kept.grad_fn) == (False, None)


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("take", [convert, keep])
def test_without_a_copy_the_memory_is_the_programs_and_the_tensor_is_not(take: Any, grad: bool) -> None:
    x = torch.zeros(2, 3, requires_grad=grad)
    kept = take(x, Conversion(copy=False))
    assert isinstance(kept, Shared)
    assert same_memory(kept.held, x)
    assert not kept.held.requires_grad
    # Whatever the program does to its own tensor but writing to it: turn it round, ask for its gradient.
    with torch.no_grad():
        x.t_()
    x.requires_grad_()
    assert (kept.held.shape, kept.held.requires_grad) == ((2, 3), False)


def test_a_value_that_nobody_else_has_is_not_copied() -> None:
    x = torch.ones(3)
    assert same_memory(convert(x, Conversion(), own=True), x)
    assert same_memory(keep(x, Conversion(), fresh=True), x)
    assert same_memory(convert(x, Conversion(reduce=itself), own=True), x)
    assert convert(x, Conversion(reduce=lambda v: v.add_(1), copy=False), own=True).tolist() == [2, 2, 2]


@pytest.mark.parametrize("how", [Conversion(), Conversion(dtype="float64"), Conversion(device="cpu", grad=True)])
def test_everything_that_is_no_tensor_array_or_container_is_kept_itself(how: Conversion) -> None:
    for value in (None, 3, 1.5, "text", (1, ("a",)), object(), numpy.float64(2), torch.float16):
        assert convert(value, how) is value
        assert keep(value, how) is value


# --- reduce -------------------------------------------------------------------------------------------------------


def test_reduce_is_given_a_copy_which_is_kept_without_another_where_it_returns_it() -> None:
    x = torch.ones(3, requires_grad=True)
    given = []

    def scale(value: Any) -> Any:
        given.append(value)
        return value.mul_(5)

    kept = convert(x, Conversion(reduce=scale))
    assert (kept.tolist(), x.tolist()) == ([5, 5, 5], [1, 1, 1])
    assert same_memory(kept, given[0])
    assert not same_memory(kept, x)


def test_what_reduce_returns_and_others_may_have_is_copied() -> None:
    x, theirs = torch.ones(4), torch.zeros(2)
    assert not same_memory(convert(x, Conversion(reduce=lambda value: theirs)), theirs)
    given = []
    half = convert(x, Conversion(reduce=lambda value: given.append(value) or value[:2]))
    assert not same_memory(half, given[0])
    assert half.untyped_storage().nbytes() == 8


def test_a_parameter_that_reduce_returns_is_kept_without_its_graph() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    for copy in (True, False):
        kept = read(convert(torch.ones(1), Conversion(reduce=lambda value: weight, copy=copy)))
        assert (kept.tolist(), kept.requires_grad) == ([1, 1], False)
        assert same_memory(kept, weight) != copy


def test_reduce_without_a_copy_is_given_the_programs_memory_and_no_graph() -> None:
    x = torch.ones(3, requires_grad=True)
    given = []
    kept = convert(x, Conversion(reduce=lambda value: given.append(value) or value, copy=False))
    assert same_memory(given[0], x)
    assert not given[0].requires_grad
    # It is still the program's, so a later change is an error and not another value.
    with torch.no_grad():
        x.zero_()
    with pytest.raises(ValueError, match="modified in place once since"):
        read(kept)


def test_a_function_that_writes_to_the_programs_value_is_told_by_its_name() -> None:
    def spoil(value: Any) -> Any:
        value.zero_()

    for reduce, name in ((spoil, "spoil"), (functools.partial(spoil), repr(functools.partial(spoil)))):
        with pytest.raises(ChangedInPlace) as caught:
            convert(torch.ones(2).add_(1), Conversion(reduce=reduce, copy=False))
        assert str(caught.value).startswith(f"reduce={name} modified the value in place, and with copy=False that is")
        assert str(caught.value).endswith("the program's own tensor: remove copy=False, so that reduce gets a copy")


def test_what_writes_to_an_inference_tensor_is_not_seen_as_torch_counts_no_change_of_it() -> None:
    with torch.inference_mode():
        x = torch.ones(2)
        assert read(convert(x, Conversion(reduce=lambda value: value.add_(1), copy=False))).tolist() == [2, 2]
        assert read(convert(x, Conversion(reduce=torch.sum, copy=False))) == 4


def test_reduce_runs_without_a_graph_and_with_what_it_returns_copied_not_at_all_if_not_asked() -> None:
    seen = []
    theirs = torch.ones(2)
    how = Conversion(reduce=lambda value: seen.append(torch.is_grad_enabled()) or theirs, copy=False)
    kept = convert(torch.ones(3, requires_grad=True), how)
    assert seen == [False]
    assert same_memory(kept.held, theirs)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_reduce_runs_outside_autocast_for_the_host_whatever_device_the_value_is_on(device: str) -> None:
    seen = []

    def product(value: Any) -> Any:
        seen.append((torch.is_autocast_enabled("cpu"), (torch.ones(2, 2) @ torch.ones(2, 2)).dtype))
        return value

    with torch.autocast("cpu", torch.bfloat16):
        convert(torch.ones(2, 2, device=device), Conversion(reduce=product))
        assert torch.is_autocast_enabled("cpu")
    assert seen == [(False, torch.float32)]


def test_reduce_then_dtype_then_device() -> None:
    seen = []
    how = Conversion(reduce=lambda value: seen.append((value.dtype, value.device.type)) or value[0], dtype="float64")
    kept = convert(torch.ones(2, 3), how)
    assert (kept.shape, kept.dtype) == ((3,), torch.float64)
    kept = convert(torch.ones(2, 3), Conversion(reduce=how.reduce, dtype="float16", device="meta"))
    assert (kept.shape, kept.dtype, kept.device.type) == ((3,), torch.float16, "meta")
    assert seen == [(torch.float32, "cpu")] * 2


@pytest.mark.parametrize("reduce", [None, lambda value: value * 2])
def test_inside_vmap_all_examples_are_one_plain_tensor_with_their_axis_first(reduce: Any) -> None:
    kept: list[Any] = []
    x = torch.arange(6.0).reshape(2, 3)

    def f(example: Any) -> Any:
        kept.append(convert(example, Conversion(reduce=reduce)))
        return example

    torch.vmap(f, in_dims=1)(x)
    assert not torch._C._functorch.is_functorch_wrapped_tensor(kept[0])
    assert torch.equal(kept[0], x.T * (1 if reduce is None else 2))


def test_reduce_runs_as_if_no_transform_did_so_it_may_draw_random_numbers_which_vmap_forbids() -> None:
    kept = []

    def f(example: Any) -> Any:
        kept.append(convert(example, Conversion(reduce=lambda value: torch.rand_like(value) * 0 + value * 2)))
        return example

    torch.vmap(f)(torch.ones(3))
    assert kept[0].tolist() == [2, 2, 2]


# --- dtype and device ---------------------------------------------------------------------------------------------


def test_a_dtype_is_for_values_of_its_kind_that_do_not_have_it_yet() -> None:
    def asked(dtype: str | None, of: Any) -> Any:
        return dtype_of(torch.ones(1).to(of), Conversion(dtype=dtype))

    assert asked(None, torch.float32) is None
    assert asked("float16", torch.float32) is torch.float16
    assert asked("bfloat16", torch.float64) is torch.bfloat16
    assert asked("float32", torch.float32) is None
    assert asked("complex64", torch.complex128) is torch.complex64
    assert asked("complex64", torch.complex64) is None
    for other in (torch.int64, torch.uint8, torch.bool):
        assert asked("float16", other) is asked("complex64", other) is None
    assert asked("float16", torch.complex64) is asked("complex64", torch.float32) is None
    quantised = torch.quantize_per_tensor(torch.ones(1), 0.1, 0, torch.qint8)
    assert dtype_of(quantised, Conversion(dtype="float16")) is None


@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.parametrize("grad", [False, True])
def test_what_is_converted_or_moved_is_a_plain_tensor_of_its_own(copy: bool, grad: bool) -> None:
    x = torch.ones(2, requires_grad=grad)
    half = convert(x, Conversion(dtype="float16", copy=copy))
    assert (half.dtype, half.device.type, half.requires_grad) == (torch.float16, "cpu", False)
    moved = convert(x, Conversion(device="meta", copy=copy))
    assert (moved.dtype, moved.device.type, moved.requires_grad) == (torch.float32, "meta", False)
    both = convert(x, Conversion(dtype="float64", device="meta", copy=copy))
    assert (both.dtype, both.device.type) == (torch.float64, "meta")


@pytest.mark.parametrize("device", ["cpu", "cpu:1"])
def test_on_the_device_that_is_asked_for_nothing_is_moved(device: str) -> None:
    x = torch.ones(2)
    kept = convert(x, Conversion(device=device))
    assert (kept.device, same_memory(kept, x)) == (torch.device("cpu"), False)
    assert same_memory(convert(x, Conversion(device=device, copy=False)).held, x)
    assert convert(x, Conversion(device=device, dtype="float64")).device == torch.device("cpu")


def test_a_meta_tensor_holds_nothing_that_could_be_moved() -> None:
    x = torch.ones(2, device="meta")
    assert convert(x, Conversion(device="cpu")).device.type == "meta"
    assert convert(x, Conversion(device="cpu", dtype="float64")).dtype == torch.float64
    assert convert(x, Conversion(device="meta", copy=False)).held.device.type == "meta"


def test_a_device_without_a_number_is_the_one_that_is_current(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)

    def tensor(device: str) -> Any:
        """What is asked of a tensor there; no such device is needed."""
        return SimpleNamespace(device=torch.device(device), is_cuda=device.startswith("cuda"))

    on = {
        ("cuda:0", "cuda"): False, ("cuda:1", "cuda"): True,
        ("cuda:0", "cuda:0"): True, ("cuda:1", "cuda:0"): False, ("cuda:1", "cuda:1"): True,
        ("cpu", "cuda"): False, ("cpu", "cuda:0"): False, ("cuda:1", "cpu"): False, ("cpu", "cpu:0"): True,
        ("cpu", "cpu"): True, ("xpu:0", "xpu:0"): True, ("xpu:1", "xpu:0"): False, ("meta", "meta"): True,
        ("cuda:1", "xpu"): False, ("cuda:1", "meta"): False, ("xpu:1", "cuda"): False, ("xpu:1", "cuda:1"): False,
    }  # fmt: skip
    for (there, asked), expected in on.items():
        assert _is_on(tensor(there), asked) is expected, (there, asked)


# --- arrays -------------------------------------------------------------------------------------------------------


def test_of_an_array_a_copy_is_kept_unless_none_is_asked_for_or_nobody_else_has_it() -> None:
    x = numpy.ones((2, 3)).T
    for take in (convert, keep):
        kept = take(x, Conversion())
        assert (kept.tolist(), kept.strides, same_memory(kept, x)) == (x.tolist(), x.strides, False)
        assert take(x, Conversion(copy=False)) is x
    assert keep(x, Conversion(), fresh=True) is x
    assert keep(x, Conversion(copy=False), fresh=True) is x


def test_a_dtype_is_for_arrays_of_its_kind_where_numpy_has_it() -> None:
    def kept(of: str, dtype: str) -> str:
        return str(convert(numpy.ones(2, of), Conversion(dtype=dtype)).dtype)

    assert kept("float64", "float16") == "float16"
    assert kept("float32", "float64") == "float64"
    assert kept("complex128", "complex64") == "complex64"
    assert kept("complex128", "float16") == "complex128"
    assert kept("float64", "complex64") == "float64"
    for whole in ("int64", "uint8", "bool"):
        assert kept(whole, "float16") == kept(whole, "complex64") == whole
    for missing in ("bfloat16", "float8_e5m2", "complex32"):
        assert kept("float64", missing) == "float64"
        assert kept("complex128", missing) == "complex128"


def test_an_array_that_has_the_dtype_already_is_copied_like_any_other() -> None:
    x = numpy.ones(3, "float32")
    how = Conversion(dtype="float32")
    assert not same_memory(keep(x, how), x)
    assert same_memory(keep(x, how, fresh=True), x)
    assert same_memory(keep(x, Conversion(dtype="float32", copy=False)), x)
    for missing in ("bfloat16", "complex64"):
        assert not same_memory(keep(x, Conversion(dtype=missing)), x)


def test_reduce_may_write_to_the_array_that_it_is_given_and_that_is_kept() -> None:
    x = numpy.ones(3)
    given = []

    def scale(value: Any) -> Any:
        given.append(value)
        value *= 5
        return value

    kept = convert(x, Conversion(reduce=scale))
    assert (kept.tolist(), x.tolist()) == ([5, 5, 5], [1, 1, 1])
    assert kept is given[0]


def test_reduce_without_a_copy_is_given_the_programs_array_and_cannot_write_to_it() -> None:
    x = numpy.ones(3)
    given = []
    kept = convert(x, Conversion(reduce=lambda value: given.append(value) or value.sum(), copy=False))
    assert kept == 3
    assert same_memory(given[0], x)
    with pytest.raises(ValueError, match="read-only"):
        convert(x, Conversion(reduce=lambda value: value.fill(0), copy=False))
    x += 1  # the program's own can still be written to


def test_an_array_that_reduce_returns_and_others_may_have_is_copied() -> None:
    theirs = numpy.zeros(2)
    for value in (numpy.ones(2), [1, 2], None):
        assert not same_memory(convert(value, Conversion(reduce=lambda value: theirs)), theirs)
        assert convert(value, Conversion(reduce=lambda value: theirs, copy=False)) is theirs


def test_reduce_of_a_container_is_given_a_copy_without_a_graph_and_runs_without_one() -> None:
    pair = [torch.ones(2, requires_grad=True), 2]
    given = []

    def product(value: Any) -> Any:
        given.append((value, torch.is_grad_enabled()))
        return value[0] * value[1]

    kept = convert(pair, Conversion(reduce=product, dtype="float64"))
    ((value, enabled),) = given
    assert not enabled and type(value) is list and value[1] == 2
    assert not value[0].requires_grad and value[0].data_ptr() != pair[0].data_ptr()
    assert (kept.tolist(), kept.dtype, kept.requires_grad) == ([2, 2], torch.float64, False)


@pytest.mark.parametrize("module", [None, ModuleType("torch")], ids=str)
def test_without_torch_or_while_it_is_being_imported_values_are_reduced_and_kept_too(
    monkeypatch: pytest.MonkeyPatch, module: Any
) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    if module is not None:
        monkeypatch.setitem(sys.modules, "torch", module)
    assert convert([1, 2], Conversion(reduce=sum)) == 3
    assert convert(numpy.ones(3), Conversion(reduce=numpy.sum, dtype="float16")) == 3
    assert convert(numpy.ones(3), Conversion(dtype="float16")).dtype == numpy.float16
