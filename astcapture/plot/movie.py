"""Maps one after the other: the steps of a generation loop, or the layers of a model."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.image import AxesImage

from astcapture.plot.arrays import FloatArray
from astcapture.plot.attention_maps import square
from astcapture.plot.colour_bar import draw_colour_bar
from astcapture.plot.colours import Colours, choose_colours
from astcapture.plot.fit import Area
from astcapture.plot.frames import appended, frames
from astcapture.plot.heat_map import KEYS, QUERIES, draw_heat_map, label_token_axes
from astcapture.plot.images import as_image
from astcapture.plot.layer_sequence import Layers
from astcapture.plot.over_image import Laid, OverStyle, draw_over_image, panel_width
from astcapture.plot.page import new_axes, page_of
from astcapture.plot.patches import Grid, layout, patch_position, split_patches
from astcapture.plot.special_tokens import special_tokens
from astcapture.plot.writers import check_writer, save_animation
from astcapture.values.records import Records


def animate(
    attention: Layers,
    path: str | PathLike[str] | None = None,
    *,
    image: Any = None,
    patch: int | tuple[int, int] | Literal["cls"] = "cls",
    grid: Grid | None = None,
    cls: bool | int | None = None,
    head: int | None = None,
    batch: int | None = None,
    tokens: Sequence[str] | None = None,
    style: OverStyle = "fade",
    area: Area | None = None,
    stretch: bool = False,
    fps: float = 2.0,
    dpi: float = 100,
    ax: Axes | None = None,
    colorbar: bool = True,
    title: str | None = None,
    label: str = "weight",
    cmap: str | Colormap | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
) -> FuncAnimation:
    """Animate attention over the steps of a generation loop, or over the layers of a model; save it as GIF or MP4.

    Each frame is the map of one step or layer, in one range of colours. Steps that attend from the new tokens to
    all before them, as in a loop that keeps keys and values, are put below each other as the text grows. With an
    image each frame is what one patch attends to, laid over it.

    Args:
        attention: `Records` of one layer (its steps) or of one step (the layers), or what `layers` takes.
        path: the file to write, ending in .gif (written by Pillow) or .mp4 (by the program ffmpeg). Left out,
            nothing is written: `to_jshtml()` of the animation shows it in a notebook, `save` writes it.
        image: a tensor, an array or a PIL image.
        patch: with an image, the query: a patch's index or (row, column), or "cls".
        grid, cls: with an image, which tokens are patches, as for `patch_to_patch`; without, `cls` is as for `head`.
        head: the head; the mean over the heads if left out.
        batch: the example, where there are several.
        tokens: labels for the axes: all tokens of the last frame.
        style, area, stretch: with an image, as for `overlay`.
        fps: frames per second.
        dpi: dots per inch of the file.
        ax: where to draw; a new figure if left out.
        colorbar: whether a colour bar is drawn.
        title: what stands before "step 3" or "layer 3" above each frame; the layer whose steps these are if left out,
            where the values are `Records`.
        label: what the colour bar says that the colours mean.
        cmap, vmin, vmax: as for `head`; with an image, as for `overlay`.

    Raises:
        ValueError: another shape, Records of several layers in several steps, or a file of another kind.
        RuntimeError: MP4 where there is no ffmpeg.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "layers.gif")
    ...     animation = animate(np.full((3, 4, 9, 9), 1 / 9), path)
    ...     path.read_bytes()[:6]
    b'GIF89a'
    """
    if path is not None:
        check_writer(Path(path))  # before the work of drawing
    if not fps > 0:
        raise ValueError(f"fps={fps}: it is a number of frames per second, greater than 0")
    shown = frames(attention, batch=batch, head=head)
    maps = [frame.weights for frame in shown]
    if image is None:
        maps = appended(maps)
        colours = choose_colours(_joined(maps), cmap=cmap, vmin=vmin, vmax=vmax, from_zero=True)
        prefix = special_tokens(attention, max(one.shape[1] for one in maps), cls)
        ax, drawn = _heat_map(ax, maps, colours, tokens, prefix)
    else:
        maps = [_of_patch(weights, patch, grid, cls) for weights in maps]
        laid = Laid(area=area, style=style, stretch=stretch)
        colours = laid.colours(choose_colours(_joined(maps), cmap=cmap, vmin=vmin, vmax=vmax))
        ax, drawn = _over_image(ax, as_image(image), maps[0], colours, laid)
    if colorbar:
        draw_colour_bar([ax], colours, _joined(maps), label=label)
    if title is None and any(frame.name.startswith("step") for frame in shown):
        title = _layer(attention)
    before = f"{title}, " if title else ""

    def draw(number: int) -> list[AxesImage]:
        weights = maps[number]
        drawn.set_data(weights)
        if image is None:
            queries, keys = weights.shape
            drawn.set_extent((-0.5, keys - 0.5, queries - 0.5, -0.5))
            ax.set(xlim=limits[0], ylim=limits[1])  # which a new extent moves
        ax.set_title(before + shown[number].name, fontsize="medium")
        return [drawn]

    limits = ax.get_xlim(), ax.get_ylim()
    draw(0)
    animation = FuncAnimation(page_of(ax), draw, frames=len(maps), interval=1000 / fps)
    if path is not None:
        save_animation(animation, Path(path), fps=fps, dpi=dpi)
    return animation


def _heat_map(
    ax: Axes | None, maps: Sequence[FloatArray], colours: Colours, tokens: Sequence[str] | None, prefix: int
) -> tuple[Axes, AxesImage]:
    """Draw a map as large as the largest."""
    largest = max(one.shape[0] for one in maps), max(one.shape[1] for one in maps)
    if ax is None:
        ax = new_axes(5.5, 4.5, "constrained")
    drawn = draw_heat_map(ax, np.zeros(largest), colours)
    label_token_axes(ax, largest, tokens, prefix=prefix)
    ax.set(xlabel=KEYS, ylabel=QUERIES)
    return ax, drawn


def _layer(values: Layers) -> str:
    """The layer, where these are the steps of one."""
    layers = {record.layer for record in values.records} if isinstance(values, Records) else set()
    return f"layer {layers.pop()}" if len(layers) == 1 and layers.isdisjoint({None, ""}) else ""


def _over_image(
    ax: Axes | None, picture: FloatArray, first: FloatArray, colours: Colours, laid: Laid
) -> tuple[Axes, AxesImage]:
    if ax is None:
        wide = panel_width(picture)
        side = 3.6 / max(wide, 1.0) ** 0.5
        ax = new_axes(max(wide * side, 2.2) + 1.2, side + 0.5, "constrained")
    draw_over_image(ax, picture, first, colours, laid)
    return ax, ax.images[-1]


def _of_patch(
    weights: FloatArray, patch: int | tuple[int, int] | Literal["cls"], grid: Grid | None, cls: bool | int | None
) -> FloatArray:
    """Return the (rows, columns) of what one token attends to."""
    placed = layout(len(square(weights)), grid, cls)
    query = 0
    if patch != "cls":
        row, column = patch_position(patch, placed.grid)
        query = placed.prefix + row * placed.grid[1] + column
    elif placed.prefix == 0:
        raise ValueError(f'patch="cls": the {len(weights)} tokens are {placed.grid} patches and hold no CLS token')
    return split_patches(weights[query], placed)[1]


def _joined(maps: Sequence[FloatArray]) -> FloatArray:
    return np.concatenate([one.ravel() for one in maps])
