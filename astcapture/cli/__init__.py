"""The command line, ``python -m astcapture`` and ``astcapture``: one file for each command."""

from astcapture.cli.main import main

__all__ = ["main"]
