"""``astcapture doctor``: whether ``ASTCAPTURE=... python script.py`` captures on this machine, and if not, why."""

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
LAUNCHER = "use python -m astcapture run instead"

#: Code that a new interpreter runs. It exits at once, so that no summary is printed.
PROBE = """
import os, sys
session = sys.modules.get("astcapture.imports.session")
print("on" if session and session.session.hook else "off", flush=True)
os._exit(0)
"""


@click.command(short_help="Check whether setting ASTCAPTURE works here.")
def doctor() -> int:
    """Check whether setting ASTCAPTURE works here (start-up activation), and if not, why.

    Also checks the ASTCAPTURE variables that are set now. The exit status is 0 if a new Python process with
    ASTCAPTURE set captures, and 1 if not.

    \b
    Examples:
      astcapture doctor
      ASTCAPTURE=mymodel astcapture doctor
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
    lines += [("environment", variable) for variable in variables or ["no ASTCAPTURE variable is set"]]
    if sys.version_info >= (3, 15):
        lines.append(("note", f"Python 3.18 and later ignore {START_UP_FILE} (PEP 829): {LAUNCHER}"))
    return lines


def _reason() -> str | None:
    """Why a new interpreter does not capture, in one line; None if it does."""
    if sys.flags.ignore_environment:
        option = "-I" if sys.flags.isolated else "-E"
        return f"{option} makes Python ignore ASTCAPTURE: omit it, or {LAUNCHER}"
    if sys.flags.no_site:
        return f"-S stops Python from reading start-up files: omit it, or {LAUNCHER}"
    if not _start_up_files():
        return f"{START_UP_FILE} is not in site-packages: install astcapture with pip, or {LAUNCHER}"
    try:
        _check_environment()
    except CaptureError as error:
        return str(error)
    return _probe()


def _check_environment() -> None:
    """Raise `CaptureError` if the ASTCAPTURE variables contain a mistake."""
    from astcapture.targets.environment import read_environment
    from astcapture.targets.target import parse_targets

    parse_targets(read_environment(os.environ).targets)


def _probe() -> str | None:
    """Start an interpreter as the user would; why it does not capture, or None if it does."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ASTCAPTURE")}
    environ["ASTCAPTURE"] = "astcapture_doctor"
    command = [sys.executable, *_options(), "-c", PROBE]
    answer = subprocess.run(command, env=environ, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if answer.stdout.strip() == "on":
        return None
    said = answer.stderr.strip().splitlines()
    return f"a new {sys.executable} process does not capture" + (f": {said[-1]}" if said else "")


def _options() -> list[str]:
    """The options of this interpreter that change how it starts."""
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
    """Whether pip uninstall will remove the file."""
    # There can be several: in a checkout, a build leaves metadata that does not list the installed files.
    found = list(importlib.metadata.distributions(name="astcapture"))
    if not found:
        return "left over from an uninstalled astcapture"
    files = [file.locate() for distribution in found for file in distribution.files or []]
    listed = any(Path(str(file)).resolve() == path.resolve() for file in files)
    return (
        "part of the installed package"
        if listed
        else "not part of the installed package: pip uninstall will leave it behind"
    )


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
