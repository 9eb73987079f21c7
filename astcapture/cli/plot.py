"""``astcapture plot``: pictures of a stored run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from astcapture.cli.picture_names import Chosen
from astcapture.cli.pictures import KINDS, count_pictures, draw_pictures
from astcapture.cli.selected import grid_option, listed, load_run, select_records, tags_option, tokens_of
from astcapture.errors import CaptureError

STILLS = ("png", "svg", "pdf")
MOVIES = ("gif", "mp4")
#: More files are written with --all only.
MOST_FILES = 40


def _patch_size(context: click.Context, option: click.Parameter, text: str | None) -> Any:
    if text is None:
        return None
    numbers = text.split("x")
    if len(numbers) > 2 or not all(number.isdecimal() and int(number) for number in numbers):
        raise click.BadParameter(f"{text!r} is not a number of pixels, nor HEIGHTxWIDTH, 16x16 for instance")
    return int(text) if len(numbers) == 1 else (int(numbers[0]), int(numbers[1]))


def _patch(context: click.Context, option: click.Parameter, text: str | None) -> Any:
    if text is None or text == "cls":
        return text
    numbers = text.split(",")
    if len(numbers) > 2 or not all(number.strip().isdecimal() for number in numbers):
        raise click.BadParameter(f"{text!r} is not ROW,COLUMN, nor a patch's number, nor cls")
    return int(text) if len(numbers) == 1 else (int(numbers[0]), int(numbers[1]))


@click.command(short_help="Draw pictures of a stored run.", options_metavar="[OPTIONS] -o OUT")
@click.argument("folder", metavar="DIR")
@click.option(
    "--kind", type=click.Choice(list(KINDS)), default="heads", show_default=True, help="What to draw, see above."
)
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
@click.option("--batch", type=int, metavar="N", help="Which example of the batch.")
@click.option("--head", type=int, metavar="N", help="The head. Default: mean over heads (required for head).")
@click.option("--image", metavar="FILE", help="The image that the model saw, after resizing and cropping.")
@click.option("--patch", callback=_patch, metavar="ROW,COLUMN", help="The patch that attends; or its number, or cls.")
@click.option("--grid", callback=grid_option, metavar="ROWSxCOLUMNS", help="The patches, if they do not form a square.")
@click.option("--cls", type=int, metavar="N", help="Number of tokens before the patches.")
@click.option("--patch-size", callback=_patch_size, metavar="N", help="The side of a patch in pixels; or HEIGHTxWIDTH.")
@click.option(
    "--area", type=float, nargs=4, metavar="LEFT TOP RIGHT BOTTOM", help="The part of the image that the model saw."
)
@click.option("--stretch", is_flag=True, default=None, help="Stretch the map over an image of other proportions.")
@click.option("--style", metavar="NAME", help="How it is drawn: see the docs of each kind, mask for instance.")
@click.option("--tokens", metavar="TEXT", help="The tokens, separated by spaces; or a file, one per line.")
@click.option("--query", metavar="TOKEN", help="Shade the text by what this token attends to: number or text.")
@click.option("--without", metavar="TEXT", help="Tokens to leave out of the picture: '[CLS] [SEP]'.")
@click.option("--title", help="Title of each picture. Default: what it shows.")
@click.option("--format", "ending", type=click.Choice(STILLS + MOVIES), help="Default: png, or gif for animate.")
@click.option("--dpi", type=click.FloatRange(min=1), default=100, show_default=True, help="Dots per inch.")
@click.option("--all", "every", is_flag=True, help=f"Write more than {MOST_FILES} files.")
@click.option("-o", "out", metavar="OUT", required=True, help="Folder for the pictures; created if it does not exist.")
def plot(
    folder: str,
    kind: str,
    layer: str | None,
    label: str | None,
    model: str | None,
    function: str | None,
    call: int | None,
    tags: dict[str, str],
    title: str | None,
    ending: str | None,
    dpi: float,
    every: bool,
    out: str,
    **options: Any,
) -> None:
    """Draw the maps of a stored run, DIR, into files named by kind, layer, call, head and so on.

    \b
    One picture for each value:
      head, heads     a map, or those of all heads
      tokens          which token attends to which; with --query a shaded text
      patch, cls      what a patch, or the CLS token, attends to, over the image
      overlay         any captured map of (rows, columns) over the image
    One picture for each execution of the model:
      layers          a small map for each layer and head
      rollout         attention through all layers
    One picture for all executions, their mean:
      distance        how far each head looks
      entropy         how widely each head looks
    One film for each layer, or over the layers where there is one execution:
      animate

    More than 40 files are written with --all only. If something cannot be drawn, the exit status is 1 and one line
    says why.

    \b
    Examples:
      astcapture plot runs/eval --layer 'blocks.*' --call 0 --batch 0 -o out/
      astcapture plot runs/eval --kind cls --tag image=dog.jpg --image dog.png -o out/
    """
    given = {name: value for name, value in options.items() if value is not None}
    _check_options(kind, given)
    endings = MOVIES if kind == "animate" else STILLS
    ending = ending or endings[0]
    if ending not in endings:
        raise click.UsageError(f"--format {ending} does not go with --kind {kind}: it is {' or '.join(endings)}")
    records, chosen = _select(folder, function, tags, layer=layer, label=label, model=model, call=call)
    _check_count(kind, records, every)
    try:
        given = _read_inputs(given)
        _draw_off_screen()
        if ending in MOVIES:
            _check_writer(Path(out, f"{kind}.{ending}"))  # before the work of drawing
        Path(out).mkdir(parents=True, exist_ok=True)
        for picture in draw_pictures(kind, records, given, title, chosen):
            path = Path(out, f"{picture.name}.{ending}")
            _write(picture.drawn, path, dpi)
            click.echo(f"wrote {path}")
    except (ModuleNotFoundError, OSError, RuntimeError) as error:
        raise CaptureError(_one_line(error)) from error


def _check_count(kind: str, records: Any, every: bool) -> None:
    count = count_pictures(kind, records)
    if every or count <= MOST_FILES:
        return
    layers, calls = ({getattr(record, name) for record in records.records} for name in ("layer", "call"))
    tags = {name for record in records.records for name in record.tags}
    ways = [f"--layer ({len(layers)} layers)", f"--call ({len(calls)} calls)"]
    ways += [f"--tag ({', '.join(sorted(map(str, tags)))})"] if tags else []
    raise CaptureError(
        f"--kind {kind} would write {count} files: select some with {' or '.join(ways)}, or write them all with --all"
    )


def _check_options(kind: str, given: dict[str, Any]) -> None:
    needs, takes = KINDS[kind].needs, KINDS[kind].takes
    for name in sorted(needs - given.keys()):
        raise click.UsageError(f"--kind {kind} needs --{name}")
    for name in sorted(given.keys() - takes):
        accepted = ", ".join(f"--{_spelled(one)}" for one in sorted(takes)) or "no such option"
        raise click.UsageError(f"--{_spelled(name)} does not go with --kind {kind}, which takes {accepted}")


def _spelled(name: str) -> str:
    return name.replace("_", "-")


def _select(folder: str, function: str | None, tags: dict[str, str], **filters: Any) -> tuple[Any, Chosen]:
    """The Records to draw, all under one label, and what is chosen by that.

    Raises:
        CaptureError: nothing matches, or several labels do.
    """
    stored = load_run(folder)
    found = select_records(stored, folder, function, tags, **filters)
    if len(found.labels) > 1:
        raise CaptureError(f"{folder}: {listed('labels', found.labels)}: pick one with --label")
    keys = {record.key for record in found.records}
    everything = stored.select().records
    labels = {record.label for record in everything if record.key in keys}
    models = {record.model for record in everything}
    return found, Chosen(
        filters["layer"],
        tags,
        found.labels[0] if len(labels) > 1 else None,
        filters["model"] if len(models) > 1 else None,
    )


def _read_inputs(given: dict[str, Any]) -> dict[str, Any]:
    """Open the image, split the tokens, and tell a query's number from its text."""
    read = dict(given)
    if "image" in given:
        try:
            from PIL import Image
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("--image needs pillow: pip install 'astcapture[plot]'") from error

        with Image.open(given["image"]) as image:
            read["image"] = image.convert("RGBA")
    if "tokens" in given:
        read["tokens"] = tokens_of(given["tokens"])
    if "without" in given:
        read["without"] = given["without"].split()
        unknown = [token for token in read["without"] if token not in read["tokens"]]
        if unknown:
            raise CaptureError(f"--without {' '.join(unknown)}: there is no such token in --tokens")
    query = given.get("query", "")
    if query not in read.get("tokens", []) and query.lstrip("-").isdecimal():
        read["query"] = int(query)
    return read


def _draw_off_screen() -> None:
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("plot needs matplotlib: pip install 'astcapture[plot]'") from error
    matplotlib.use("Agg")


def _check_writer(path: Path) -> None:
    from astcapture.plot.writers import check_writer

    check_writer(path)


def _write(drawn: Any, path: Path, dpi: float) -> None:
    import matplotlib.pyplot as plt

    if path.suffix[1:] in MOVIES:
        from astcapture.plot.writers import save_animation

        save_animation(drawn, path, fps=2.0, dpi=dpi)
    else:
        from astcapture.plot.page import page_of

        page_of(drawn).savefig(path, dpi=dpi)
    plt.close("all")


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())
