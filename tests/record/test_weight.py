"""What a value weighs: arrays and the interpreter's own objects."""

from __future__ import annotations

import sys

import numpy
import pytest

from astcapture.record.weight import Scale, rough_size, size_of, whole_size


def test_an_array_weighs_its_bytes_and_a_view_of_it_nothing_more() -> None:
    array = numpy.zeros((10, 10))
    scale = Scale()
    scale.put(array)
    assert scale.bytes == {"cpu": 800}
    for view in (array, array[2:5], array.T, array[1:][1:]):
        scale.put(view)
    assert scale.bytes == {"cpu": 800}
    scale.put(numpy.zeros(5))
    assert scale.bytes == {"cpu": 840}


def test_a_view_that_is_kept_alone_weighs_what_it_keeps_alive() -> None:
    assert whole_size(numpy.zeros(1000)[:2]) == 8000
    assert rough_size(numpy.zeros(1000)[:2]) == 16


def test_a_view_of_bytes_weighs_no_less_than_itself() -> None:
    view = numpy.frombuffer(b"x" * 4000, dtype="u1")
    assert whole_size(view) == max(4000, sys.getsizeof(view.base))


def test_an_array_that_is_repeated_weighs_what_it_would_take_written_out() -> None:
    assert whole_size(numpy.broadcast_to(numpy.zeros(1), (100,))) == 800


@pytest.mark.parametrize(
    "value", [10**100, "a" * 1000, b"b" * 100, 1.5, True], ids=["int", "str", "bytes", "float", "bool"]
)
def test_an_object_of_the_interpreters_own_weighs_what_the_interpreter_says(value: object) -> None:
    assert size_of(value) == rough_size(value) == sys.getsizeof(value)


def test_a_text_weighs_its_size_once_and_each_number_as_much_as_any() -> None:
    scale = Scale()
    text = "a" * 1000
    for value in (text, text, 1, 1, 2.5, None):
        scale.put(value)
    assert scale.bytes == {"cpu": sys.getsizeof(text) + 4 * 64}


def test_an_object_of_another_class_is_not_asked_for_its_size() -> None:
    class Asked:
        def __sizeof__(self) -> int:
            raise AssertionError

        @property
        def nbytes(self) -> int:
            raise AssertionError

    assert rough_size(Asked()) == whole_size(Asked()) == 64
