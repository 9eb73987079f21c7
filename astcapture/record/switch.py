"""Whether recording is on: while a hook is installed and recording is not paused."""

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
    """The result of `pause`. Used in a ``with`` statement, it resumes recording at the end of the block."""

    def __init__(self) -> None:
        self._scope = scope.enter(paused=True)

    def __enter__(self) -> Paused:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        scope.leave(self._scope)


def pause() -> Paused:
    """Pause recording until `resume` is called, or until the end of the ``with`` block.

    Several calls need as many calls of `resume`. The pause applies to the thread or task that calls it, to what that
    task awaits, and to threads started during the pause. Other threads continue recording.

    >>> with pause():
    ...     pass  # nothing that runs here is recorded
    """
    return Paused()


def resume() -> None:
    """Undo the last `pause` of this thread or task. Without one, do nothing."""
    paused = scope.innermost_pause()
    if paused is not None:
        scope.leave(paused)
