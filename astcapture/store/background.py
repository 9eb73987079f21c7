"""A thread that works now and then: when it is asked to, and at least every second.

It is started below the `threading` module: the program's ``threading.enumerate()`` and ``active_count()``
are what they were, and at exit nobody waits for it who has not been told to.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import time
from collections.abc import Callable

#: Seconds after which work is done unasked: what a killed process loses. In long runs it is a hundredth of the
#: time that they have lasted, up to the second number, so that hours of seldom captures are no heap of tiny files.
PERIOD, LONGEST_PERIOD = 1.0, 10.0
#: Seconds between looks at whether there is enough to do.
_TICK = 0.05


class Background:
    """Runs `work` in a thread of its own.

    Args:
        work: what to do; is to catch its own errors.
        enough: whether there is so much to do that it should be done now; asked often.
    """

    def __init__(self, work: Callable[[], None], enough: Callable[[], bool]) -> None:
        self._work = work
        self._enough = enough
        self._bell = _thread.allocate_lock()
        self._bell.acquire()
        self._done: _thread.LockType | None = None
        self._number: int | None = None
        self._stopping = False
        self._since = time.monotonic()

    @property
    def running(self) -> bool:
        return self._done is not None

    @property
    def stopping(self) -> bool:
        """Whether `work` had better come to an end."""
        return self._stopping

    def start(self) -> None:
        """Start the thread, unless it runs."""
        if self._done is None:
            self._stopping = False
            done = _thread.allocate_lock()
            done.acquire()
            # Where no thread can be started (as the interpreter shuts down, or where there are too many), what is
            # recorded waits for the limit or the end.
            with contextlib.suppress(RuntimeError):
                _thread.start_new_thread(self._run, (done,))
                self._done = done

    def wake(self) -> None:
        """Have it work now."""
        with contextlib.suppress(RuntimeError):  # rung already
            self._bell.release()

    def stop(self) -> None:
        """Stop the thread and wait until it has; what it is writing, it finishes."""
        done = self._done
        if done is not None:
            self._stopping = True
            self.wake()
            done.acquire()
            _wait_until_gone(self._number)
            self._done = None

    def forget(self) -> None:
        """In a child made by a fork the thread does not run: be as new."""
        self.__init__(self._work, self._enough)  # type: ignore[misc]

    def _run(self, done: _thread.LockType) -> None:
        try:
            self._number = getattr(_thread, "get_native_id", lambda: None)()
            while not self._stopping:
                if self._wait():
                    self._work()
        finally:
            done.release()

    def _wait(self) -> bool:
        """Until there is something to do, or nothing more."""
        waited, period = 0.0, min(max(PERIOD, (time.monotonic() - self._since) / 100), LONGEST_PERIOD)
        while waited < period and not self._stopping:
            if self._bell.acquire(timeout=_TICK):
                break
            waited += _TICK
            if self._enough():
                break
        return not self._stopping


def _wait_until_gone(number: int | None) -> None:
    """Wait, a second at most, until the system counts a thread no more that has nothing left to do.

    A fork warns of threads by that count.
    """
    deadline = time.monotonic() + 1
    while number is not None and os.path.exists(f"/proc/self/task/{number}") and time.monotonic() < deadline:
        time.sleep(0.0005)
