"""How capturing is switched on from outside the program: by the environment, before its first line runs.

The start-up file ``astcapture.pth`` calls `activate` in every interpreter that has ``ASTCAPTURE`` or
``ASTCAPTURE_CONFIG`` set and does not ignore its environment (``-E``, ``-I``); the launcher calls `switch_on`.
"""

from __future__ import annotations

import atexit
import os
import sys
from typing import TYPE_CHECKING

from astcapture.errors import CaptureError
from astcapture.warn import tell

if TYPE_CHECKING:
    from astcapture.imports.hook import Hook

#: The process at which a captured run began; the processes that it starts inherit the variable.
FIRST_PROCESS = "ASTCAPTURE_FIRST_PROCESS"

_activated = False
_hook: Hook | None = None
_process: int | None = None
#: The process that has printed its summary; and how many values a fork holds from before it.
_told: int | None = None
_inherited = 0
_watching = False


def activate() -> None:
    """Switch capturing on as the environment says, once; a second call does nothing.

    A mistake in the environment is told in one line on standard error, and the program goes on
    uncaptured: a typing error must not stop every Python on the machine. With
    ``ASTCAPTURE_STRICT`` the interpreter ends there with status 1.
    """
    global _activated
    if _activated or sys.flags.ignore_environment:
        return
    _activated = True  # the lines of a start-up file run twice in a plain virtual environment
    if not (os.environ.get("ASTCAPTURE") or os.environ.get("ASTCAPTURE_CONFIG")):
        return
    try:
        switch_on()
    except CaptureError as error:
        if _strict():
            tell(f"astcapture: {error}; ASTCAPTURE_STRICT is set, so the program is not run")
            os._exit(1)  # While site is being imported, SystemExit would be reported as a crash of the interpreter.
        tell(f"astcapture: {error}\nastcapture: the program runs uncaptured")


def refuse_script(error: CaptureError, strict: bool) -> None:
    """Tell of a mistake that the script itself shows; it runs uncaptured, or not at all where strict.

    A script that another captured process started says nothing: the targets were made for the first one.
    """
    if _hook is None:
        from astcapture.warn import warn

        warn(f"not captured: {error}")
    elif os.environ.get(FIRST_PROCESS) == str(os.getpid()):
        if strict:
            tell(f"astcapture: {error}; ASTCAPTURE_STRICT is set, so the program is not run")
            os._exit(1)
        tell(f"astcapture: {error}\nastcapture: the program runs uncaptured")
        switch_off()


def switch_on() -> Hook:
    """Install a hook as the environment says, in place of the one that `activate` may have installed.

    At exit the summary is printed to standard error, or where the store is, see `_print_summary`.

    Raises:
        CaptureError: the environment asks for something that cannot be captured.
    """
    global _hook, _process
    from astcapture.imports import report
    from astcapture.imports.hook import install
    from astcapture.targets.environment import read_environment

    settings = read_environment(os.environ)
    switch_off()
    # Registered before the hook's own, and so run after it: the summary comes last.
    atexit.register(_print_summary)
    report.summary_follows = settings.store is None
    try:
        _hook = install()
    except BaseException:
        atexit.unregister(_print_summary)
        report.summary_follows = False
        raise
    _process = os.getpid()
    _watch_forks()
    if os.environ.setdefault(FIRST_PROCESS, str(_process)) != str(_process):
        # Trackers and tools that the program starts import none of its modules, and need not say so.
        report.forget(_hook.targets)
    return _hook


def switch_off() -> None:
    """Undo `switch_on`, as if nothing had been asked for."""
    global _hook
    from astcapture.imports import report

    if _hook is not None:
        atexit.unregister(_print_summary)
        report.summary_follows = False
        _hook.uninstall()
        report.forget(_hook.targets)
        _hook = None


def _print_summary() -> None:
    """Leave a trace of the run on standard error.

    The process that the run began with prints always, so that an empty run is seen to be empty. A
    process that it started prints only what was captured there, under its number: most of them are
    trackers and tools that have nothing to tell. A fork prints if it captured anything since. With a
    store, the first process says in one line where the values of all of them are.
    """
    global _told
    if os.getpid() != _process or _told == _process:
        return
    _told = _process
    from astcapture import cache
    from astcapture.imports.report import stay_interrupted
    from astcapture.values.screen import on_a_screen
    from astcapture.values.streaming import in_a_line

    first = os.environ.get(FIRST_PROCESS) == str(_process)
    line = in_a_line()
    if line is not None:
        if first:
            tell(f"astcapture: {line}")
    elif first:
        tell("\n".join(on_a_screen(cache.summary().splitlines(), "summary")))
    elif (count := _count()) > _inherited:
        before = f", {_inherited:,} of {count:,} values from before its fork" if _inherited else ""
        summary = on_a_screen(cache.summary().splitlines(), "summary")
        tell("\n".join([f"astcapture: process {_process}{before}", *summary]))
    stay_interrupted()


def _count() -> int:
    from astcapture.values.cache import cache, drain

    drain()
    return len(cache._records)


def _watch_forks() -> None:
    global _watching
    if not _watching and hasattr(os, "register_at_fork"):
        _watching = True
        os.register_at_fork(after_in_child=_after_fork)


def _after_fork() -> None:
    global _process, _inherited
    if _hook is None:
        return
    from astcapture.imports import report

    _process, _inherited = os.getpid(), _count()
    report.forget(_hook.targets)
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        # Its children leave by os._exit, and run this first; what is registered now, they forget as they start.
        util.register_after_fork(_hook, lambda _: util.Finalize(None, _print_summary, exitpriority=0))


def _strict() -> bool:
    from astcapture.targets.environment import read_environment

    try:
        return read_environment(os.environ).strict
    except CaptureError:
        return False
