"""What users get to look around in captured values: an object that notebooks show and that writes one file."""

from __future__ import annotations

import html
import io
import os
import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from astcapture.errors import CaptureError
from astcapture.plot.patches import Grid
from astcapture.values.captured import Captured
from astcapture.values.records import Records
from astcapture.values.run import load
from astcapture.view.build import Progress, build
from astcapture.view.kinds import KINDS, Kind
from astcapture.view.options import Options
from astcapture.view.plan import Entry
from astcapture.view.prepare import prepare
from astcapture.view.vision import image_entry

#: What `view` can be given to look at.
Viewable = Records | Captured | str | os.PathLike[str]

#: The height of the frame in a notebook, in pixels.
HEIGHT = 720


class View:
    """Captured values to look around in: `save` writes one HTML file, and a notebook shows the same file in a frame.

    Made by ``records.view()``, ``cache.view()`` and ``run.view()``. The values are read when the file is made.

    Args:
        values: `Records`, the cache or a loaded run, or the folder of a run.
        tokens: the tokens of the text, one for each query or key, special ones too; or a list for each example.
        key_tokens: the tokens of the keys, where they are others (cross attention).
        images: the image that the model saw, or one for each example: a path, a PIL image, an array or a tensor.
        compare: a second run, whose values are shown beside those of the first, or subtracted.
        exact: (layer, head) of maps that are kept in 32 bits; a layer by number, from 0, or by name.
        size: of the file in megabytes, about. Where all maps do not fit, large ones keep the largest weights of each
            row, and the share of the row that these are.
        batch: which example of the batch is shown; all if left out.
        grid, cls: (rows, columns) of patches and the number of tokens before them, if they are not found.
        kind: "attention", "map", "strip" or "channels": what the values are, if it is not found.
        title: of the page.

    Raises:
        CaptureError: there is nothing to show, or an argument that does not fit.

    >>> import numpy as np
    >>> from astcapture import Record, Records
    >>> attention = np.full((1, 2, 3, 3), 1 / 3)
    >>> view = View(Records([Record(attention, "attn", "model", "Attention.forward", 12, "blocks.0.attn", 0)]))
    >>> view.html.startswith("<!doctype html>")
    True
    """

    __module__ = "astcapture.view"

    def __init__(
        self,
        values: Viewable,
        *,
        tokens: Sequence[str] | Sequence[Sequence[str]] | None = None,
        key_tokens: Sequence[str] | Sequence[Sequence[str]] | None = None,
        images: Any = None,
        compare: Viewable | None = None,
        exact: Sequence[tuple[int | str, int]] = (),
        size: float = 15.0,
        batch: int | None = None,
        grid: Grid | None = None,
        cls: bool | int | None = None,
        kind: Kind | None = None,
        title: str | None = None,
    ) -> None:
        if kind is not None and kind not in KINDS:
            raise CaptureError(f"kind={kind!r}: accepted are {', '.join(map(repr, KINDS))}")
        if not size > 0:
            raise CaptureError(f"size={size}: it is in megabytes, and more than 0")
        self._entries: list[list[Entry]] = []
        self._runs = [_records_of(values, "")]
        if compare is not None:
            self._runs.append(_records_of(compare, "compare: "))
        self._options = Options(
            tokens=_lists(tokens, "tokens"),
            key_tokens=_lists(key_tokens, "key_tokens"),
            images=_images(images),
            batch=batch,
            grid=grid,
            cls=None if cls is None else int(cls),
            exact=_pairs(exact),
            kind=kind,
            size=size * 1e6,
            title=_title(self._runs[0]) if title is None else title,
        )
        self._planned = prepare([records.records for records in self._runs], self._options)
        for source in (values, compare):
            for edit in source.notes().edits if isinstance(source, Captured) else ():
                self._planned.notes.add(f"edited: {edit}: the values are not the model's own")

    def save(self, path: str | os.PathLike[str], *, progress: Progress = lambda done, of: None) -> Path:
        """Write the file, and return its path.

        Args:
            path: of the file, ``"map.html"``. It is replaced once the new one is complete.
            progress: is called with how many values of how many are done.

        Raises:
            CaptureError: there is nothing to show, or what was given does not fit.
            OSError: the file cannot be written.
        """
        path = Path(path)
        try:
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None
        try:
            with os.fdopen(handle, "wb") as file:
                self._build(file, progress)
            os.chmod(name, 0o666 & ~_umask())
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return path

    @cached_property
    def html(self) -> str:
        """The text of the file."""
        file = io.BytesIO()
        self._build(file, lambda done, of: None)
        return file.getvalue().decode()

    def _build(self, file: Any, progress: Progress) -> None:
        self._entries = build(file, self._planned, self._options, progress)

    def widget(self) -> Any:
        """The page as a live widget: what is chosen in it is read back in Python. It needs the extra `view`.

        The widget has ``state``, what is chosen, which can be set too (``widget.state = {"layer": 3}``), and
        ``cell()``, the chosen `Cell` with its value as it was captured.

        Raises:
            CaptureError: anywidget is not installed.
        """
        from astcapture.view.live import make_widget

        return make_widget(self.html, self._entries, HEIGHT)

    def _repr_html_(self) -> str:
        # The frame may run scripts, and has no part in the notebook's page.
        return (
            f'<iframe srcdoc="{html.escape(self.html)}" sandbox="allow-scripts allow-downloads" '
            f'title="{html.escape(self._options.title)}" '
            f'style="width:100%;height:{HEIGHT}px;border:0"></iframe>'
        )

    def __repr__(self) -> str:
        return f"<View of {sum(map(len, self._runs))} values: .save('map.html') writes it, a notebook shows it>"


