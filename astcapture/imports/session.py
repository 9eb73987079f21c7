"""Capturing that was switched on from outside the program: its hook, and the summary at exit."""

from __future__ import annotations

import atexit
import os
import sys
from typing import TYPE_CHECKING

from astcapture.errors import CaptureError
from astcapture.warn import tell, warn

if TYPE_CHECKING:
    from astcapture.imports.edit import Edit
    from astcapture.imports.hook import Hook

#: The process at which a captured run began; the processes that it starts inherit the variable.
FIRST_PROCESS = "ASTCAPTURE_FIRST_PROCESS"


class Session:
    """The state of this process.

    Attributes:
        hook: the hook, while it is installed; None where only edits are asked for.
        edits: the edits.
        process: the id of the process in which it was installed; in a fork, the id of the fork.
        told: the id of the process that has printed its summary.
        inherited: how many values a fork got from its parent.
        watching: whether forks are watched.
    """

    def __init__(self) -> None:
        self.hook: Hook | None = None
        self.edits: list[Edit] = []
        self.process: int | None = None
        self.told: int | None = None
        self.inherited = 0
        self.watching = False


session = Session()


def begin(hook: Hook | None, edits: list[Edit]) -> None:
    """Note that the hook and the edits are installed."""
    from astcapture.imports import report

    session.hook, session.edits, session.process = hook, edits, os.getpid()
    watch_forks()
    if os.environ.setdefault(FIRST_PROCESS, str(session.process)) != str(session.process) and hook is not None:
        # Trackers and tools that the program starts import none of its modules, and should not report that.
        report.forget(hook.targets)


def refuse_script(error: CaptureError, strict: bool) -> None:
    """Report a mistake that concerns the script itself. It runs without capturing; with `strict` it does not run.

    A script that another captured process started reports nothing: the targets were written for the first one.
    """
    if session.hook is None:
        warn(f"not captured: {error}")
    elif os.environ.get(FIRST_PROCESS) == str(os.getpid()):
        if strict:
            tell(f"astcapture: {error}; ASTCAPTURE_STRICT is set, so the program does not run")
            os._exit(1)
        tell(f"astcapture: {error}\nastcapture: the program runs without capturing")
        switch_off()


def switch_off() -> None:
    """Undo `switch_on`, without a summary."""
    from astcapture.imports import report

    if session.hook is not None or session.edits:
        atexit.unregister(print_summary)
        report.summary_follows = False
    if session.hook is not None:
        session.hook.uninstall()
        report.forget(session.hook.targets)
        session.hook = None
    while session.edits:
        session.edits.pop().discard()


def print_summary() -> None:
    """Print the summary of the run to standard error.

    The first process always prints, so that an empty run is visible. A process that it started prints its id and its
    summary only if it captured something: most are trackers and tools. A fork prints if it captured something after
    the fork. With a store, the first process prints one line that says where the values of all processes are.
    """
    if os.getpid() != session.process or session.told == session.process:
        return
    session.told = session.process
    if session.edits:
        for edit in session.edits:
            if _is_first() or edit.receipts:
                tell(f"astcapture: {edit.in_a_line()}")
    if session.hook is not None:
        _print_captured()


def _is_first() -> bool:
    return os.environ.get(FIRST_PROCESS) == str(session.process)


def _print_captured() -> None:
    from astcapture import cache
    from astcapture.imports.interrupted import stay_interrupted
    from astcapture.values.open_store import in_a_line
    from astcapture.values.screen import on_a_screen

    first = _is_first()
    line = in_a_line()
    if line is not None:
        if first:
            tell(f"astcapture: {line}")
    elif first:
        tell("\n".join(on_a_screen(cache.summary().splitlines(), "summary")))
    elif (count := _count()) > session.inherited:
        before = f", {session.inherited:,} of {count:,} values captured before its fork" if session.inherited else ""
        summary = on_a_screen(cache.summary().splitlines(), "summary")
        tell("\n".join([f"astcapture: process {session.process}{before}", *summary]))
    stay_interrupted()


def _count() -> int:
    from astcapture.values.cache import cache, drain

    drain()
    return len(cache.held.records)


def watch_forks() -> None:
    if not session.watching and hasattr(os, "register_at_fork"):
        session.watching = True
        os.register_at_fork(after_in_child=_after_fork)


def _after_fork() -> None:
    if session.hook is None and not session.edits:
        return
    from astcapture.imports import report

    session.process, session.inherited = os.getpid(), _count()
    if session.hook is not None:
        report.forget(session.hook.targets)
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        # Its children end with os._exit after running these finalizers; they clear the list when they start.
        util.register_after_fork(session, lambda _: util.Finalize(None, print_summary, exitpriority=0))
