"""The commands in one group, and the exit status of each: 0, 1 for a failure told in one line, 2 for wrong usage.

A command returns None, its exit status, or a program for `main` to run once the command line is done with:
what that program raises is its own affair and must not pass through the command line's handlers.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from astcapture.cli.doctor import doctor
from astcapture.cli.locals import locals_
from astcapture.cli.ls import ls
from astcapture.cli.plot import plot
from astcapture.cli.recipes import recipes
from astcapture.cli.run import run
from astcapture.cli.show import show
from astcapture.errors import CaptureError

COMMANDS = (run, show, locals_, ls, plot, recipes, doctor)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="astcapture")
def commands() -> None:
    """Capture the local variables of functions whose source stays as it is."""


for command in COMMANDS:
    commands.add_command(command)


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out a command line, ``sys.argv[1:]`` unless given, and return the exit status."""
    try:
        result = commands.main(argv, prog_name="astcapture", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        print("astcapture: interrupted", file=sys.stderr)
        return 1
    except CaptureError as error:
        print(f"astcapture: {error}", file=sys.stderr)
        return 1
    if callable(result):
        result = result()
    return result or 0
