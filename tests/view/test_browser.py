"""The viewer's page in a browser: what is on the screen is what was captured."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

Open = Callable[..., Any]
Fixture = tuple[Path, dict[str, Any]]
N = 17


def four_digits(text: str) -> float:
    return float(text.replace("−", "-"))


def state(page: Any) -> dict[str, Any]:
    return dict(page.evaluate("structuredClone(astcapture.state)"))


def set_(page: Any, **changes: Any) -> None:
    page.evaluate("changes => astcapture.set(changes)", changes)


def drawn(page: Any) -> None:
    """Wait until what was changed is on the screen: the page draws in the next frame."""
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def pixel(page: Any, x: float, y: float) -> list[int]:
    """The colour of the large canvas at a place in CSS pixels."""
    return list(
        page.evaluate(
            "([x, y]) => { const c = document.getElementById('stage'); const d = c.width / c.clientWidth;"
            "const one = document.createElement('canvas').getContext('2d', {willReadFrequently: true});"
            "one.drawImage(c, -x * d, -y * d); return [...one.getImageData(0, 0, 1, 1).data]; }",
            [x, y],
        )
    )


def place_of(page: Any, query: int, key: int) -> tuple[float, float]:
    """Where a cell lies on the screen, found by pointing: the page says which cell is under the pointer."""
    found = page.evaluate(
        "([query, key]) => { const stage = document.getElementById('stage'), box = stage.getBoundingClientRect();"
        "for (let y = box.top + 4; y < box.bottom; y += 7) for (let x = box.left + 60; x < box.right; x += 7) {"
        "stage.dispatchEvent(new PointerEvent('pointermove', {clientX: x, clientY: y, bubbles: true}));"
        "const {hoverQuery, hoverKey} = astcapture.state;"
        "if (hoverQuery === query && hoverKey === key) return [x, y]; } return null; }",
        [query, key],
    )
    assert found is not None, f"no place on the screen is cell {query}, {key}"
    return found[0], found[1]


def test_the_values_on_the_screen_are_those_that_were_captured(open_page: Open, fixture_page: Fixture) -> None:
    path, values = fixture_page
    page = open_page(path, "layer=2&head=3&query=12&key=9")
    want = values["words/2"][3]
    error = page.evaluate(
        "JSON.parse(document.getElementById('astcapture-data').textContent).series[0].items[2].maps[3].error"
    )
    assert abs(four_digits(page.inner_text("#value")) - want[12 * N + 9]) <= error + 5e-5
    # The list is that of NumPy: by weight, each key once, with four digits.
    rows = page.evaluate("[...document.querySelectorAll('#list tr')].map(r => [...r.cells].map(c => c.textContent))")
    got = {int(row[1]): four_digits(row[3]) for row in rows}
    assert len(got) == 12
    for key, value in got.items():
        assert abs(value - want[12 * N + key]) <= error + 5e-5
    assert list(got.values()) == sorted(got.values(), reverse=True)
    assert max(range(N), key=lambda key: want[12 * N + key]) == next(iter(got))


def test_value_is_the_captured_one_in_every_layer_and_head(open_page: Open, fixture_page: Fixture) -> None:
    path, values = fixture_page
    page = open_page(path)
    got = page.evaluate(
        "() => astcapture.layers.map((_, l) => [0, 1, 2, 3].map(h => Array.from({length: 289}, (_, i) =>"
        "astcapture.value(l, h, Math.floor(i / 17), i % 17))))"
    )
    for layer in range(4):
        for head in range(4):
            exact = (layer, head) == (0, 1)
            for one, want in zip(got[layer][head], values[f"words/{layer}"][head], strict=True):
                assert abs(one - want) <= (0 if exact else 0.002)
    assert page.evaluate("astcapture.layers") == [f"blocks.{i}.attn" for i in range(4)]
    assert page.evaluate("astcapture.value('blocks.1.attn', 0, 3, 3)") == pytest.approx(
        values["words/1"][0][3 * N + 3], abs=0.002
    )


def test_a_cell_has_the_colour_of_its_value(open_page: Open, fixture_page: Fixture) -> None:
    path, _ = fixture_page
    page = open_page(path, "layer=0&head=0&range=all")
    x, y = place_of(page, 0, 0)
    x2, y2 = place_of(page, 0, 12)
    set_(page, query=16, key=16)
    page.mouse.move(5, 5)
    drawn(page)
    box = page.locator("#stage").bounding_box()
    # Beside the number in the cell: the ends of viridis, the first for nothing and the last for all of the mass.
    assert pixel(page, x - box["x"] + 4, y - box["y"] + 3)[:3] == pytest.approx([253, 231, 37], abs=3)
    assert pixel(page, x2 - box["x"] + 4, y2 - box["y"] + 3)[:3] == pytest.approx([68, 1, 84], abs=3)


def test_pointing_previews_and_a_click_holds(open_page: Open, fixture_page: Fixture) -> None:
    path, _ = fixture_page
    page = open_page(path)
    x, y = place_of(page, 7, 4)
    page.mouse.move(x, y)
    drawn(page)
    assert page.inner_text("#cell-query") == "7 “,”" and page.inner_text("#cell-key") == "4 “on”"
    page.mouse.move(5, 5)
    drawn(page)
    assert page.inner_text("#cell-query") == "0 “[CLS]”"
    page.mouse.click(x, y)
    page.mouse.move(5, 5)
    drawn(page)
    assert page.inner_text("#cell-query") == "7 “,”"
    assert (state(page)["query"], state(page)["key"], state(page)["lock"]) == (7, 4, "query")


def test_everything_is_reached_from_the_keyboard(open_page: Open, fixture_page: Fixture) -> None:
    path, _ = fixture_page
    page = open_page(path)
    page.keyboard.press("f")
    for key in ["ArrowDown"] * 5 + ["ArrowRight"] * 3 + ["End", "ArrowLeft"]:
        page.keyboard.press(key)
    assert (state(page)["query"], state(page)["key"]) == (5, 15)
    spoken = "Query 5 “the”, key 15 “שלום”: 0"
    page.wait_for_function("text => document.getElementById('live').textContent.startsWith(text)", arg=spoken)
    page.keyboard.press("]")
    page.keyboard.press(".")
    page.keyboard.press(".")
    assert (state(page)["layer"], state(page)["head"]) == (1, 2)
    page.keyboard.press("[")
    page.keyboard.press(",")
    assert (state(page)["layer"], state(page)["head"]) == (0, 1)
    page.keyboard.press("m")
    assert state(page)["head"] == "mean"
    page.keyboard.press("m")
    page.keyboard.press("m")
    assert state(page)["head"] == 0
    page.keyboard.press("v")
    assert state(page)["view"] == "lines"
    page.keyboard.press("V")
    page.keyboard.press("+")
    assert state(page)["zoom"][2] == pytest.approx(1.5)
    page.keyboard.press("0")
    assert state(page)["zoom"] is None
    page.keyboard.press("s")
    drawn(page)
    assert "Hidden: 0 “[CLS]”, 16 “[SEP]”. Each row is renormalised" in page.inner_text("#banner")
    page.keyboard.press("s")
    page.keyboard.press("/")
    page.keyboard.type("cat")
    page.keyboard.press("Enter")
    assert state(page)["query"] == 10
    page.keyboard.press("Enter")
    assert state(page)["query"] == 2
    page.keyboard.press("Escape")
    assert state(page)["find"] == ""
    page.keyboard.press("t")
    drawn(page)
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.keyboard.press("g")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    assert (state(page)["layer"], state(page)["head"]) == (1, 1)
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#help").is_visible()


def test_keys_within_one_frame_act_on_what_was_chosen_last(open_page: Open, fixture_page: Fixture) -> None:
    page = open_page(fixture_page[0])
    # What a fast typist or a slow machine does: nothing is drawn between these.
    after = page.evaluate(
        "() => { const find = document.getElementById('find');"
        "const press = (target, key) => target.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));"
        "find.value = 'cat'; find.dispatchEvent(new Event('input')); press(find, 'Enter');"
        "const found = astcapture.state.query;"
        "press(document.body, '+'); press(document.body, 'v'); press(document.body, 'v');"
        "return [found, astcapture.state.view]; }"
    )
    assert after == [2, "text"]


def test_every_control_has_a_name_and_takes_the_focus(open_page: Open, fixture_page: Fixture) -> None:
    page = open_page(fixture_page[0])
    nameless = page.evaluate(
        "() => [...document.querySelectorAll('button, select, input, canvas')].filter(e => e.offsetParent !== null)"
        ".filter(e => !(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.length))"
        ".map(e => e.id || e.outerHTML)"
    )
    assert nameless == []
    assert page.evaluate("document.getElementById('stage').tabIndex") == 0
    assert "Arrow keys move" in page.get_attribute("#stage", "aria-label")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineWidth") == "3px"


def test_the_address_follows_and_is_read(open_page: Open, fixture_page: Fixture) -> None:
    path, _ = fixture_page
    page = open_page(path, "layer=3&head=2&query=12&view=text&hide=4&threshold=0.9&find=cat")
    found = state(page)
    assert (found["layer"], found["head"], found["query"], found["view"], found["lock"]) == (3, 2, 12, "text", "query")
    assert (found["hide"], found["threshold"], found["find"]) == ([4], 0.9, "cat")
    set_(page, layer=1, view="map", hide=[], threshold=1, find="")
    page.wait_for_function("() => location.href.endsWith('#layer=1&head=2&query=12&lock=query')")
    page.evaluate("location.hash = 'layer=0&head=1'")
    page.wait_for_function("() => astcapture.state.layer === 0")
    assert (state(page)["layer"], state(page)["head"], state(page)["query"]) == (0, 1, 0)


def test_a_foolish_address_or_choice_does_no_harm(open_page: Open, fixture_page: Fixture) -> None:
    page = open_page(
        fixture_page[0], "series=77&layer=999&head=-3&query=1e9&view=<b>&zoom=1&brush=x&range=9,1&pin=1,2,3,4,5"
    )
    assert page.inner_text("#value")
    assert page.evaluate("() => { try { astcapture.set({layr: 3}); } catch (e) { return e.message; } }").startswith(
        "no state is named layr"
    )
    assert "no cell 99, 0" in page.evaluate(
        "() => { try { astcapture.value(0, 0, 99, 0); } catch (e) { return e.message; } }"
    )


def saved(page: Any, kind: str) -> bytes:
    with page.expect_download() as waiting:
        page.click(f"#save-{kind}")
    return Path(waiting.value.path()).read_bytes()


def test_csv_holds_what_is_seen(open_page: Open, fixture_page: Fixture) -> None:
    path, values = fixture_page
    page = open_page(path, "layer=0&head=1")
    rows = [*csv.reader(io.StringIO(saved(page, "csv").decode()))]
    assert len(rows) == N + 1 and rows[0][3] == "2 cat" and rows[5][0] == "4 on"
    for query in range(N):
        assert [float(x) for x in rows[query + 1][1:]] == pytest.approx(
            values["words/0"][1][query * N : query * N + N], rel=1e-6
        )
    set_(page, zoom=[3.5, 3.5, 4])
    drawn(page)
    part = [*csv.reader(io.StringIO(saved(page, "csv").decode()))]
    assert len(part) < N and part[1][0].startswith(("0 ", "1 ", "2 "))
    set_(page, zoom=None, hide=[3])
    drawn(page)
    assert [row[4] for row in csv.reader(io.StringIO(saved(page, "csv").decode()))][1:] == [""] * N


@pytest.mark.parametrize("view", ["map", "lines", "text"])
def test_png_and_svg_are_pictures_of_the_view(
    open_page: Open, fixture_page: Fixture, view: str, tmp_path: Path
) -> None:
    page = open_page(fixture_page[0], f"view={view}&layer=1&query=5")
    assert saved(page, "png").startswith(b"\x89PNG")
    svg = saved(page, "svg").decode()
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg")
    words = "".join(root.itertext())
    assert "slept" in words and "<script>alert(1)" in words
    assert "script" not in {element.tag.rpartition("}")[2] for element in root.iter()}


def test_nothing_of_a_users_texts_is_executed(open_page: Open, fixture_page: Fixture) -> None:
    page = open_page(fixture_page[0])
    for series in range(
        page.evaluate("JSON.parse(document.getElementById('astcapture-data').textContent).series.length")
    ):
        for view in ("map", "lines", "text", "image"):
            set_(page, series=series, view=view, find="<")
            drawn(page)
    assert page.evaluate("window.hacked") is None
    assert page.inner_text("#title").startswith("Fixture </script><img")
    assert page.evaluate("document.querySelectorAll('img').length") == 0


def test_every_series_in_every_view_is_drawn_in_silence(open_page: Open, fixture_page: Fixture) -> None:
    page = open_page(fixture_page[0], size=(1300, 800))
    box = page.locator("#stage").bounding_box()
    changes = [
        {"grid": "row", "sort": "entropy"},
        {"grid": "cell", "sort": "order", "small": True},
        {"head": "mean", "specials": True},
        {"head": "max", "specials": False, "threshold": 0.7},
        {"head": 0, "threshold": 1, "compare": "difference"},
        {"compare": "beside", "range": "all"},
        {"compare": "off", "range": [0.1, 0.2], "heads": [0, 1]},
    ]
    for series in range(
        page.evaluate("JSON.parse(document.getElementById('astcapture-data').textContent).series.length")
    ):
        for view in ("map", "lines", "text", "image"):
            for change in changes:
                set_(page, series=series, view=view, **change)
            set_(page, series=series, heads=[], range="head", small=False, grid="maps")
            page.mouse.move(box["x"] + 200, box["y"] + 200)
            page.mouse.wheel(0, -300)
            page.mouse.down()
            page.mouse.move(box["x"] + 300, box["y"] + 300, steps=3)
            page.mouse.up()
            for key in [
                "f",
                "ArrowDown",
                "Shift+ArrowRight",
                "p",
                "d",
                "p",
                "x",
                "x",
                "c",
                "c",
                "Escape",
                "0",
                "]",
                "<",
            ]:
                page.keyboard.press(key)
    # What the fixture ends a test with: nothing was written to the console.


def test_the_policy_lets_no_other_script_run(open_page: Open, fixture_page: Fixture, browser: Any) -> None:
    page = browser.new_page()
    page.goto(fixture_page[0].as_uri())
    page.evaluate(
        "() => { const s = document.createElement('script'); s.textContent = 'window.other = 1';"
        "document.body.append(s); }"
    )
    assert page.evaluate("window.other") is None
    page.close()


def test_words_answer_on_both_sides_of_the_lines(open_page: Open, fixture_page: Fixture) -> None:
    page = open_page(fixture_page[0], "view=lines&layer=1&head=1")
    box = page.locator("#stage").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + 26 + 5.5 * 26
    page.mouse.move(x - 250, y)
    drawn(page)
    assert (state(page)["hoverQuery"], state(page)["hoverKey"]) == (5, None)
    page.mouse.move(x + 250, y)
    drawn(page)
    assert (state(page)["hoverQuery"], state(page)["hoverKey"]) == (None, 5)


def test_heads_are_added_to_the_lines_and_isolated(open_page: Open, fixture_page: Fixture) -> None:
    page = open_page(fixture_page[0])
    box = page.locator("#grid").bounding_box()
    # The pictures of layer 0 lie in a row below the names of the heads.
    places = [(box["x"] + 26 + (box["width"] - 26) * (head + 0.5) / 4, box["y"] + 50) for head in range(4)]
    page.mouse.click(*places[1])
    page.keyboard.down("Control")
    page.mouse.click(*places[3])
    page.keyboard.up("Control")
    assert (state(page)["heads"], state(page)["view"]) == ([1, 3], "lines")
    page.mouse.dblclick(*places[2])
    assert (state(page)["head"], state(page)["heads"]) == (2, [2])
    page.mouse.dblclick(*places[2])
    assert state(page)["heads"] == [0, 1, 2, 3]
    page.mouse.click(*places[0])
    assert (state(page)["head"], state(page)["heads"]) == (0, [])
    page.keyboard.press("g")
    page.keyboard.press("a")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    assert state(page)["heads"] == [1]


def test_a_patch_answers_with_its_row_and_its_column(open_page: Open, fixture_page: Fixture) -> None:
    path, values = fixture_page
    page = open_page(path, "series=3&view=image")
    box = page.locator("#stage").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    drawn(page)
    found = state(page)
    assert found["query"] == found["key"] > 1
    assert page.inner_text("#cell-query").startswith(f"{found['query']} (patch row")
    page.mouse.move(5, 5)
    set_(page, series=4, view="image", query=20, key=3)
    drawn(page)
    assert four_digits(page.inner_text("#value")) == pytest.approx(values["cross"][0][20 * 6 + 3], abs=0.002)


def test_the_cell_is_shown_in_every_layer_and_head(open_page: Open, fixture_page: Fixture) -> None:
    page = open_page(fixture_page[0], "query=6&key=5&grid=cell")
    before = page.evaluate("document.getElementById('grid').toDataURL()")
    set_(page, key=6)
    drawn(page)
    assert page.evaluate("document.getElementById('grid').toDataURL()") != before


def test_heads_are_ranked_by_a_statistic(open_page: Open, fixture_page: Fixture) -> None:
    page = open_page(fixture_page[0], "sort=first")
    meta = page.evaluate(
        "JSON.parse(document.getElementById('astcapture-data').textContent).series[0].items.map(i => i.stats.first)"
    )
    best = max((value, layer, head) for layer, row in enumerate(meta) for head, value in enumerate(row))
    first = page.locator("#ranking li").first
    assert f"layer {best[1]}, head {best[2]}" in first.inner_text()
    first.locator("button").click()
    assert (state(page)["layer"], state(page)["head"]) == best[1:]


def test_a_brush_sums_its_cells(open_page: Open, fixture_page: Fixture) -> None:
    path, values = fixture_page
    page = open_page(path, "layer=0&head=1&query=3&key=1")
    page.keyboard.press("f")
    for key in ["Shift+ArrowDown"] * 4 + ["Shift+ArrowRight"] * 2:
        page.keyboard.press(key)
    drawn(page)
    assert state(page)["brush"] == [3, 7, 1, 3]
    want = sum(values["words/0"][1][q * N + k] for q in range(3, 8) for k in range(1, 4))
    found = re.search(r"15 cells\. Sum ([\d.]+)", page.inner_text("#brush-text"))
    assert found and float(found[1]) == pytest.approx(want, rel=1e-3)


def test_what_was_left_out_is_said_for_each_row(open_page: Open, fixture_page: Fixture) -> None:
    path, values = fixture_page
    page = open_page(path, "series=6&query=9&key=9")
    row = values["sparse"][0][9 * 64 : 10 * 64]
    share = sum(sorted(row)[-8:]) / sum(row)
    found = re.search(r"([\d.]+) % of this row's mass is in the file; ([\d.]+) %", page.inner_text("#row-text"))
    assert found and float(found[1]) / 100 == pytest.approx(share, abs=0.005)
    least = min(range(64), key=lambda key: row[key])
    assert page.evaluate("k => astcapture.value(0, 0, 9, k)", least) is None
    set_(page, key=least)
    drawn(page)
    assert page.inner_text("#value") == "left out of this file"


def test_two_runs_are_compared_by_their_difference(open_page: Open, fixture_page: Fixture) -> None:
    page = open_page(fixture_page[0], "layer=2&head=3&query=8&key=6&compare=difference")
    one = page.evaluate("astcapture.value(2, 3, 8, 6)")
    shown = four_digits(page.inner_text("#value"))
    set_(page, compare="off", series=1)
    assert shown == pytest.approx(one - page.evaluate("astcapture.value(2, 3, 8, 6)"), abs=1e-4)
    set_(page, series=0, compare="beside")
    drawn(page)
    assert page.locator("#compare").input_value() == "beside"


def test_a_head_can_be_kept_to_compare_others_with(open_page: Open, fixture_page: Fixture) -> None:
    page = open_page(fixture_page[0], "series=3&layer=0&head=1&query=5&key=4")
    one = page.evaluate("astcapture.value(0, 1, 5, 4)")
    page.keyboard.press("p")
    set_(page, layer=1, head=2, compare="difference")
    drawn(page)
    two = page.evaluate("astcapture.value(1, 2, 5, 4)")
    assert four_digits(page.inner_text("#value")) == pytest.approx(two - one, abs=1e-4)


def test_the_calls_of_a_generation_are_a_strip(open_page: Open, fixture_page: Fixture) -> None:
    page = open_page(fixture_page[0], "series=7")
    assert page.inner_text("#steps-text") == "call 0, 1 of 6"
    page.keyboard.press(">")
    page.keyboard.press(">")
    drawn(page)
    assert page.inner_text("#steps-text") == "call 2, 3 of 6"
    assert "1 query × 19 keys" in page.inner_text("#about")


def test_it_works_inside_of_a_sandboxed_frame(
    open_page: Open, fixture_page: Fixture, tmp_path: Path, browser: Any
) -> None:
    import html

    outer = tmp_path / "notebook.html"
    inner = html.escape(fixture_page[0].read_text(encoding="utf-8"))
    outer.write_text(
        f'<!doctype html><iframe sandbox="allow-scripts" width="1000" height="700" srcdoc="{inner}"></iframe>',
        encoding="utf-8",
    )
    heard: list[str] = []
    page = browser.new_page(viewport={"width": 1100, "height": 760})
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.goto(outer.as_uri())
    frame = page.frames[1]
    frame.wait_for_function("() => window.astcapture?.state")
    frame.evaluate("astcapture.ready")
    frame.evaluate("astcapture.set({layer: 2, head: 3, view: 'lines'})")
    drawn(frame)
    assert frame.evaluate("astcapture.state.layer") == 2
    assert heard == []
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [480, 900, 1600])
def test_the_page_fits_its_window_in_both_themes(
    open_page: Open, fixture_page: Fixture, scheme: str, width: int
) -> None:
    page = open_page(fixture_page[0], "layer=1&query=5&specials=true", size=(width, 900), color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    outside = page.evaluate(
        "() => [...document.querySelectorAll('button, select, input, canvas')].filter(e => e.offsetParent !== null)"
        ".map(e => [e.id, e.getBoundingClientRect()])"
        ".filter(([, b]) => b.right > innerWidth + 1 || b.left < -1).map(([id]) => id)"
    )
    assert [name for name in outside if name != "skip"] == []
    assert page.locator("#stage").bounding_box()["height"] >= 300


def contrast(one: str, other: str) -> float:
    """As WCAG 2 defines it."""

    def luminance(css: str) -> float:
        parts = [int(x) / 255 for x in re.findall(r"\d+", css)[:3]]
        r, g, b = (x / 12.92 if x <= 0.03928 else ((x + 0.055) / 1.055) ** 2.4 for x in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_a_contrast_of_four_and_a_half(open_page: Open, fixture_page: Fixture, scheme: str) -> None:
    page = open_page(
        fixture_page[0],
        "layer=1&query=5&specials=true&find=cat&brush=1,4,1,3",
        color_scheme=scheme,
        reduced_motion="reduce",
    )
    pairs = page.evaluate(
        "() => { const out = []; const ground = e => { for (; e; e = e.parentElement) {"
        "const c = getComputedStyle(e).backgroundColor;"
        "if (!/, 0\\)$/.test(c) && c !== 'transparent') return c; } return 'rgb(255, 255, 255)'; };"
        "for (const e of document.querySelectorAll('body *')) {"
        "if (e.offsetParent === null || !e.textContent.trim()) continue;"
        "if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;"
        "out.push([e.tagName + '#' + e.id + '.' + e.className, getComputedStyle(e).color, ground(e)]); } return out; }"
    )
    assert len(pairs) > 60
    assert [(name, ink, ground) for name, ink, ground in pairs if contrast(ink, ground) < 4.5] == []


def test_an_empty_file_says_that_it_is_empty(open_page: Open, fixture_maker: Any, tmp_path: Path) -> None:
    path = tmp_path / "empty.html"
    meta = {
        "format": 1,
        "title": "none",
        "made": "a",
        "series": [],
        "axes": [],
        "images": [],
        "notes": ["no function ran"],
    }
    fixture_maker.write(path, meta, [])
    page = open_page(path)
    assert page.locator("#empty").is_visible() and not page.locator("#main").is_visible()
    assert "no function ran" in page.inner_text("#notes")


def test_the_data_of_the_page_is_plain_json(fixture_page: Fixture) -> None:
    text = fixture_page[0].read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="astcapture-data">(.*?)</script>', text, re.S)
    assert found and json.loads(found[1])["format"] == 1
