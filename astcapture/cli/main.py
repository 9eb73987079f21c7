"""All commands in one group. Exit status: 0; 1 for a failure explained in one line; 2 for wrong usage.

A command returns None, its exit status, or a program that `main` runs after the command line has been handled:
errors of that program must not pass through the command line's error handlers.
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
from astcapture.cli.view import view
from astcapture.errors import CaptureError

COMMANDS = (run, show, locals_, ls, view, plot, recipes, doctor)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="astcapture")
def commands() -> None:
    """Capture local variables of Python functions, such as attention maps, without editing their source.

    \b
    Examples:
      astcapture run -c mymodel eval.py
      astcapture run -c @hf-attention -o runs/eval eval.py

    Each command has its own help with examples: astcapture COMMAND -h.
    """


for command in COMMANDS:
    commands.add_command(command)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status.

    Args:
        argv: the arguments; default: ``sys.argv[1:]``.
    """
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
