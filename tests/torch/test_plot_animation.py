"""Films: the frames are the maps, in their order and place, and the files are films."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.animation import FuncAnimation
from pictures import assert_readable, attention, bars, drawn, records
from PIL import Image, ImageSequence

from astcapture import plot
from astcapture.plot.frames import appended, frames
from astcapture.values.record import Record
from astcapture.values.records import Records

IMAGE = np.linspace(0, 1, 40 * 60).reshape(40, 60)


def shown(animation: FuncAnimation) -> list[tuple[str, np.ndarray]]:
    """The title and the map of each frame, drawn one after the other."""
    found = []
    for number in range(animation._save_count):
        animation._func(number)
        (ax, *_) = animation._fig.axes
        found.append((ax.get_title(), np.array(drawn(ax))))
    animation._draw_was_started = True  # it has been looked at: no warning
    return found


def test_the_layers_of_a_step_follow_each_other_in_one_range_of_colours():
    layers = attention(4, 3, 9, 9)
    animation = plot.animate(records(layers), title="a ViT")
    assert [title for title, _ in shown(animation)] == [f"a ViT, layer blocks.{number}.attn" for number in range(4)]
    for (_, weights), expected in zip(shown(animation), layers.mean(dim=1), strict=True):
        assert np.allclose(weights, expected)
    assert bars(animation._fig)[0].get_ylim() == pytest.approx((0, float(layers.mean(dim=1).max())))
    assert animation._fig.axes[0].images[0].get_clim() == bars(animation._fig)[0].get_ylim()


def test_the_steps_of_one_layer_are_named_by_their_call():
    steps = attention(3, 2, 9, 9)
    animation = plot.animate(records(steps, calls=True)[1:], head=1)
    assert [title for title, _ in shown(animation)] == [
        "layer blocks.0.attn, step 1",
        "layer blocks.0.attn, step 2",
    ]
    assert np.allclose(shown(animation)[0][1], steps[1, 1])


def test_steps_that_keep_keys_and_values_are_put_below_each_other():
    steps = [attention(2, 3, 3), attention(2, 1, 4), attention(2, 1, 5)]
    animation = plot.animate(records(steps, calls=True), tokens=list("abcde"))
    maps = [weights for _, weights in shown(animation)]
    assert [one.shape for one in maps] == [(3, 3), (4, 4), (5, 5)]
    whole = np.zeros((5, 5))
    whole[:3, :3], whole[3, :4], whole[4] = steps[0].mean(dim=0), steps[1].mean(dim=0), steps[2].mean(dim=0)
    assert np.allclose(maps[2], whole)
    assert np.allclose(maps[1], whole[:4, :4])


def test_the_axes_stay_where_they_are_while_a_map_grows():
    animation = plot.animate(records([attention(2, 2), attention(1, 3)], calls=True))
    ax = animation._fig.axes[0]
    for number, size in enumerate((2, 3)):
        animation._func(number)
        assert (ax.get_xlim(), ax.get_ylim()) == ((-0.5, 2.5), (2.5, -0.5))
        assert ax.images[0].get_extent() == [-0.5, size - 0.5, size - 0.5, -0.5]
    assert_readable(animation._fig)
    animation._draw_was_started = True


def test_a_first_step_that_was_not_captured_leaves_its_queries_out():
    whole = appended([np.full((1, 4), 1.0), np.full((1, 5), 2.0)])
    assert whole[1].tolist() == [[1, 1, 1, 1, 0], [2, 2, 2, 2, 2]]


@pytest.mark.parametrize("shapes", [[(3, 3), (4, 4)], [(2, 5), (2, 5)], [(4, 4), (2, 3)], [(3, 2), (1, 3)], [(2, 3)]])
def test_other_maps_are_left_as_they_are(shapes):
    maps = [np.ones(shape) for shape in shapes]
    assert all(one is given for one, given in zip(appended(maps), maps, strict=True))


def test_over_an_image_each_frame_is_what_a_patch_attends_to():
    layers = attention(3, 2, 25, 25)
    for patch, row in (("cls", 0), ((1, 4), 11), (10, 11)):
        animation = plot.animate(layers, image=IMAGE, patch=patch, grid=(4, 6))
        assert np.allclose(animation._fig.axes[0].images[0].get_array(), IMAGE)
        for (_, weights), layer in zip(shown(animation), layers, strict=True):
            assert np.allclose(weights, layer.mean(dim=0)[row, 1:].reshape(4, 6))
        assert_readable(animation._fig)


def test_a_gif_has_a_frame_for_each_map_and_lasts_as_long_as_asked_for(tmp_path):
    animation = plot.animate(attention(4, 2, 9, 9), tmp_path / "layers.gif", fps=4, dpi=50)
    assert animation._interval == 250
    with Image.open(tmp_path / "layers.gif") as film:
        pictures = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(film)]
        assert film.info["duration"] == 250
    assert len(pictures) == 4
    assert all((first != second).any() for first, second in pairwise(pictures))


#: Stands for ffmpeg: keeps what it was told and given, and writes a file.
FFMPEG = """#!{python}
import pathlib, sys
pathlib.Path(__file__).with_suffix(".told").write_text(" ".join(sys.argv[1:]))
pathlib.Path(sys.argv[-1]).write_bytes(sys.stdin.buffer.read())
"""


def test_mp4_is_written_by_ffmpeg_frame_by_frame(tmp_path, monkeypatch):
    program = tmp_path / "ffmpeg"
    program.write_text(FFMPEG.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setitem(mpl.rcParams, "animation.ffmpeg_path", str(program))
    animation = plot.animate(attention(4, 2, 9, 9), tmp_path / "layers.mp4", fps=4, dpi=50)
    told = program.with_suffix(".told").read_text().split()
    width, height = map(int, told[told.index("-s") + 1].split("x"))
    assert (tmp_path / "layers.mp4").stat().st_size == 4 * width * height * 4
    rate = "-framerate" if "-framerate" in told else "-r"  # as matplotlib before 3.8 says it
    assert told[told.index(rate) + 1] == "4"
    assert animation._fig.canvas.get_width_height() == pytest.approx((2 * width, 2 * height), abs=4)


def test_mp4_without_ffmpeg_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(mpl.rcParams, "animation.ffmpeg_path", str(tmp_path / "none"))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(RuntimeError, match=r"layers.mp4: MP4 is written by the program ffmpeg, and there is none"):
        plot.animate(attention(4, 2, 9, 9), tmp_path / "layers.mp4")
    assert not list(tmp_path.iterdir())
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (Records(), {}, "the Records hold no value"),
        (attention(4, 2, 9, 9), {"path": "maps.avi"}, "maps.avi ends in '.avi'; accepted are .gif and .mp4"),
        (attention(4, 2, 9, 9), {"path": "maps"}, "maps ends in ''; accepted are"),
        (attention(4, 2, 9, 9), {"fps": 0}, "fps=0: it is a number of frames per second"),
        (attention(4, 2, 2, 9, 9), {}, "0: attention of shape .* has 2 along its batch axis"),
        (attention(4, 2, 9, 9), {"head": 2}, "head=2 is outside"),
        (attention(4, 2, 8, 8), {"image": IMAGE}, "8 tokens, with or without one CLS token, do not form a square"),
        (attention(4, 2, 9, 9), {"tokens": ["a"]}, r"1 tokens do not label a map of shape \(9, 9\)"),
        ([attention(3), attention(4)], {}, r"attention has shape \(3,\); accepted are"),
    ],
)
def test_what_cannot_be_animated_says_why(values, options, message):
    with pytest.raises(ValueError, match=message):
        plot.animate(values, **options)


def test_records_of_several_layers_in_several_steps_ask_for_one_of_either():
    values = Records([Record(torch.eye(3), "attn", "m", "f", 1, f"h.{n % 2}", n // 2) for n in range(6)])
    with pytest.raises(ValueError, match=r"6 values of 2 layers: .*select\(layer='h.0'\), .*select\(call=0\)"):
        plot.animate(values)
    assert [frame.name for frame in frames(values.select(layer="h.1"), batch=None, head=None)] == [
        "step 0",
        "step 1",
        "step 2",
    ]


def test_nan_is_grey_in_its_frame():
    layers = np.full((2, 3, 3), 0.5)
    layers[1, 0, 0] = np.nan
    animation = plot.animate([layers[0], layers[1]])
    assert np.isnan(shown(animation)[1][1]).sum() == 1
    assert bars(animation._fig)[0].get_ylabel() == "weight (grey: not finite)"


def test_a_relative_path_and_a_string_will_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plot.animate(attention(2, 1, 4, 4), "maps.GIF", dpi=30)
    assert Path("maps.GIF").read_bytes().startswith(b"GIF89a")
