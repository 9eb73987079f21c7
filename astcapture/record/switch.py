"""Whether recording is on: while a hook is installed and nobody has paused it."""

from __future__ import annotations

from types import TracebackType

from astcapture.record import recorder

_installed = 0
_paused = 0


def installed(change: int) -> None:
    """Count hooks: +1 on install, -1 on uninstall."""
    global _installed
    _installed += change
    _apply()


def _apply() -> None:
    recorder.switch(_installed > 0 and _paused == 0)


class Paused:
    """What `pause` returns: leaving it as a context resumes."""

    def __enter__(self) -> Paused:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        resume()


def pause() -> Paused:
    """Stop recording, in every thread, until `resume` is called as often, or the ``with`` block ends.

    >>> with pause():
    ...     pass  # nothing that runs here is recorded
    """
    global _paused
    _paused += 1
    _apply()
    return Paused()


def resume() -> None:
    """Undo one `pause`; without one, do nothing."""
    global _paused
    _paused = max(0, _paused - 1)
    _apply()
