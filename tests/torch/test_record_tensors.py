"""What is known of torch: its tensors, its dtypes, its devices, and values that were not copied."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from astcapture.errors import CaptureError
from astcapture.record.deferred import Deferred, Shared, held, read
from astcapture.record.torch import tensors, transfer
from astcapture.record.torch.devices import read_device
from astcapture.record.torch.dtypes import read_dtype
from astcapture.record.torch.tensors import copy_tensor, is_tensor
from astcapture.record.weight import Scale, parts_of, whole_size

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.torch


class Own(torch.Tensor):
    """A class of the program's."""


class TorchLike(torch.Tensor):
    """A class of a package whose name begins as torch's does."""


class TorchsOwn(torch.Tensor):
    """As torch.testing has classes that see every operation on them; so do fake and distributed tensors."""

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        raise NotImplementedError


TorchLike.__module__ = "torchlike.tensors"
TorchsOwn.__module__ = "torch.testing.classes"


def wrapping() -> Any:
    return torch.Tensor._make_wrapper_subclass(TorchsOwn, (2,))


# --- tensors ------------------------------------------------------------------------------------------------------


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[type]]:
    known: set[type] = set()
    monkeypatch.setattr(tensors, "PLAIN_TENSORS", known)
    return known


def test_a_tensor_is_one_of_any_class_and_nothing_else_is() -> None:
    parameter = torch.nn.Parameter(torch.ones(1))
    for value in (torch.ones(2), parameter, torch.ones(1).as_subclass(Own), wrapping()):
        assert is_tensor(value) is True
    for value in (None, 1.0, [torch.ones(1)], torch.Tensor, torch.float16, torch.Size([1]), torch.ones(1).numpy()):
        assert is_tensor(value) is False


def test_what_says_that_it_is_a_tensor_and_is_none_is_none() -> None:
    class Claims:
        __class__ = torch.Tensor  # type: ignore[assignment]

    assert isinstance(Claims(), torch.Tensor)
    assert is_tensor(Claims()) is False


@pytest.mark.parametrize("module", [None, ModuleType("torch"), SimpleNamespace(Tensor="no class")], ids=str)
def test_without_torch_or_with_another_module_of_its_name_nothing_is_a_tensor(
    monkeypatch: pytest.MonkeyPatch, known: set[type], module: Any
) -> None:
    value = torch.ones(1)
    monkeypatch.delitem(sys.modules, "torch")
    if module is not None:
        monkeypatch.setitem(sys.modules, "torch", module)
    assert is_tensor(value) is False
    assert known == set()


def test_only_torchs_own_classes_whose_data_is_their_own_are_remembered(known: set[type]) -> None:
    others = [wrapping(), torch.ones(1).as_subclass(Own), torch.ones(1).as_subclass(TorchLike), 1, None]
    for value in others:
        is_tensor(value)
    assert known == set()
    for value in (torch.ones(1), torch.nn.Parameter(torch.ones(1)), torch.nn.Buffer(torch.ones(1))):
        is_tensor(value)
    assert known == {torch.Tensor, torch.nn.Parameter}


@pytest.mark.parametrize("grad", [False, True])
def test_a_copy_of_a_tensor_has_memory_of_its_own_and_no_graph(grad: bool) -> None:
    x = torch.ones(2, 3, requires_grad=grad).transpose(0, 1)
    copy = copy_tensor(x)
    assert torch.equal(copy, x)
    assert copy.data_ptr() != x.data_ptr()
    assert (copy.requires_grad, copy.grad_fn, copy.stride()) == (False, None, x.stride())


# --- dtypes -------------------------------------------------------------------------------------------------------

#: Every dtype that this torch has, by the name that it prints.
DTYPES = {str(one).removeprefix("torch."): one for one in vars(torch).values() if isinstance(one, torch.dtype)}


def test_every_floating_and_complex_dtype_of_torch_can_be_asked_for_but_the_packed_one() -> None:
    wanted = {name for name, one in DTYPES.items() if one.is_floating_point or one.is_complex}
    assert len(wanted) > 10
    for name in wanted - {"float4_e2m1fn_x2"}:
        assert read_dtype("", DTYPES[name]) == read_dtype("", f"torch.{name}") == read_dtype("", name) == name


def test_no_other_dtype_of_torch_can() -> None:
    others = {name: one for name, one in DTYPES.items() if not (one.is_floating_point or one.is_complex)}
    assert {"int64", "uint8", "bool"} <= set(others)
    for name, one in others.items():
        for written in (name, one):
            with pytest.raises(CaptureError) as caught:
                read_dtype("dtype=THIS", written)
            assert str(caught.value).startswith(("dtype=THIS: write one of", "dtype=THIS: this dtype"))
            assert ("would truncate" in str(caught.value)) == name.startswith(("int", "uint", "bool"))


@pytest.mark.parametrize("name", ["half", "bfloat16", "cfloat", "cdouble", "chalf"])
def test_torchs_other_names_mean_the_dtypes_that_they_are(name: str) -> None:
    assert getattr(torch, read_dtype("", getattr(torch, name)) or "") is getattr(torch, name)


