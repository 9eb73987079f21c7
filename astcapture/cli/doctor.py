"""``astcapture doctor``: whether ``ASTCAPTURE=... python script.py`` is captured on this machine, and why not."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import site
import subprocess
import sys
from pathlib import Path

import click

from astcapture.errors import CaptureError
from astcapture.imports.session import FIRST_PROCESS

START_UP_FILE = "astcapture.pth"
LAUNCHER = "use python -m astcapture run, which needs none of this"

#: Run by a fresh interpreter; leaves at once, so that nothing is said at exit.
PROBE = """
import os, sys
session = sys.modules.get("astcapture.imports.session")
print("on" if session and session.session.hook else "off", flush=True)
os._exit(0)
"""


@click.command(short_help="Say whether start-up activation works here.")
def doctor() -> int:
    """Say whether start-up activation works here, and why not.

    Exit status 0 if a fresh interpreter with ASTCAPTURE set is captured, 1 with the reason if it is not.
    """
    for name, value in _report():
        click.echo(f"{name:<14}{value}")
    if reason := _reason():
        click.echo(f"astcapture: start-up activation does not work: {reason}", err=True)
        return 1
    click.echo("start-up activation works")
    return 0


def _report() -> list[tuple[str, str]]:
    lines = [("python", f"{platform.python_version()}, {sys.executable}")]
    lines += [(name, _version(name)) for name in ("astcapture", "torch", "numpy")]
    files = _start_up_files()
    lines += [("start-up file", f"{path}, {_listed(path)}") for path in files]
    if not files:
        lines.append(("start-up file", f"none in {' or '.join(map(str, _site_folders()))}"))
    lines.append(("options", " ".join(_options()) or "none of -E, -I, -S"))
    variables = [
        f"{name}={value}"
        for name, value in sorted(os.environ.items())
        if name.startswith("ASTCAPTURE") and name != FIRST_PROCESS
    ]
    lines += [("environment", variable) for variable in variables or ["no ASTCAPTURE... is set"]]
    if sys.version_info >= (3, 15):
        lines.append(("note", f"PEP 829: Python 3.18 and later ignore {START_UP_FILE}; there, {LAUNCHER}"))
    return lines


def _reason() -> str | None:
    """Why a fresh interpreter is not captured, in one line, or None if it is."""
    if sys.flags.ignore_environment:
        option = "-I" if sys.flags.isolated else "-E"
        return f"{option} makes Python ignore ASTCAPTURE: leave it out, or {LAUNCHER}"
    if sys.flags.no_site:
        return f"-S keeps Python from reading start-up files: leave it out, or {LAUNCHER}"
    if not _start_up_files():
        return f"there is no {START_UP_FILE} in site-packages: install astcapture with pip, or {LAUNCHER}"
    try:
        _check_environment()
    except CaptureError as error:
        return str(error)
    return _probe()


def _check_environment() -> None:
    """Raise `CaptureError` for what the environment now asks for and cannot have."""
    from astcapture.targets.environment import read_environment
    from astcapture.targets.target import parse_targets

    parse_targets(read_environment(os.environ).targets)


def _probe() -> str | None:
    """Start an interpreter as the user would, and ask it."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ASTCAPTURE")}
    environ["ASTCAPTURE"] = "astcapture_doctor"
    command = [sys.executable, *_options(), "-c", PROBE]
    answer = subprocess.run(command, env=environ, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if answer.stdout.strip() == "on":
        return None
    said = answer.stderr.strip().splitlines()
    return f"a fresh {sys.executable} is not captured" + (f", it says: {said[-1]}" if said else "")


def _options() -> list[str]:
    """Those of this interpreter that bear on its start."""
    isolated = ["-I"] if sys.flags.isolated else ["-E"] if sys.flags.ignore_environment else []
    return isolated + ["-S"] * sys.flags.no_site


def _site_folders() -> list[Path]:
    folders = site.getsitepackages()
    if site.ENABLE_USER_SITE:
        folders = [*folders, site.getusersitepackages()]
    return [Path(folder) for folder in folders]


def _start_up_files() -> list[Path]:
    return [path for folder in _site_folders() if (path := folder / START_UP_FILE).is_file()]


def _listed(path: Path) -> str:
    """Whether an uninstall will remove the file."""
    # Several, where Python is started in a checkout: what a build left there says nothing of installed files.
    found = list(importlib.metadata.distributions(name="astcapture"))
    if not found:
        return "left behind by a package that is gone"
    files = [file.locate() for distribution in found for file in distribution.files or []]
    listed = any(Path(str(file)).resolve() == path.resolve() for file in files)
    return "listed as installed" if listed else "not listed: an uninstall will leave it behind"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
