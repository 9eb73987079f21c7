"""Writes the pages of the docs that are lists of what is in the package: ``python tests/docs/written_pages.py``.

A test compares each with what is written here.
"""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from astcapture.cli.main import COMMANDS, commands
from astcapture.targets.recipes import Recipe, recipes

DOCS = Path(__file__).resolve().parents[2] / "docs"
#: Of more targets than this, the command line lists them.
LISTED = 6

RECIPES = """\
# Recipes

What `@NAME` stands for, as a [target](targets.md): `install("@torch-mha")`, `ASTCAPTURE=@torch-mha`. Written by
`python tests/docs/written_pages.py` from the file that ships, `astcapture/targets/recipes.toml`; a test compares the
two. `astcapture recipes NAME` lists the targets of one. [Models](models.md) tells with which models each is checked.

| recipe | library | checked with | what is captured | targets |
| --- | --- | --- | --- | --- |
"""

COMMAND_LINE = """\
# Command line

`astcapture`, or `python -m astcapture`. The exit status is 0, 1 for a failure that is explained in one line, and 2 for
wrong usage; `run` ends with the script's own. Here stands what `--help` prints, written by
`python tests/docs/written_pages.py`; a test compares the two.

"""


def recipes_page() -> str:
    rows = [
        f"| [`@{one.name}`](#{one.name}) | {one.library} | {', '.join(one.versions)} | {one.captures} "
        f"| {len(one.targets)} |\n"
        for one in recipes()
    ]
    return RECIPES + "".join(rows) + "".join(_recipe(one) for one in recipes())


def _recipe(one: Recipe) -> str:
    lines = ["", f"## @{one.name}", "", one.note]
    if len(one.targets) <= LISTED:
        lines += ["", "```text", *one.targets, "```"]
    return "\n".join(lines) + "\n"


def command_line_page() -> str:
    helps = [f"```text\n{_help()}```\n"]
    helps += [f"## {one.name}\n\n```text\n{_help(str(one.name))}```\n" for one in COMMANDS]
    return COMMAND_LINE + "\n".join(helps)


def _help(*command: str) -> str:
    return CliRunner().invoke(commands, [*command, "--help"], prog_name="astcapture", terminal_width=80).output


PAGES = {"recipes.md": recipes_page, "command-line.md": command_line_page}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