def _records_of(values: Viewable, where: str) -> Records:
    if isinstance(values, (str, os.PathLike)):
        values = load(values)
    if isinstance(values, Captured):
        found = values.select()
        if not len(found):
            reasons = [f"{key}: {values.why_nothing(key)}" for key in values if values.why_nothing(key)]
            why = "; ".join(reasons[:3]) or "nothing was captured; call summary() to see what was installed"
            raise CaptureError(f"{where}there is nothing to look at: {why}")
        return found
    if not isinstance(values, Records):
        raise CaptureError(f"{where}{type(values).__name__} is neither Records, nor a cache or a run, nor a folder")
    if not len(values):
        raise CaptureError(f"{where}there is nothing to look at: {values.why_empty() or 'the Records hold no value'}")
    return values


def _title(records: Records) -> str:
    first = records.records[0]
    models = dict.fromkeys(record.model for record in records.records if record.model)
    functions = dict.fromkeys(record.function for record in records.records)
    names = list(models or functions)
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f"{', '.join(names[:2])}{more}: {', '.join(records.labels[:3])}" if names else first.label


def _lists(tokens: Any, name: str) -> list[list[str]]:
    """Tokens as one list for each example."""
    if tokens is None:
        return []
    if isinstance(tokens, str):
        raise CaptureError(f"{name} is one string: pass a list of tokens, {name}={tokens.split()[:3]!r} for instance")
    tokens = list(tokens)
    if any(isinstance(one, (list, tuple)) for one in tokens):
        return [[str(token) for token in one] for one in tokens]
    return [[str(token) for token in tokens]] if tokens else []


def _images(images: Any) -> list[dict[str, Any]]:
    if images is None:
        return []
    several = list(images) if isinstance(images, (list, tuple)) else [images]
    shape = getattr(images, "shape", None)
    if shape is not None and len(shape) == 4:
        several = list(images)
    return [image_entry(image, f"image {number}") for number, image in enumerate(several)]


def _pairs(exact: Any) -> list[tuple[int | str, int]]:
    pairs = []
    for one in [exact] if isinstance(exact, tuple) and len(exact) == 2 and not isinstance(exact[0], tuple) else exact:
        if not (isinstance(one, (tuple, list)) and len(one) == 2 and isinstance(one[1], int)):
            raise CaptureError(f"exact={exact!r}: it is a list of (layer, head), [(3, 5)] for instance")
        pairs.append((one[0], one[1]))
    return pairs


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
