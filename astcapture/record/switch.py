"""Whether recording is on: while a hook is installed, and where nobody has paused it."""

from __future__ import annotations

from types import TracebackType

from astcapture.record import recording, scope

_installed = 0


def installed(change: int) -> None:
    """Count hooks: +1 on install, -1 on uninstall."""
    global _installed
    _installed += change
    recording.switch(_installed > 0)


class Paused:
    """What `pause` returns: leaving it as a context resumes."""

    def __init__(self) -> None:
        self._scope = scope.enter(paused=True)

    def __enter__(self) -> Paused:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        scope.leave(self._scope)


def pause() -> Paused:
    """Stop recording until `resume` is called as often, or the ``with`` block ends.

    It holds for the thread or task that calls it, for what that awaits, and for threads that are started meanwhile;
    others go on recording.

    >>> with pause():
    ...     pass  # nothing that runs here is recorded
    """
    return Paused()


def resume() -> None:
    """Undo one `pause` of this thread or task; without one, do nothing."""
    paused = scope.innermost_pause()
    if paused is not None:
        scope.leave(paused)
