"""The command line, ``astcapture`` or ``python -m astcapture``: one file for each command."""

from astcapture.cli.main import main

__all__ = ["main"]
