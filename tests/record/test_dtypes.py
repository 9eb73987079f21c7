"""The dtypes that can be asked for, by name and without torch; those of torch itself are in tests/torch."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy
import pytest

from astcapture.errors import CaptureError
from astcapture.record.torch.dtypes import read_dtype

#: By their bits, as IEEE 754 and the formats of machine learning are named.
NAMES = [
    "float16", "bfloat16", "float32", "float64", "complex32", "complex64", "complex128",
    "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)


def refusal(value: Any) -> str:
    with pytest.raises(CaptureError) as caught:
        read_dtype("dtype=THIS", value)
    return str(caught.value)


def test_no_dtype_is_none() -> None:
    assert read_dtype("dtype=None", None) is None


@pytest.mark.parametrize("name", NAMES)
def test_a_name_means_the_same_with_the_library_before_it(name: str) -> None:
    for written in (name, f"torch.{name}", f"numpy.{name}", f"np.{name}", f"  {name}\n"):
        assert read_dtype("", written) == name


@pytest.mark.parametrize("name", ["float16", "float32", "float64", "complex64", "complex128"])
def test_a_dtype_of_numpys_is_one_as_a_class_an_instance_and_a_code(name: str) -> None:
    dtype = numpy.dtype(name)
    for written in (dtype, dtype.type, dtype.str[1:]):
        assert read_dtype("", written) == name


@pytest.mark.parametrize(
    ("written", "name"),
    [("half", "float16"), ("fp16", "float16"), ("bf16", "bfloat16"), ("fp32", "float32"), ("fp64", "float64")],
)
def test_short_names_are_known(written: str, name: str) -> None:
    assert read_dtype("", written) == read_dtype("", f"torch.{written}") == name


@pytest.mark.parametrize("kind", [float, complex])
def test_pythons_own_classes_mean_what_numpy_reads_them_as(kind: type) -> None:
    assert read_dtype("", kind) == numpy.dtype(kind).name


@pytest.mark.parametrize("name", ["float", "double", "complex", "torch.float", "torch.double", "numpy.double"])
def test_names_that_the_libraries_read_differently_are_refused_with_ones_that_they_read_alike(name: str) -> None:
    message = refusal(name)
    assert message.startswith(f"dtype=THIS: {name.rpartition('.')[2]!r} means different dtypes in torch and numpy")
    assert message.endswith('write "float32" or "float64"')


@pytest.mark.parametrize(
    "value", ["int8", "int", "uint8", "torch.int64", "bool", bool, int, numpy.int32, numpy.dtype("u2")]
)
def test_whole_numbers_are_refused_with_a_way_to_make_them_oneself(value: Any) -> None:
    message = refusal(value)
    assert message.startswith("dtype=THIS: this dtype would truncate floating-point values: write a floating dtype")
    assert message.endswith("reduce=lambda attn: (attn * 255).byte()")


@pytest.mark.parametrize(
    "value",
    [
        "", "floot16", "float 16", "Float16", "float128", "16float", "torch", "numpy.torch.float16", "float16torch.",
        "float16.np.", 16, 1.0, True, [], object(), str, SimpleNamespace(name=16), SimpleNamespace(name=None),
        SimpleNamespace(name="datetime64"), numpy.dtype("M8"), numpy.str_,
    ],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_anything_else_is_refused_with_the_most_common_names(value: Any) -> None:
    assert refusal(value) == (
        "dtype=THIS: write one of float16, bfloat16, float32, float64, a torch dtype or a numpy dtype"
    )


def test_a_dtype_that_the_imported_torch_does_not_have_is_refused_with_its_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = ModuleType("torch")  # stands in for one from before these formats
    old.__version__, old.float16 = "2.0.1", object()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", old)
    assert refusal("float8_e8m0fnu") == "dtype=THIS: torch 2.0.1 has no such dtype"
    assert read_dtype("", "half") == "float16"


def test_a_torch_that_is_still_being_imported_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    assert read_dtype("", "float8_e8m0fnu") == "float8_e8m0fnu"
