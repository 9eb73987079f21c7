"""``astcapture view``: one HTML file to look around in a stored run."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click

from astcapture.cli.progress import Bar
from astcapture.cli.selected import grid_option, load_run, select_records, tags_option, tokens_of
from astcapture.cli.serve import serve
from astcapture.errors import CaptureError


def _exact(context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> list[tuple[int | str, int]]:
    pairs: list[tuple[int | str, int]] = []
    for text in texts:
        layer, colon, head = text.rpartition(":")
        if not (colon and layer and head.removeprefix("-").isdecimal()):
            raise click.BadParameter(f"{text!r} is not LAYER:HEAD, 3:5 or blocks.3.attn:5 for instance")
        pairs.append((int(layer) if layer.removeprefix("-").isdecimal() else layer, int(head)))
    return pairs


@click.command(short_help="Look around in a stored run, in a browser.")
@click.argument("folder", metavar="DIR")
@click.option("--layer", metavar="PATTERN", help="Only these layers: 'blocks.*', or by number, from 0; -1 is the last.")
@click.option("--label", help="Only values captured under this name.")
@click.option("--model", metavar="CLASS", help="Only values of this model.")
@click.option("--function", metavar="KEY", help="Only values of this function: [MODULE:]QUALNAME.")
@click.option("--call", type=int, metavar="N", help="Only this execution, from 0: a step of a loop; -1 is the last.")
@click.option(
    "--tag",
    "tags",
    callback=tags_option,
    multiple=True,
    metavar="KEY=VALUE",
    help="Only values with this tag; wildcards.",
)
@click.option("--batch", type=int, metavar="N", help="Only this example of the batch.")
@click.option("--tokens", metavar="TEXT", help="The tokens, separated by spaces; or a file, one per line.")
@click.option("--key-tokens", metavar="TEXT", help="The tokens of the keys, if they are others (cross attention).")
@click.option(
    "--image", "images", multiple=True, metavar="FILE", help="The image that the model saw; once for each example."
)
@click.option("--grid", callback=grid_option, metavar="ROWSxCOLUMNS", help="The patches, if they are not found.")
@click.option("--cls", type=int, metavar="N", help="Number of tokens before the patches.")
@click.option("--compare", metavar="DIR", help="A second run, to be shown beside the first or subtracted.")
@click.option(
    "--exact", callback=_exact, multiple=True, metavar="LAYER:HEAD", help="Keep this map exactly. Can be repeated."
)
@click.option(
    "--size", type=click.FloatRange(min=0, min_open=True), default=15.0, show_default=True, metavar="MB",
    help="Size of the file. Large maps keep only their largest weights.",
)  # fmt: skip
@click.option(
    "--kind", type=click.Choice(["attention", "map", "strip", "channels"]), help="What the values are, if not found."
)
@click.option("--title", help="Title of the page.")
@click.option("--no-browser", is_flag=True, help="Without -o: print the address, open no browser.")
@click.option("-o", "out", metavar="FILE", help="Write the page to this file instead of opening it.")
def view(
    folder: str,
    layer: str | None,
    label: str | None,
    model: str | None,
    function: str | None,
    call: int | None,
    tags: dict[str, str],
    tokens: str | None,
    key_tokens: str | None,
    images: tuple[str, ...],
    compare: str | None,
    no_browser: bool,
    out: str | None,
    **options: Any,
) -> None:
    """Look around in the values of a stored run, DIR: all layers and heads, words, images, the steps of a generation.

    The page is one HTML file that needs no Python and loads nothing. With -o it is written; without, it is served to
    the browser of this machine until Ctrl-C.

    \b
    Examples:
      astcapture view runs/eval --tokens tokens.txt
      astcapture view runs/eval --layer 'blocks.*' --image dog.png -o map.html
    """
    from astcapture.view import View

    filters: dict[str, Any] = {"layer": layer, "label": label, "model": model, "call": call}

    def selected(run: str) -> Any:
        return select_records(load_run(run), run, function, tags, **filters)

    try:
        made = View(
            selected(folder),
            tokens=None if tokens is None else tokens_of(tokens),
            key_tokens=None if key_tokens is None else tokens_of(key_tokens),
            images=list(images) or None,
            compare=None if compare is None else selected(compare),
            **options,
        )
        if out is not None:
            _save(made, Path(out))
            click.echo(f"wrote {out} ({Path(out).stat().st_size / 1e6:.1f} MB)")
            return
        with tempfile.TemporaryDirectory(prefix="astcapture-") as temporary:
            path = Path(temporary, "map.html")
            _save(made, path)
            serve(path, _tell, browser=not no_browser)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise CaptureError(f"{where}{error.strerror or error}") from error


def _save(made: Any, path: Path) -> None:
    with Bar("reading values") as bar:
        made.save(path, progress=bar.show)


def _tell(address: str) -> None:
    click.echo(f"{address} (Ctrl-C ends)")
