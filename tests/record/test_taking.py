"""How one value is taken, what it will weigh, and what its options are, without torch."""

from __future__ import annotations

import sys
import threading
from dataclasses import FrozenInstanceError
from typing import Any

import numpy
import pytest

from astcapture.record.events import Declaration, Failed, Missed, declare, declared
from astcapture.record.frames import forget, hold, release
from astcapture.record.kinds import is_a
from astcapture.record.options import PLAIN, Conversion, Imported, Taken, matches, read_conversions
from astcapture.record.snapshot import BY_REFERENCE, is_array, snapshot
from astcapture.record.taking import WithGradient, expected_size, parts, settled, split, taken
from astcapture.record.weight import Scale, rough_size, size_of, whole_size


class Subclass(numpy.ndarray):
    pass


class Liar:
    """Says that it is an array."""

    @property
    def __class__(self) -> Any:
        raise AssertionError("asked for its class")


def test_arrays_are_copied_in_their_own_layout_and_class():
    array = numpy.asfortranarray(numpy.arange(6.0).reshape(2, 3)).view(Subclass)
    for copy in (snapshot(array), taken(array, PLAIN)):
        assert type(copy) is Subclass
        assert copy.flags.f_contiguous
        assert not numpy.shares_memory(copy, array)
        assert copy.tolist() == array.tolist()


def test_of_compiled_code_what_is_recorded_is_a_copy_already():
    array = numpy.zeros(3)
    assert taken(array, PLAIN, compiled=True) is array
    assert settled(array) is array


def test_everything_else_is_kept_as_it_is():
    for value in (1, "x", (1,), None, Ellipsis, object(), Liar()):
        assert (snapshot(value) is value) is (taken(value, PLAIN) is value) is True
        assert split(value) == (value, None)
        assert parts(value) == (value,)
        assert not is_array(value)


def test_types_of_the_interpreters_own_that_do_not_change_are_kept_by_reference():
    values = (None, True, 1, 1.0, 1j, "", b"", range(1), slice(1), int)
    assert {type(value) for value in (*values, Ellipsis, len, lambda: None)} == BY_REFERENCE


def test_arrays_are_known_by_their_type_while_numpy_is_imported(monkeypatch: pytest.MonkeyPatch):
    assert is_array(numpy.zeros(1).view(Subclass))
    assert is_a(numpy.zeros(1).view(Subclass), (int, numpy.ndarray))
    assert not is_a(Liar(), numpy.ndarray)
    monkeypatch.delitem(sys.modules, "numpy")
    assert not is_array(numpy.zeros(1))


def test_what_a_value_will_weigh_is_its_copy_or_what_it_keeps_alive():
    view = numpy.zeros(1000)[:1]
    assert expected_size(view, PLAIN) == 8
    assert expected_size(view, Conversion(copy=False)) == 8000
    assert expected_size(view, Conversion(dtype="float16")) == 8
    assert expected_size("x" * 100, PLAIN) == sys.getsizeof("x" * 100)


def test_one_thing_is_weighed_once_and_small_things_each_time():
    scale = Scale()
    assert dict(scale.bytes) == {"cpu": 0}
    text, array = "x" * 1000, numpy.zeros(1000)
    for value in (text, text, array, array[:1], 1, 1, None, object):
        scale.put(value)
    assert dict(scale.bytes) == {"cpu": sys.getsizeof(text) + 8000 + 3 * 64 + sys.getsizeof(object)}


def test_an_array_over_another_objects_memory_weighs_the_larger():
    assert whole_size(numpy.frombuffer(bytes(1000), "u1")[:10]) == sys.getsizeof(bytes(1000))
    part = memoryview(bytearray(1000))
    assert whole_size(numpy.frombuffer(part, "u1")) == 1000


def test_a_rough_size_is_that_of_the_value_alone():
    assert rough_size(numpy.zeros(1000)[:1]) == 8
    assert rough_size("x" * 100) == size_of("x" * 100) == sys.getsizeof("x" * 100)
    assert rough_size(object()) == size_of(object()) == 64


def test_a_value_with_a_gradient_takes_no_more_than_two_references():
    one = WithGradient(1, None)  # type: ignore[arg-type]
    assert not hasattr(one, "__dict__")
    with pytest.raises(FrozenInstanceError):
        one.value = 2  # type: ignore[misc]


def test_options_cannot_be_changed():
    for one, name in ((PLAIN, "copy"), (read_conversions(), "rules"), (Imported("m", "f"), "name")):
        with pytest.raises(FrozenInstanceError):
            setattr(one, name, None)


def test_a_function_is_imported_by_its_path_in_a_module():
    record = Taken("y", "m", "f", 1, None, None, {})
    assert Imported("builtins", "str.upper")("a", record) == "A"
    assert Imported("os.path", "basename")("a/b", record) == "b"
    # A function that must be given two is given what is known of the value.
    assert Imported("operator", "is_")(record, record) is True
    assert Imported("operator", "is_")(1, record) is False
    reduce = read_conversions(reduce="os.path:basename").of("m", "f", "y").reduce
    assert reduce == Imported("os.path", "basename")
    assert read_conversions(reduce="builtins:str.upper").of("m", "f", "y").reduce == Imported("builtins", "str.upper")


@pytest.mark.parametrize(
    ("pattern", "means"),
    [
        ("y", True),
        ("Y", False),
        ("?", True),
        ("m:C.f", True),
        ("m:*", True),
        ("m:C.f=y", True),
        ("m:C.f=*", True),
        ("*:*.f=[xy]", True),
        ("m:C.f=z", False),
        ("m:C", False),
        ("n:C.f", False),
        ("m=y", False),
        ("m", False),
        ("*", True),
    ],
)
def test_a_pattern_means_a_label_of_that_name_or_all_of_a_function(pattern: str, means: bool):
    assert matches(pattern, "m", "C.f", "y") == means


def test_what_fails_is_kept_as_text_and_what_is_missed_is_nothing():
    assert Failed(ValueError("no")).error == "ValueError: no"
    assert not vars(Missed())


def test_a_module_declares_itself_in_full(monkeypatch: pytest.MonkeyPatch):
    declared.append(Declaration("end", (), ()))
    declare("m", (("f", 1, ("y",)),), (("g", "y"),))
    declare("n", (), (), ("h",), ("k",))
    assert declared[-2:] == [
        Declaration("m", (("f", 1, ("y",)),), (("g", "y"),)),
        Declaration("n", (), (), fused=("h",), entering=("k",)),
    ]
    del declared[-3:]


def test_values_that_wait_come_back_last_in_first_out_in_each_thread():
    hold(1)
    hold(2)
    found: list[int] = []

    def other() -> None:
        hold(3)
        found.append(release())

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert (found, release(), release()) == ([3], 2, 1)


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="locals() is a copy from Python 3.13 on")
def test_the_dict_of_locals_is_emptied_unless_somebody_else_has_it():
    def alone() -> Any:
        value = object()
        forget(None, locals())
        return sys._getframe().f_locals

    def shared(keep: list[Any]) -> Any:
        value = 1
        keep.append(locals())
        return forget(value, locals())

    kept: list[Any] = []
    assert shared(kept) == 1
    assert kept[0]["value"] == 1
    assert set(alone()) == {"value"}  # it is made anew when it is asked for
