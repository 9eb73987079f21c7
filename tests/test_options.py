"""How values are to be taken, as the user says it: what is accepted, what is refused and with which words."""

from __future__ import annotations

import importlib

import numpy
import pytest

import astcapture
from astcapture.errors import CaptureError
from astcapture.record.options import PLAIN, Conversion, read_conversions
from astcapture.targets.environment import read_environment


def test_without_a_word_values_are_copied_and_nothing_else():
    assert read_conversions().of("m", "f", "x") == PLAIN == Conversion(True, None, None, None, False)
    assert read_conversions().plain


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("float16", "float16"),
        ("torch.bfloat16", "bfloat16"),
        ("half", "float16"),
        ("f4", "float32"),
        (" float64 ", "float64"),
        ("float8_e4m3fn", "float8_e4m3fn"),
        ("complex64", "complex64"),
        (numpy.float16, "float16"),
        (numpy.dtype("f8"), "float64"),
        (float, "float64"),
        (complex, "complex128"),
        (None, None),
    ],
)
def test_a_dtype_is_a_name_or_one_of_numpys(written, name):
    assert read_conversions(dtype=written).of("m", "f", "x").dtype == name


@pytest.mark.parametrize(
    ("option", "written", "message"),
    [
        ("dtype", "int8", "dtype='int8': this dtype would truncate floating-point values: write a floating dtype, or"),
        ("dtype", numpy.uint8, "dtype=<class 'numpy.uint8'>: this dtype would truncate floating-point values"),
        ("dtype", "float", "dtype='float': 'float' means different dtypes in torch and numpy: write \"float32\""),
        ("dtype", "floot16", "dtype='floot16': write one of float16, bfloat16, float32, float64, a torch dtype or a"),
        ("dtype", 16, "dtype=16: write one of float16"),
        ("device", 0, 'device=0: write device="cpu", device="cuda:0" or a torch.device'),
        ("device", "GPU 1", "device='GPU 1': write device=\"cpu\""),
        ("copy", 1, "copy=1: write copy=True or copy=False"),
        ("copy", {"m:f=y": 1}, "copy={'m:f=y': 1}: write copy=True or copy=False"),
        ("grad", "yes", "grad='yes': write grad=True or grad=False"),
        ("reduce", 3, "reduce=3: write a function of the value, reduce=lambda attn: attn.mean(1), or its name"),
        ("reduce", "mean", "reduce='mean': write a function of the value"),
        ("reduce", {"attn": "m:"}, "reduce={'attn': 'm:'}: write a function of the value"),
        ("dtype", {3: "float16"}, "dtype={3: 'float16'}: a pattern is a string"),
        ("dtype", {" ": "float16"}, "dtype={' ': 'float16'}: a pattern is a string"),
        ("grad", {"@hf-attention": True}, "grad={'@hf-attention': True}: a pattern names functions or labels, not a"),
        ("grad", {"attn": 2}, "grad={'attn': 2}: write grad=True or grad=False"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_the_users_own_words(option, written, message):
    with pytest.raises(CaptureError) as caught:
        astcapture.install(["never_imported"], **{option: written})
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("written", [0, -1, True, 1.5, "2XB", "1e3", "", [], "-1GB"])
def test_a_limit_that_is_no_size_is_quoted(written):
    with pytest.raises(CaptureError) as caught:
        astcapture.install(["never_imported"], limit=written)
    assert str(caught.value) == (
        f'limit={written!r}: write a number of bytes above 0, "2GB", "512MiB", "auto", or None for no limit'
    )


def test_a_refused_option_leaves_nothing_installed(fresh_imports):
    from astcapture.imports.hook import finder

    with pytest.raises(CaptureError):
        astcapture.install(["never_imported"], dtype="int8")
    assert not finder.by_hook


def test_of_several_patterns_the_first_that_matches_holds():
    dtype = {"m:Attention.forward=attn": "float16", "*:Attention.forward": "bfloat16", "q*": "float64"}
    conversions = read_conversions(dtype=dtype)
    asked = [
        ("m", "Attention.forward", "attn"),
        ("n", "Attention.forward", "attn"),
        ("m", "f", "query"),
        ("m", "f", "k"),
    ]
    assert [conversions.of(*one).dtype for one in asked] == ["float16", "bfloat16", "float64", None]


def test_each_option_has_patterns_of_its_own():
    how = read_conversions(dtype={"a": "float16"}, copy={"b": False}, grad=True).of("m", "f", "b")
    assert how == Conversion(False, None, None, None, True)


def test_a_file_says_all_that_install_takes(tmp_path):
    path = tmp_path / "capture.toml"
    path.write_text(
        'targets = ["m"]\ncopy = false\ngrad = true\nreduce = "m:mean"\n[dtype]\n"m:f=x" = "float16"\n"*" = "float32"\n'
    )
    settings = read_environment({"ASTCAPTURE_CONFIG": str(path), "ASTCAPTURE_DEVICE": "cpu"})
    conversions = read_conversions(**settings.options)
    assert [conversions.of("m", "f", label).dtype for label in "xy"] == ["float16", "float32"]
    how = conversions.of("m", "f", "x")
    assert (how.copy, how.grad, how.device) == (False, True, "cpu")


def test_a_wrong_setting_in_a_table_of_a_file_is_named_with_its_pattern(tmp_path):
    path = tmp_path / "capture.toml"
    path.write_text('[grad]\n"m:f" = "yes"\n')
    with pytest.raises(CaptureError) as caught:
        read_environment({"ASTCAPTURE_CONFIG": str(path)})
    assert str(caught.value) == f"{path}: grad: 'm:f' is 'yes': write true or false"


SOURCE = {
    "taken.py": """
        import numpy

        def f(x):
            y = x * 1
            return y

        def g(x):
            y = x * 1
            z = x * 2
            return y
    """
}


@pytest.fixture
def taken(make_package, fresh_imports):
    make_package(SOURCE)
    return lambda: importlib.import_module("taken")


@pytest.mark.usefixtures("fresh_imports")
def test_arrays_are_converted_and_whole_numbers_stay(taken):
    with astcapture.install(["taken:f=y"], dtype="float32"):
        for array in (
            numpy.ones(2),
            numpy.ones(2, "i8"),
            numpy.ones(2, "c16"),
            numpy.ones(2, "f4"),
            numpy.ones(2, "?"),
        ):
            taken().f(array)
    names = [value.dtype.name for value in astcapture.cache["taken:f"]]
    assert names == ["float32", "int64", "complex128", "float32", "int64"]


def test_an_array_stays_where_numpy_has_no_such_dtype(taken):
    with astcapture.install(["taken:f=y"], dtype="bfloat16"):
        y = taken().f(numpy.ones(2))
    y[:] = 5
    assert astcapture.cache["taken:f"][0].tolist() == [1, 1]
    assert astcapture.cache["taken:f"][0].dtype == numpy.float64


def test_an_array_that_is_not_copied_is_the_programs_own(taken):
    with astcapture.install(["taken:f=y"], copy=False):
        y = taken().f(numpy.ones(2))
    assert astcapture.cache["taken:f"][0] is y


def test_reduce_is_given_an_array_of_its_own(taken):
    def spoil(array):
        array += 10
        return array

    with astcapture.install(["taken:f=y"], reduce=spoil):
        assert taken().f(numpy.ones(2)).tolist() == [1, 1]
    assert astcapture.cache["taken:f"][0].tolist() == [11, 11]


def test_reduce_cannot_write_to_an_array_that_is_not_copied(taken):
    with astcapture.install(["taken:f=y"], reduce=lambda array: array.__iadd__(1), copy=False):
        y = taken().f(numpy.ones(2))
    assert y.tolist() == [1, 1]
    assert y.flags.writeable
    assert len(astcapture.cache["taken:f"]) == 0
    assert astcapture.cache.counts["taken:f", "y"].error == "ValueError: output array is read-only"


def test_reduce_is_applied_to_values_of_every_kind(taken):
    with astcapture.install(["taken:f=y"], reduce=lambda value: {"twice": value * 2}):
        taken().f(4)
        taken().f("ab")
    assert list(astcapture.cache["taken:f"]) == [{"twice": 8}, {"twice": "abab"}]


def test_a_reduce_that_raises_is_counted_and_never_reaches_the_program(taken):
    def fail(value):
        raise LookupError("no such head")

    with astcapture.install(["taken:f=y"], reduce=fail):
        assert taken().f(3) == 3
    assert len(astcapture.cache["taken:f"]) == 0
    assert "'y' failed once; the first time with LookupError: no such head" in astcapture.cache.summary()


def test_a_reduce_by_name_is_imported_when_the_first_value_comes(taken, make_package):
    make_package({"reducing.py": "def double(value):\n    return value * 2\n"})
    import sys

    with astcapture.install(["taken:f=y"], reduce="reducing:double"):
        assert "reducing" not in sys.modules
        taken().f(3)
    assert list(astcapture.cache["taken:f"]) == [6]
    del sys.modules["reducing"]


def test_a_reduce_by_a_name_that_is_not_there_is_counted(taken):
    with astcapture.install(["taken:f=y"], reduce="no_such_module:double"):
        assert taken().f(3) == 3
    assert len(astcapture.cache["taken:f"]) == 0
    assert astcapture.cache.counts["taken:f", "y"].error == "ModuleNotFoundError: No module named 'no_such_module'"


def test_targets_of_one_hook_differ_by_their_patterns(taken):
    with astcapture.install(
        ["taken:f=y", "taken:g=y,z"], reduce={"taken:g=z": lambda v: -v, "taken:f": lambda v: v + 100}
    ):
        taken().f(1)
        taken().g(1)
    assert list(astcapture.cache["taken:f"]) == [101]
    assert {record.label: record.value for record in astcapture.cache["taken:g"].records} == {"y": 1, "z": -2}


def test_two_hooks_each_decide_for_their_own_functions(taken):
    with (
        astcapture.install(["taken:f=y"], reduce=lambda v: v + 10),
        astcapture.install(["taken:g=y"]),
    ):
        taken().f(1)
        taken().g(1)
    assert (list(astcapture.cache["taken:f"]), list(astcapture.cache["taken:g"])) == ([11], [1])


def test_of_two_hooks_on_one_function_the_newer_decides_until_it_is_uninstalled(taken):
    with astcapture.install(["taken:f=y"], reduce=lambda v: v + 10):
        with astcapture.install(["taken:f=y"], reduce=lambda v: v + 20):
            taken().f(1)
        taken().f(1)
    assert list(astcapture.cache["taken:f"]) == [21, 11]


def test_of_two_hooks_the_one_that_names_the_label_goes_before_one_that_names_the_module(taken):
    with (
        astcapture.install(["taken:f=y"], reduce=lambda v: v + 10),
        astcapture.install(["taken"], reduce=lambda v: v + 20),
    ):
        taken().f(1)
    assert list(astcapture.cache["taken:f"]) == [11]


def test_options_of_the_environment_hold_for_an_unmodified_script(make_package, run_python):
    make_package({**SOURCE, "script.py": "import numpy, taken\ntaken.f(numpy.ones(3))\n"})
    environ = {"ASTCAPTURE": "taken:f=y", "ASTCAPTURE_DTYPE": "float16"}
    done = run_python("-m", "astcapture", "run", "script.py", env=environ)
    assert "float16" in done.stderr


def test_a_pattern_that_means_nothing_is_told_at_exit(make_package, run_python):
    make_package(SOURCE)
    done = run_python(
        """
        import astcapture
        astcapture.install(["taken:f=y"], dtype={"taken:f=y": "float16", "atn": "float32", "*": None})
        import taken
        taken.f(1)
        """
    )
    assert "dtype={'atn': ...} matched nothing that was captured" in done.stderr
    assert "taken:f=y" not in done.stderr
