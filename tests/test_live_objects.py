"""The live objects of a type are all found, and looking for them disturbs no thread."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from functools import partial
from operator import is_

import pytest

from astcapture.record.live import all_classes, live_functions, live_objects


class Kind:
    pass


class Derived(Kind):
    pass


def test_all_objects_of_the_types_that_are_accepted_are_found_and_none_is_kept():
    one, other = Kind(), Derived()
    assert live_objects(partial(is_, Kind)) == [one]
    found = live_objects(type.__subclasscheck__.__get__(Kind))
    assert {id(each) for each in found} == {id(one), id(other)}
    del found
    gone = weakref.ref(one)
    enabled = gc.isenabled()
    gc.disable()  # it is let go of at once, and not with the next collection
    try:
        del one
        assert gone() is None
    finally:
        if enabled:
            gc.enable()


def test_functions_and_classes_are_those_among_all_objects():
    class Named(type):
        def __subclasses__(cls):
            return [int]

    class Parent(metaclass=Named): ...

    class Child(Parent, Kind): ...

    def inner(): ...

    functions, every = live_functions(), gc.get_objects()
    assert any(one is inner for one in functions)
    assert {id(one) for one in functions} == {id(one) for one in every if type(one) is type(inner)}
    classes = all_classes()
    assert {Named, Parent, Child, Kind, object, type, int} <= set(classes)
    # Of those that are gone the collector still lists some.
    assert {id(one) for one in gc.get_objects() if issubclass(type(one), type)} <= {id(one) for one in classes}


@pytest.fixture
def changing_often():
    """Threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.slow
@pytest.mark.usefixtures("changing_often")
def test_a_tuple_that_another_thread_is_making_is_not_touched():
    errors: list[SystemError] = []
    done = threading.Event()

    def make() -> None:
        while not done.is_set():
            try:
                tuple(number for number in range(300))
            except SystemError as error:
                errors.append(error)

    threads = [threading.Thread(target=make) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(30):
        live_objects(partial(is_, Kind))
    done.set()
    for thread in threads:
        thread.join()
    assert errors == []
