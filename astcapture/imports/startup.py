"""Switches capturing on from the environment, before the first line of the program runs.

The start-up file ``astcapture.pth`` calls `activate` in every interpreter that has ``ASTCAPTURE`` or
``ASTCAPTURE_CONFIG`` set and does not ignore its environment (``-E``, ``-I``); the launcher calls `switch_on`.
"""

from __future__ import annotations

import atexit
import os
import sys
from typing import TYPE_CHECKING

from astcapture.errors import CaptureError
from astcapture.imports import session
from astcapture.warn import tell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from astcapture.imports.edit import Edit
    from astcapture.imports.hook import Hook

#: The variables that switch it on; the start-up file asks for the same.
SWITCHES = ("ASTCAPTURE", "ASTCAPTURE_CONFIG", "ASTCAPTURE_EDIT")

_activated = False


def activate() -> None:
    """Switch capturing on as the environment says. A second call does nothing.

    A mistake in a variable prints one line to standard error, and the program runs without capturing: a typing error
    must not stop every Python on the machine. With ``ASTCAPTURE_STRICT`` the interpreter exits with status 1.
    """
    global _activated
    if _activated or sys.flags.ignore_environment:
        return
    _activated = True  # the lines of a start-up file run twice in a plain virtual environment
    if not any(map(os.environ.get, SWITCHES)):
        return
    try:
        switch_on()
    except CaptureError as error:
        if _strict():
            tell(f"astcapture: {error}; ASTCAPTURE_STRICT is set, so the program does not run")
            os._exit(1)  # While site is being imported, SystemExit would be reported as a crash of the interpreter.
        tell(f"astcapture: {error}\nastcapture: the program runs without capturing")


def switch_on() -> Hook | None:
    """Install a hook and edits as the environment says, in place of those that `activate` may have installed.

    At exit a summary is printed, or the location of the store; see `session.print_summary`.

    Raises:
        CaptureError: a variable contains a mistake.
    """
    from astcapture.imports import report
    from astcapture.imports.hook import install
    from astcapture.targets.environment import read_environment

    settings = read_environment(os.environ)
    session.switch_off()
    # Exit handlers run in reverse order, so this one runs after the hook's own: the summary comes last.
    atexit.register(session.print_summary)
    report.summary_follows = settings.store is None
    try:
        hook = install() if settings.targets or not settings.edits else None
        edits = _install_edits(settings.edits) if settings.edits else []
    except BaseException:
        atexit.unregister(session.print_summary)
        report.summary_follows = False
        raise
    session.begin(hook, edits)
    return hook


def _install_edits(texts: Sequence[str]) -> list[Edit]:
    from astcapture.imports.edits_of_environment import install_edits

    return install_edits(texts)


def _strict() -> bool:
    from astcapture.targets.environment import read_environment

    try:
        return read_environment(os.environ).strict
    except CaptureError:
        return False