# --- devices ------------------------------------------------------------------------------------------------------


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A machine with two devices of a kind that torch knows by name alone."""
    machine = SimpleNamespace(is_available=lambda: True, device_count=lambda: 2)
    monkeypatch.setattr(torch, "maia", machine, raising=False)
    return machine


@pytest.mark.parametrize("name", ["cpu", "cpu:1", "meta", "maia", "maia:1"])
def test_a_device_of_torchs_is_one_as_itself_and_by_its_name(machine: Any, name: str) -> None:
    assert read_device("", torch.device(name)) == read_device("", name) == name


def test_a_device_that_torch_does_not_know_is_refused_with_what_torch_says_first() -> None:
    with pytest.raises(RuntimeError) as torchs:
        torch.device("gpu")
    with pytest.raises(CaptureError) as caught:
        read_device("device=THIS", "gpu")
    assert str(caught.value) == f"device=THIS: {str(torchs.value).splitlines()[0]}"
    assert caught.value.__suppress_context__


def test_a_kind_of_device_that_is_not_there_is_refused_with_what_to_write(machine: Any) -> None:
    machine.is_available = lambda: False
    for name in ("maia", "maia:0"):
        with pytest.raises(CaptureError) as caught:
            read_device("device=THIS", name)
        assert str(caught.value) == ('device=THIS: torch finds no maia device here: write device="cpu" or omit it')


def test_a_number_beyond_the_devices_that_are_there_is_refused_with_how_many_there_are(machine: Any) -> None:
    for name in ("maia:2", "maia:10"):
        with pytest.raises(CaptureError, match=r"^device=THIS: torch finds 2 maia devices, numbered from 0$"):
            read_device("device=THIS", name)


def test_of_a_kind_that_does_not_count_its_devices_there_is_one(machine: Any) -> None:
    del machine.device_count
    assert read_device("", "maia") == "maia"
    assert read_device("", "maia:0") == "maia:0"
    with pytest.raises(CaptureError, match="torch finds 1 maia device,"):
        read_device("", "maia:1")


@pytest.mark.parametrize("home", [None, SimpleNamespace(), SimpleNamespace(is_available=True)], ids=str)
def test_a_kind_that_cannot_be_asked_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch, home: Any) -> None:
    if home is not None:
        monkeypatch.setattr(torch, "maia", home, raising=False)
    assert read_device("", "maia:7") == "maia:7"


def test_what_torch_prints_and_is_no_device_is_refused() -> None:
    for value in (torch.float16, torch.Size([1]), torch.ones(1)):
        with pytest.raises(CaptureError, match="write device="):
            read_device("", value)


# --- values that were not copied ----------------------------------------------------------------------------------


def test_a_tensor_that_was_not_copied_is_read_and_held_as_itself() -> None:
    x = torch.ones(2)
    shared = Shared(x)
    assert shared.read() is shared.held is read(shared) is held(shared) is x


def test_a_tensor_that_has_changed_before_it_was_shared_can_be_read() -> None:
    x = torch.ones(2).add_(1)
    assert Shared(x).read() is x


@pytest.mark.parametrize(("changes", "words"), [(1, "once"), (2, "2 times"), (3, "3 times")])
def test_a_shared_tensor_that_has_changed_says_so_with_its_shape_and_how_often(changes: int, words: str) -> None:
    x = torch.ones(2, 3).add_(1).add_(1)
    shared = Shared(x)
    for _ in range(changes):
        x.add_(1)
    with pytest.raises(CaptureError) as caught:
        read(shared)
    message = str(caught.value)
    assert f"of shape (2, 3) was captured with copy=False and modified in place {words} since" in message
    assert message.endswith("remove copy=False")
    assert held(shared) is x


def test_an_inference_tensor_counts_no_changes_and_is_read_as_it_is() -> None:
    with torch.inference_mode():
        x = torch.ones(2)
        shared = Shared(x)
        x.add_(1)
    assert shared.read() is x


def test_what_was_sent_and_read_uses_no_more_pinned_memory_than_before() -> None:
    before = transfer._used
    sent = transfer.Transfer(torch.ones(2), SimpleNamespace(synchronize=lambda: None))
    transfer._under_way.append(weakref.ref(sent))
    assert transfer._used == before + 8
    assert read(sent).tolist() == [1, 1]
    assert transfer._used == before


def test_what_does_not_stand_for_another_value_is_read_and_held_as_itself() -> None:
    for value in (None, 1, [1], torch.ones(1), Shared):
        assert read(value) is value
        assert held(value) is value


def test_a_stand_in_has_no_place_for_anything_but_its_value() -> None:
    with pytest.raises(AttributeError):
        Shared(torch.ones(1)).note = "a record of a million of them is a list of slots"  # type: ignore[attr-defined]
    with pytest.raises(NotImplementedError):
        Deferred().read()
    with pytest.raises(NotImplementedError):
        held(Deferred())


class Halves(torch.Tensor):
    """A tensor that holds no data and is made of two that do, as those of other libraries are."""

    @staticmethod
    def __new__(cls, first: Any, second: Any) -> Any:
        return torch.Tensor._make_wrapper_subclass(cls, (len(first) + len(second),), dtype=first.dtype)

    def __init__(self, first: Any, second: Any) -> None:
        self.first, self.second = first, second

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["first", "second"], None

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        raise NotImplementedError


def test_a_tensor_that_is_made_of_others_weighs_what_they_do() -> None:
    one, two, three = torch.zeros(10), torch.zeros(20), torch.zeros(30)
    nested = Halves(Halves(one, two), three)  # type: ignore[no-untyped-call]
    assert [part is expected for part, expected in zip(parts_of(nested), (one, two, three), strict=True)] == [True] * 3
    assert whole_size(nested) == 4 * 60
    scale = Scale()
    scale.put(two[5:])  # a part of a storage keeps it whole, and each counts once
    assert scale.bytes == {"cpu": 80}
    scale.put(nested)
    scale.put(one)
    assert scale.bytes == {"cpu": 240}
