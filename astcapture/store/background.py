"""A background thread that works on request, and at least every second.

It is started with `_thread`, so the program's ``threading.enumerate()`` and ``active_count()`` do not show it, and the
interpreter does not wait for it at exit.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import time
from collections.abc import Callable

#: Seconds between rounds of work without a request; a killed process loses this much. In long runs it grows to 1 % of
#: the run time, up to the second number, so that rare captures over hours do not leave thousands of tiny files.
PERIOD, LONGEST_PERIOD = 1.0, 10.0
#: Seconds between checks whether there is enough to do.
_TICK = 0.05


class Background:
    """Runs `work` in a separate thread.

    Args:
        work: the function to run; it must catch its own errors.
        enough: returns whether there is enough to do now; called often.
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
        """Whether `work` should finish soon."""
        return self._stopping

    def start(self) -> None:
        """Start the thread if it is not running."""
        if self._done is None:
            self._stopping = False
            done = _thread.allocate_lock()
            done.acquire()
            # If no thread can be started (at interpreter shutdown, or with too many threads), records wait until the
            # limit is reached or the program ends.
            with contextlib.suppress(RuntimeError):
                _thread.start_new_thread(self._run, (done,))
                self._done = done

    def wake(self) -> None:
        """Make it work now."""
        with contextlib.suppress(RuntimeError):  # already requested
            self._bell.release()

    def stop(self) -> None:
        """Stop the thread after its current write, and wait for it."""
        done = self._done
        if done is not None:
            self._stopping = True
            self.wake()
            done.acquire()
            _wait_until_gone(self._number)
            self._done = None

    def forget(self) -> None:
        """Reset the state in a forked child, where the thread does not run."""
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
        """Wait until there is something to do; False if the thread should stop."""
        waited, period = 0.0, min(max(PERIOD, (time.monotonic() - self._since) / 100), LONGEST_PERIOD)
        while waited < period and not self._stopping:
            if self._bell.acquire(timeout=_TICK):
                break
            waited += _TICK
            if self._enough():
                break
        return not self._stopping


def _wait_until_gone(number: int | None) -> None:
    """Wait up to one second until the system no longer lists a finished thread.

    Python warns at a fork if the system lists other threads.
    """
    deadline = time.monotonic() + 1
    while number is not None and os.path.exists(f"/proc/self/task/{number}") and time.monotonic() < deadline:
        time.sleep(0.0005)
