"""``astcapture show``: the source of a function as it runs when it is captured."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

import click

_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


@click.command(short_help="Print the transformed source of a function.")
@click.argument("target")
@click.option("--diff", is_flag=True, help="Show what capturing adds, line by line.")
def show(target: str, diff: bool) -> None:
    """Print the transformed source of the functions that TARGET means.

    TARGET is MODULE:QUALNAME=NAMES, or MODULE:QUALNAME or MODULE for functions that carry the marker.
    The module is read and not imported.
    """
    from astcapture.imports.source import transformed

    search_from_here()
    for index, one in enumerate(transformed(target)):
        if index:
            click.echo()
        click.secho(f"# {one.key}  {one.path}:{one.lineno}", dim=True)
        if diff:
            for line in _diff(one.before, one.after):
                click.secho(line, fg=_COLOURS.get(line[:1]))
        else:
            click.echo(one.after, nl=False)


def search_from_here() -> None:
    """Look for modules in the current folder, as ``python script.py`` there would; the console script does not."""
    import sys

    if "" not in sys.path:
        sys.path.insert(0, "")


def _diff(before: str, after: str) -> Iterator[str]:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), "as written", "captured", lineterm="", n=2)
    return iter(lines)
