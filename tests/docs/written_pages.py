"""Writes the pages of the docs that list what is in the package: ``python tests/docs/written_pages.py``.

A test compares each page with what is written here.
"""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from astcapture.cli.main import COMMANDS, commands
from astcapture.targets.recipes import Recipe, recipes

DOCS = Path(__file__).resolve().parents[2] / "docs"
#: A page names the command that lists the targets of a recipe that has more than this.
LISTED = 6

RECIPES = """\
# Recipes

A recipe captures the attention weights of a library without naming its functions. Pick one from the table, and use its
name as a [target](targets.md):

- without editing the script: `ASTCAPTURE=@hf-attention python script.py`
- in Python: `astcapture.install("@hf-attention")`
- two together: `ASTCAPTURE="@timm-attention;@torch-mha"`

`astcapture recipes` prints this list, and `astcapture recipes NAME` the targets of one recipe. [Models](models.md)
lists the models that each recipe was checked with.

| recipe | library | checked with version | what is captured | number of targets |
| --- | --- | --- | --- | --- |
"""

COMMAND_LINE = """\
# Command line

Every command of `astcapture`, with its options. You can also write `python -m astcapture`.

| you want to | command |
| --- | --- |
| capture from a script without editing it | `astcapture run -c mymodel eval.py` |
| capture, and write the values to a folder | `astcapture run -c mymodel -o runs/eval eval.py` |
| list what the folder holds | `astcapture ls runs/eval` |
| look around in the folder, in a browser | `astcapture view runs/eval` |
| draw the attention maps of the folder | `astcapture plot runs/eval -o pictures/` |
| see which names a function binds | `astcapture locals mymodel:Attention.forward` |
| see what capturing adds to a function | `astcapture show --diff mymodel:Attention.forward=attn` |
| list the libraries that can be captured by name | `astcapture recipes` |
| find out why `ASTCAPTURE=mymodel python eval.py` captures nothing | `astcapture doctor` |

The exit status is 0 for success, 1 for a failure that one line explains, and 2 for wrong usage. `run` exits with the
status of the script.

"""

#: The last lines of each page.
WRITTEN = """
*`python tests/docs/written_pages.py` writes this page from {}; a test compares the two.*
"""


def recipes_page() -> str:
    rows = [
        f"| [`@{one.name}`](#{one.name}) | {one.library} | {', '.join(one.versions)} | {one.captures} "
        f"| {len(one.targets)} |\n"
        for one in recipes()
    ]
    sections = "".join(_recipe(one) for one in recipes())
    return RECIPES + "".join(rows) + sections + WRITTEN.format("`astcapture/targets/recipes.toml`")


def _recipe(one: Recipe) -> str:
    lines = ["", f"## @{one.name}", "", one.note]
    if len(one.targets) <= LISTED:
        lines += ["", "```text", *one.targets, "```"]
    else:
        lines += ["", f"`astcapture recipes {one.name}` lists its {len(one.targets)} targets."]
    return "\n".join(lines) + "\n"


def command_line_page() -> str:
    helps = [f"```text\n{_help()}```\n"]
    helps += [f"## {one.name}\n\n```text\n{_help(str(one.name))}```\n" for one in COMMANDS]
    return COMMAND_LINE + "\n".join(helps) + WRITTEN.format("the `--help` of each command")


def _help(*command: str) -> str:
    return CliRunner().invoke(commands, [*command, "--help"], prog_name="astcapture", terminal_width=80).output


PAGES = {"recipes.md": recipes_page, "command-line.md": command_line_page}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
