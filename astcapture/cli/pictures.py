"""Which pictures a stored run is drawn as: for each kind what it needs, and which values go into one picture.

Neither NumPy nor matplotlib is imported before something is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from astcapture import plot
from astcapture.cli.option_names import as_options
from astcapture.cli.picture_names import NOTHING_CHOSEN, Chosen, file_name, place_of, title_of
from astcapture.errors import CaptureError
from astcapture.values.record import Record
from astcapture.values.records import Records

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Kind:
    """One kind of picture.

    Attributes:
        draw: draws the values of one picture with the options that were given.
        takes: the options that it can be given.
        needs: those among them that it cannot do without.
        of: what goes into one picture: "value", all the "layers" of one execution of the model, or the "frames" of
            an animation, which are the steps of one layer or the layers of one step; or all the "calls" of a model.
    """

    draw: Callable[..., Any]
    takes: frozenset[str]
    needs: frozenset[str] = frozenset()
    of: str = "value"


@dataclass(frozen=True)
class Picture:
    """One picture that has been drawn and not been written."""

    #: Of its file, without the ending.
    name: str
    drawn: Axes | Figure | FuncAnimation


def _kind(draw: str | Callable[..., Any], takes: str, needs: str = "", of: str = "value") -> Kind:
    """A kind drawn by a function, or by that of `astcapture.plot` of this name, which is looked up when it draws."""
    function = partial(_draw, draw) if isinstance(draw, str) else draw
    return Kind(function, frozenset([*takes.split(), *needs.split()]), frozenset(needs.split()), of)


def _draw(name: str, values: Records, **options: Any) -> Any:
    return getattr(plot, name)(values, **options)


def _patch_to_patch(values: Records, *, image: Any, patch: Any, **options: Any) -> Any:
    return plot.patch_to_patch(values, image, patch, **options)


def _tokens(values: Records, *, tokens: list[str], **options: Any) -> Any:
    return plot.tokens(values, tokens, **options)


KINDS: Mapping[str, Kind] = {
    "head": _kind("head", "batch head tokens cls"),
    "heads": _kind("heads", "batch cls"),
    "tokens": _kind(_tokens, "batch head query without style", "tokens"),
    "patch": _kind(_patch_to_patch, "batch head grid cls area stretch style", "image patch"),
    "cls": _kind("cls_attention", "batch grid cls image area stretch style"),
    "overlay": _kind("overlay", "area stretch style", "image"),
    "layers": _kind("layers", "batch", of="layers"),
    "rollout": _kind("rollout", "batch grid cls image patch tokens area stretch style", of="layers"),
    "distance": _kind("distance", "batch grid cls patch_size style", of="calls"),
    "entropy": _kind("entropy", "batch style", of="calls"),
    "animate": _kind("animate", "batch head grid cls image patch tokens area stretch style", of="frames"),
}


def count_pictures(name: str, records: Records) -> int:
    """How many pictures of one kind `records` make."""
    return len(_groups(records, KINDS[name].of))


def draw_pictures(
    name: str, records: Records, options: Mapping[str, Any], title: str | None, chosen: Chosen = NOTHING_CHOSEN
) -> Iterator[Picture]:
    """Draw `records` as pictures of one kind, one after the other.

    Raises:
        CaptureError: values that cannot be drawn so, with where they are from.
    """
    kind = KINDS[name]
    taken: set[str] = set()
    for values in _groups(records, kind.of):
        own = title_of(name, values, options, chosen, kind.takes) if title is None else title
        try:
            drawn = kind.draw(values, title=own, **options)
        except (ValueError, TypeError) as error:
            raise CaptureError(f"{place_of(values)}: {as_options(str(error), name)}") from error
        stem = file_name(name, values, options, chosen)
        if stem in taken and values.records[0].rank:
            stem += f"-rank{values.records[0].rank}"
        unique, count = stem, 1
        while unique in taken:
            count += 1
            unique = f"{stem}-{count}"
        taken.add(unique)
        yield Picture(unique, drawn)


def _groups(records: Records, of: str) -> list[Records]:
    """The values of each picture, in the order of their first."""

    def same_picture(number: int, record: Record) -> Any:
        process = record.key, record.rank
        if of == "value":
            return number
        # Outside any module nothing tells layers from steps: all that one function recorded is a sequence.
        if record.layer is None:
            return process
        if of == "frames" and several_steps:
            return *process, record.layer
        if of == "calls":
            return process
        return *process, record.call

    several_steps = len({record.call for record in records.records}) > 1
    groups: dict[Any, list[Record]] = {}
    for number, record in enumerate(records.records):
        groups.setdefault(same_picture(number, record), []).append(record)
    return [Records(group) for group in groups.values()]
