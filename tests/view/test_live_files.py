"""The viewer's files that the docs show live: they have today's page, open without an error, and hold what is said."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from unpacked import File, opened

DOCS = Path(__file__).parents[2] / "docs"
FILES = sorted((DOCS / "live").glob("*.html"))
LINKS = re.findall(r"^\[[^\]]+\]\(live/([\w-]+\.html)#([^)]+)\)$", (DOCS / "gallery.md").read_text("utf-8"), re.M)

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def draw_viewer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw_viewer", DOCS / "draw_viewer.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def whole_map(name: str, layer: int, head: int, batch: int = 0) -> np.ndarray:
    file: File = opened(DOCS / "live" / name)
    (series,) = file.meta["series"]
    (item,) = [one for one in series["items"] if (one["layer"], one["batch"]) == (layer, batch)]
    return file.values(item, head)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_live_file_is_small_and_has_the_page_of_the_package(path: Path, draw_viewer: ModuleType) -> None:
    text = path.read_text(encoding="utf-8")
    assert draw_viewer.renewed(text) == text, "run python docs/draw_viewer.py"
    assert path.stat().st_size < 400_000


def test_the_gallery_shows_every_live_file() -> None:
    assert sorted(name for name, _ in LINKS) == [path.name for path in FILES]
    assert len(FILES) == 3


@pytest.mark.slow
@pytest.mark.parametrize(("name", "fragment"), LINKS)
def test_a_live_file_opens_as_the_gallery_links_to_it(open_page: Open, name: str, fragment: str) -> None:
    chosen = dict(part.split("=") for part in fragment.split("&"))
    for size in ((480, 900), (1000, 900), (1600, 900)):
        for scheme in ("light", "dark"):
            page = open_page(DOCS / "live" / name, fragment, size=size, color_scheme=scheme)
            state = page.evaluate("structuredClone(astcapture.state)")
            assert {key: str(state[key]) for key in chosen} == chosen
            assert page.evaluate("document.documentElement.scrollWidth") == size[0]
            assert float(page.inner_text("#value")) > 0.3
            assert not page.locator("#broken").is_visible()
            for view in page.evaluate("[...document.querySelectorAll('#views button')].map(one => one.textContent)"):
                page.evaluate("view => astcapture.set({view})", view.lower())


def test_in_minilm_the_verb_attends_to_who_acts_and_who_is_acted_upon() -> None:
    words = opened(DOCS / "live" / "minilm.html").meta["axes"][0]["words"]
    row = whole_map("minilm.html", layer=5, head=11)[words.index("chased")]
    assert {words[int(index)] for index in row.argsort()[-2:]} == {"cat", "mice"}


def test_in_the_digit_most_patches_attend_to_the_patch_that_the_gallery_names() -> None:
    values = whole_map("digits.html", layer=1, head=2, batch=3)
    patch = 1 + 1 * 4 + 2
    assert (values[1:].argmax(axis=1) == patch).mean() > 0.5


def test_in_the_generation_layer_1_finds_the_word_after_and_layer_0_the_word_before() -> None:
    words = opened(DOCS / "live" / "generation.html").meta["axes"][0]["words"]
    first = words.index("the")
    repeated = words.index("the", first + 1)
    length = repeated - first
    for head in range(4):
        values = whole_map("generation.html", layer=1, head=head)
        # The last words were generated one by one.
        for query in range(repeated, len(words)):
            assert values[query].argmax() == query - length + 1, words[query]
    before = whole_map("generation.html", layer=0, head=1)
    assert (before[2:].argmax(axis=1) == np.arange(1, len(words) - 1)).mean() > 0.9
    assert words[18:19] == ["fox"] and words[5] == words[19] == "jumps"


@pytest.mark.slow
@pytest.mark.parametrize("view", ["", "&view=map&key=0"])
@pytest.mark.parametrize("width", [480, 757, 1000, 1600])
def test_titles_and_labels_fit(open_page: Open, width: int, view: str) -> None:
    """Each text of the picture lies inside it, and none was cut."""
    for name, fragment in LINKS:
        page = open_page(DOCS / "live" / name, fragment + view, size=(width, 900))
        with page.expect_download() as download:
            page.click("#save-svg")
        path = download.value.path()
        outside = page.evaluate(
            "svg => { const box = document.createElement('div'); box.innerHTML = svg; document.body.append(box);"
            "const all = box.firstElementChild.getBoundingClientRect();"
            "return [...box.querySelectorAll('text')].filter(one => { const own = one.getBoundingClientRect();"
            "return own.left < all.left || own.right > all.right || one.textContent.endsWith('…'); })"
            ".map(one => one.textContent); }",
            # The page allows no style within an element.
            re.sub("<image[^>]*>", "", path.read_text(encoding="utf-8")),
        )
        assert outside == [], name


@pytest.mark.slow
def test_patches_lie_beside_each_other_where_they_are_larger_so(open_page: Open) -> None:
    page = open_page(DOCS / "live" / "digits.html", dict(LINKS)["digits.html"], size=(757, 760))
    with page.expect_download() as download:
        page.click("#save-svg")
    svg = download.value.path().read_text(encoding="utf-8")
    clips = re.findall(r'<clipPath id="\w+"><rect x="([\d.]+)" y="([\d.]+)"', svg)
    assert len({y for _, y in clips}) == 1 and len({x for x, _ in clips}) == 2


@pytest.mark.slow
@pytest.mark.parametrize("width", [480, 1000, 1280, 1600])
def test_heads_are_named_above_small_pictures(open_page: Open, width: int) -> None:
    page = open_page(DOCS / "live" / "minilm.html", size=(width, 900))
    inked = page.evaluate(
        "() => { const c = document.getElementById('grid'); const d = c.width / c.clientWidth;"
        "const {data} = c.getContext('2d').getImageData(26 * d, 0, c.width - 26 * d, 15 * d);"
        "let n = 0; for (let i = 0; i < data.length; i += 4) if (data[i] < 200) n++; return n; }"
    )
    assert inked > 50


@pytest.mark.slow
def test_the_error_of_a_renormalised_row_is_that_of_its_values(open_page: Open) -> None:
    """Without [CLS] and [SEP] a few hundredths of this row are left, which 8 bits hold coarsely."""
    page = open_page(DOCS / "live" / "minilm.html", "layer=2&head=9&query=8&key=8&specials=true")
    text = page.inner_text("#error")
    stored = page.evaluate(
        "JSON.parse(document.getElementById('astcapture-data').textContent).series[0].items[2].maps[9].error"
    )
    factor = float(page.inner_text("#value")) / whole_map("minilm.html", layer=2, head=9)[8, 8]
    assert factor > 10
    assert float(re.findall(r"about ± ([\d.]+):", text)[0]) == pytest.approx(stored * factor, rel=1e-3)
    page.evaluate("astcapture.set({specials: false})")
    page.wait_for_function(
        "document.getElementById('error').textContent.endsWith('at most: values are stored in 8 bits')"
    )
