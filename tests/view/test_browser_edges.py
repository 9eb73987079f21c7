"""The page where values, tokens, windows or what a program asks for are unusual."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_browser import Fixture, drawn, set_, state
from unpacked import attention, record, records

from astcapture.view import View

pytestmark = pytest.mark.slow

Open = Callable[..., Any]
PINK = [214, 0, 108]


def saved(tmp_path: Path, *several: Any, **options: Any) -> Path:
    path = tmp_path / "page.html"
    View(records(*several), **options).save(path)
    return path


def thumbnail(page: Any, head: int) -> list[int]:
    """The colour in the middle of a head's picture among those of all heads, of four."""
    return list(
        page.evaluate(
            "head => { const c = document.getElementById('grid'); const d = c.width / c.clientWidth;"
            "const x = 26 + (c.clientWidth - 26) * (head + 0.5) / 4;"
            "const one = document.createElement('canvas').getContext('2d', {willReadFrequently: true});"
            "one.drawImage(c, -x * d, -45 * d); return [...one.getImageData(0, 0, 1, 1).data].slice(0, 3); }",
            head,
        )
    )


@pytest.mark.parametrize("size", [12, 300], ids=["whole", "sparse"])
def test_a_head_of_nothing_but_nan_does_not_look_like_one_of_zeros(open_page: Open, tmp_path: Path, size: int) -> None:
    maps = attention(1, 4, size, size, causal=True)
    maps[0, 1], maps[0, 2] = np.nan, 0
    page = open_page(saved(tmp_path, record(maps), size=0.2), color_scheme="light")
    assert thumbnail(page, 1) == PINK
    assert thumbnail(page, 2) == [68, 1, 84]


@pytest.mark.parametrize("sort", ["order", "first"])
@pytest.mark.parametrize("place", [0, 7], ids=["leftmost", "rightmost"])
def test_the_frame_of_the_chosen_head_is_whole_at_the_edges(
    open_page: Open, tmp_path: Path, sort: str, place: int
) -> None:
    page = open_page(saved(tmp_path, record(attention(1, 64, 8, 8))), f"sort={sort}", color_scheme="light")
    if sort == "first":
        page.locator("#ranking li button").nth(place).evaluate("button => button.click()")
    else:
        across = page.evaluate("Math.floor((document.getElementById('grid').clientWidth - 26) / 34)")
        set_(page, head=across - 1 if place else 0)
    drawn(page)
    # Along a line through the first row of pictures: the two sides of the frame, as wide as each other.
    line = page.evaluate(
        "() => { const c = document.getElementById('grid'); c.closest('section').scrollTop = 0;"
        "const one = document.createElement('canvas').getContext('2d', {willReadFrequently: true});"
        "one.canvas.width = c.width; one.drawImage(c, 0, -30); const d = one.getImageData(0, 0, c.width, 1).data;"
        "return Array.from({length: c.width}, (_, x) => d[4 * x] > 170 && d[4 * x + 1] < 140 && d[4 * x + 2] < 110"
        " ? '#' : ' ').join(''); }"
    )
    sides = line.split()
    assert len(sides) == 2 and len(sides[0]) == len(sides[1]) >= 2, line


def test_a_row_without_numbers_has_no_sum(open_page: Open, tmp_path: Path) -> None:
    maps = attention(1, 1, 6, 6)
    maps[0, 0, 2], maps[0, 0, 3, 1:3] = np.nan, np.nan
    page = open_page(saved(tmp_path, record(maps)), "query=2")
    assert page.inner_text("#row-text").startswith("No cell of this row has a number.")
    set_(page, query=3)
    drawn(page)
    rest = float(np.nansum(maps[0, 0, 3]))
    found = re.match(r"Sum of the cells that have a number: ([\d.]+)\. 2 have none\.", page.inner_text("#row-text"))
    assert found and float(found[1]) == pytest.approx(rest, abs=0.01)
    set_(page, query=4)
    drawn(page)
    assert page.inner_text("#row-text").startswith("Row sum ")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"view": "nonsense"}, 'RangeError: view is one of "map", "lines", "text", "image", not "nonsense"'),
        ({"layer": 99}, "RangeError: there is no layer 99: there are 4, 0 to 3"),
        ({"layer": "blocks.9.attn"}, 'RangeError: there is no layer "blocks.9.attn"; there are "blocks.0.attn", '),
        ({"layer": 1.5}, "TypeError: layer is a whole number, not 1.5"),
        ({"head": 4}, "RangeError: there is no head 4: there are 4, 0 to 3"),
        ({"head": "men"}, 'TypeError: head is a whole number, not "men"'),
        ({"query": -1}, "RangeError: there is no query -1: there are 17, 0 to 16"),
        ({"key": None}, "TypeError: key is a whole number, not null"),
        ({"series": 99}, "RangeError: there is no series 99"),
        ({"call": 5}, "RangeError: there is no call 5: there is 0"),
        ({"sort": "beauty"}, 'RangeError: sort is one of "order", "entropy", '),
        ({"threshold": 2}, "RangeError: threshold is from 0 to 1, not 2"),
        ({"zoom": [1, 2]}, "TypeError: zoom is a list of 3 numbers, not [1,2]"),
        ({"range": "some"}, 'TypeError: range is "head", "all" or two numbers, not "some"'),
        ({"small": "yes"}, 'TypeError: small is true or false, not "yes"'),
    ],
)
def test_a_program_that_asks_for_what_is_not_there_is_told_what_is(
    open_page: Open, fixture_page: Fixture, changes: dict[str, Any], error: str
) -> None:
    page = open_page(fixture_page[0], "layer=1&query=5")
    before = state(page)
    got = page.evaluate("changes => { try { astcapture.set(changes); } catch (e) { return String(e); } }", changes)
    assert got is not None and got.startswith(error)
    assert state(page) == before


