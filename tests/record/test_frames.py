"""What rewritten code does with its own frame: nothing that it asked for keeps a value of the function alive."""

from __future__ import annotations

import sys
import threading
import weakref
from typing import Any

import pytest

from astcapture.record.frames import forget, hold, release


class Value:
    pass


def test_a_value_goes_when_the_function_drops_it_though_its_locals_were_asked_for() -> None:
    value = Value()
    gone = weakref.ref(value)
    result = forget(7, locals())  # an assertion would have the dict too
    del value
    assert (result, gone()) == (7, None)


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="locals() is a copy from Python 3.13 on")
def test_locals_that_somebody_else_has_are_left_alone() -> None:
    value = Value()
    names = locals()
    forget(None, locals())
    assert names["value"] is value


def test_return_values_that_wait_are_given_back_last_in_first_out_to_each_thread_its_own() -> None:
    found: list[Any] = []

    def run() -> None:
        hold(3)
        found.append(release())

    hold(1)
    hold(2)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert (found, release(), release()) == ([3], 2, 1)
