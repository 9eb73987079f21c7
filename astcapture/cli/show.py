"""``astcapture show``: the source of a function as it runs while it is captured."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

import click

_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


@click.command(short_help="Print the rewritten source of a function.")
@click.argument("target")
@click.option("--diff", is_flag=True, help="Print only what capturing changes, as a diff.")
def show(target: str, diff: bool) -> None:
    """Print the source of the functions that TARGET names, as rewritten for capturing.

    TARGET is MODULE:QUALNAME=NAMES; for functions marked with @capture also MODULE:QUALNAME or MODULE. The
    module is read, not imported.

    \b
    Examples:
      astcapture show --diff mymodel:Attention.forward
      astcapture show timm.layers.attention:Attention.forward=attn,q,k
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
    """Search the current folder for modules too, as ``python -m`` does and a console script does not."""
    import sys

    if "" not in sys.path:
        sys.path.insert(0, "")


def _diff(before: str, after: str) -> Iterator[str]:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), "as written", "captured", lineterm="", n=2)
    return iter(lines)