def test_an_address_of_another_file_is_settled(open_page: Open, fixture_page: Fixture) -> None:
    page = open_page(fixture_page[0], "layer=99&view=nonsense&query=99")
    assert (state(page)["layer"], state(page)["view"], state(page)["query"]) == (3, "map", 16)


def generation() -> list[Any]:
    steps = [attention(1, 2, 1 if step else 6, 6 + step, causal=True, seed=step) for step in range(5)]
    return [record(one, "h.0", call) for call, one in enumerate(steps)]


def test_the_end_of_the_prompt_is_marked_in_a_generation(open_page: Open, tmp_path: Path) -> None:
    page = open_page(saved(tmp_path, *generation()), color_scheme="light")
    assert "6 tokens given, 4 generated" in page.inner_text("#about")
    found = page.evaluate(
        "() => { const c = document.getElementById('stage'); const d = c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data; let n = 0;"
        "for (let i = 0; i < d.length; i += 4) if (d[i] === 199 && d[i + 1] === 154 && d[i + 2] === 0) n++;"
        "return n; }"
    )
    assert found > 300


def test_what_is_no_generation_has_no_prompt(open_page: Open, fixture_page: Fixture) -> None:
    page = open_page(fixture_page[0])
    assert "given" not in page.inner_text("#about")


def test_in_a_narrow_window_the_map_is_seen_without_scrolling(open_page: Open, fixture_page: Fixture) -> None:
    page = open_page(fixture_page[0], size=(480, 900))
    box = page.locator("#stage").bounding_box()
    assert box["y"] + box["height"] <= 900
    assert page.locator("#grid").bounding_box()["y"] > box["y"]


@pytest.mark.parametrize("width", [480, 1000, 1600])
def test_very_long_tokens_leave_the_page_as_it_is(open_page: Open, tmp_path: Path, width: int) -> None:
    words = [f"w{place}" for place in range(20)]
    words[3], words[5], words[9] = "x" * 200, "ß" * 200, "<|" + "long " * 40 + "|>"
    path = saved(tmp_path, record(attention(1, 4, 20, 20)), tokens=words)
    page = open_page(path, "query=3&key=5&find=x", size=(width, 900))
    for view in ("map", "lines", "text"):
        set_(page, view=view)
        drawn(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        high = page.evaluate(
            "() => [...document.querySelectorAll('#cell-query, #cell-key, #list-title, #list tr, .chip')]"
            ".map(e => [e.id, e.getBoundingClientRect().height])"
        )
        assert [one for one in high if one[1] > 75] == []
    # Pointing at it shows all of it.
    assert words[3] in page.get_attribute("#cell-query", "title")


def test_two_fingers_zoom_the_map_around_the_point_between_them(open_page: Open, fixture_page: Fixture) -> None:
    page = open_page(fixture_page[0], has_touch=True)
    touch = page.context.new_cdp_session(page)

    def fingers(kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(places)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    box = page.locator("#stage").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    before = state(page)
    fingers("touchStart", (x - 40, y))
    fingers("touchStart", (x - 40, y), (x + 40, y))
    for apart in (50, 60, 70, 80):
        fingers("touchMove", (x - apart, y), (x + apart, y))
    drawn(page)
    fingers("touchEnd")
    after = state(page)
    assert after["zoom"][2] == pytest.approx(2, rel=0.1)
    assert (after["query"], after["key"], after["lock"]) == (before["query"], before["key"], before["lock"])
    # Together again: all is seen, as before.
    fingers("touchStart", (x - 80, y))
    fingers("touchStart", (x - 80, y), (x + 80, y))
    for apart in (60, 40, 20):
        fingers("touchMove", (x - apart, y), (x + apart, y))
    fingers("touchEnd")
    assert state(page)["zoom"] is None
