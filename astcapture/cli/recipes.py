"""``astcapture recipes``: the ready-made targets, and what each one captures."""

from __future__ import annotations

import click


@click.command(short_help="List ready-made targets for common libraries.")
@click.argument("name", required=False)
def recipes(name: str | None) -> None:
    """List the recipes, or print the targets and the notes of the recipe NAME.

    A recipe is a ready-made list of targets for a library. Use its name as a target: astcapture run -c @NAME,
    ASTCAPTURE=@NAME or install("@NAME"). The versions are the library versions that it was tested with.

    \b
    Examples:
      astcapture recipes
      astcapture recipes @hf-attention
    """
    from astcapture.targets.recipes import SIGN, recipe
    from astcapture.targets.recipes import recipes as all_recipes

    if name is None:
        rows = [("name", "library", "versions", "captures")]
        rows += [(SIGN + one.name, one.library, ", ".join(one.versions), one.captures) for one in all_recipes()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in (rows[0], tuple("-" * width for width in widths), *rows[1:]):
            click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        return
    one = recipe(name)
    click.secho(f"# {SIGN}{one.name}  {one.library} {', '.join(one.versions)}: {one.captures}", dim=True)
    for target in one.targets:
        click.echo(target)
    click.echo()
    click.echo(click.wrap_text(one.note, width=100))
