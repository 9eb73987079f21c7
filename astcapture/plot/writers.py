"""How an animation gets into a file: GIF by Pillow, MP4 by ffmpeg."""

from __future__ import annotations

import importlib
from pathlib import Path

import matplotlib as mpl
from matplotlib.animation import AbstractMovieWriter, FFMpegWriter, FuncAnimation, PillowWriter


def check_writer(path: Path) -> None:
    """Raise what keeps an animation from being written to `path`.

    Raises:
        ValueError: a file of another kind than GIF or MP4.
        RuntimeError: MP4 where there is no ffmpeg.

    >>> check_writer(Path("maps.gif"))
    >>> check_writer(Path("maps.avi"))
    Traceback (most recent call last):
      ...
    ValueError: maps.avi ends in '.avi'; accepted are .gif and .mp4
    """
    kind = path.suffix.lower()
    if kind not in (".gif", ".mp4"):
        raise ValueError(f"{path} ends in {kind!r}; accepted are .gif and .mp4")
    if kind == ".mp4" and _ffmpeg() is None:
        raise RuntimeError(
            f"{path}: MP4 is written by the program ffmpeg, and there is none: install ffmpeg, or the package "
            "imageio-ffmpeg, which brings it; or write a .gif"
        )


def save_animation(animation: FuncAnimation, path: Path, *, fps: float, dpi: float) -> None:
    """Write an animation, as the end of the file's name says."""
    writer: AbstractMovieWriter
    if path.suffix.lower() == ".gif":
        writer = PillowWriter(fps=fps)  # type: ignore[arg-type]  # a float will do
        animation.save(path, writer=writer, dpi=dpi)
        return
    with mpl.rc_context({"animation.ffmpeg_path": _ffmpeg()}):
        writer = FFMpegWriter(fps=fps)  # type: ignore[arg-type]
        animation.save(path, writer=writer, dpi=dpi)


def _ffmpeg() -> str | None:
    """The program that matplotlib is set to use, else that of the package imageio-ffmpeg."""
    if FFMpegWriter.isAvailable():
        return str(mpl.rcParams["animation.ffmpeg_path"])
    try:
        package = importlib.import_module("imageio_ffmpeg")
    except ModuleNotFoundError:
        return None
    try:
        return str(package.get_ffmpeg_exe())
    except RuntimeError:  # a build of the package without the program
        return None
