"""The file as a page: its policy, what may not end a script, notebooks, and that nothing else is needed."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from unpacked import File, attention, opened, record, records

import astcapture
from astcapture import CaptureError
from astcapture.view import View
from astcapture.view.page import as_json, joined, page, squeezed

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    '"><img src=x onerror=alert(1)>',
    "]]>",
    "&lt;b&gt;",
    "\u2028\u2029\x00\x1b",
    "\ud83d",
    "שלום",
    "'\\\";",
    "@@CODE@@",
]


class Elements(HTMLParser):
    """The elements of a page with their attributes, and what scripts and styles hold."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._open = False
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.content: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.content.append("")
        self._open = True

    def handle_endtag(self, tag: str) -> None:
        self._open = False

    def handle_data(self, data: str) -> None:
        if self._open:
            self.content[-1] += data

    def only(self, tag: str, **attributes: str) -> tuple[dict[str, str | None], str]:
        ((attrs, content),) = [
            (attrs, content)
            for (name, attrs), content in zip(self.found, self.content, strict=True)
            if name == tag and all(attrs.get(key) == value for key, value in attributes.items())
        ]
        return attrs, content


def hostile() -> View:
    several = [
        record(attention(1, 1, len(HOSTILE), len(HOSTILE)), one, label=one, model=one, function=one, tags={one: one})
        for one in HOSTILE
    ]
    return View(records(*several), tokens=HOSTILE, title=HOSTILE[0])


def test_nothing_of_a_name_becomes_part_of_the_page():
    plain = Elements(View(records(record(attention(1, 1, 3, 3)))).html)
    page = Elements(hostile().html)
    # Blocks aside, of which there is one for each series.
    kinds = [
        [(tag, sorted(attrs)) for tag, attrs in one.found if attrs.get("type") != "application/octet-stream"]
        for one in (plain, page)
    ]
    assert kinds[0] == kinds[1]
    assert not any(name.startswith("on") for _, attrs in page.found for name in attrs)
    assert page.only("title")[1] == HOSTILE[0]


def test_names_come_back_as_they_were():
    file = File(hostile().html)
    assert [one["label"] for one in file.meta["series"]] == HOSTILE
    assert [one["layers"] for one in file.meta["series"]] == [[one] for one in HOSTILE]
    assert [one["items"][0]["tags"] for one in file.meta["series"]] == [{one: one} for one in HOSTILE]
    assert file.meta["axes"][0]["words"] == HOSTILE
    # What has no glyph is escaped; what a page could take for markup is left to the page, which writes text alone.
    assert file.meta["axes"][0]["shown"][5:8] == ["\\u2028\\u2029␀\\x1b", "\\ud83d", "שלום"]


def test_the_policy_allows_the_script_and_the_style_of_the_page_and_nothing_else():
    page = Elements(View(records(record(attention(1, 1, 3, 3)))).html)
    attrs, _ = page.only("meta", **{"http-equiv": "Content-Security-Policy"})
    rules = dict(rule.strip().split(" ", 1) for rule in (attrs["content"] or "").split(";"))
    hashes = {
        kind: f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
        for kind, content in (("script", page.only("script", type="module")[1]), ("style", page.only("style")[1]))
    }
    assert rules["default-src"] == "'none'"
    assert (rules["script-src"], rules["style-src"]) == (hashes["script"], hashes["style"])
    assert rules["img-src"] == "data: blob:"


def test_the_page_points_to_nothing_outside():
    text = View(records(record(attention(1, 1, 3, 3)))).html
    page = Elements(text)
    addresses = [attrs.get("src") or attrs.get("href") or "data:" for _, attrs in page.found]
    assert all(one.startswith("data:") for one in addresses)
    # The namespace of SVG is a name, and no address that is asked.
    names = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert set(re.findall(r"https?://[^\"'\s)]+", text)) <= names
    assert not re.search(
        r"\beval\(|new Function|innerHTML|outerHTML|document\.write|@import|XMLHttpRequest|WebSocket", text
    )
    assert not re.search(r"@import|url\((?!\"?data:)", page.only("style")[1])


def test_json_in_a_page_is_ascii_and_holds_no_markup():
    text = as_json({one: [one] for one in HOSTILE})
    assert text.isascii() and not set("<>&") & set(text)
    assert json.loads(text) == {one: [one] for one in HOSTILE}


def test_modules_are_joined_in_the_order_of_their_imports():
    modules = {
        "a.js": '/** It is\n * long */\nimport { b, c } from "./b.js";\nimport { d } from "./d.js";\n\nb(d); // "x"\n',
        "b.js": 'import { d } from "./d.js";\nexport function b() {\n  return "// no comment";\n}\nexport class C {}\n',
        "d.js": "// first\nexport const d = 1;\nexport async function e() {}\n",
    }
    assert joined(modules).splitlines() == [
        "const d = 1;", "async function e() {}", "function b() {", 'return "// no comment";', "}", "class C {}",
        'b(d); // "x"',
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"imports from z\.js, which is not there"):
        joined({"a.js": 'import { z } from "./z.js";\n'})
    with pytest.raises(ValueError, match=r"import from each other: \['\w.js', '\w.js', '\w.js'\]"):
        joined({"a.js": 'import { b } from "./b.js";\n', "b.js": 'import { a } from "./a.js";\n'})
    assert squeezed("a {\n  b: c;\n\n}\n") == "a {\nb: c;\n}\n"


@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_every_process_writes_the_same_page(
    run_python: Callable[..., subprocess.CompletedProcess[str]], seed: str
) -> None:
    printed = run_python("from astcapture.view.page import page; print(page().policy)", env={"PYTHONHASHSEED": seed})
    assert printed.stdout.strip() == page().policy


def test_a_saved_file_replaces_the_old_one_once_it_is_complete(tmp_path):
    path = tmp_path / "map.html"
    path.write_text("old")
    good = records(record(attention(1, 1, 3, 3)))
    with pytest.raises(CaptureError):
        View(good, exact=[(5, 5)]).save(path)
    assert path.read_text() == "old" and [*tmp_path.iterdir()] == [path]
    seen: list[tuple[int, int]] = []
    assert View(good).save(path, progress=lambda done, of: seen.append((done, of))) == path
    assert opened(path).text == View(good).html and seen == [(0, 1), (1, 1)]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()
    with pytest.raises(OSError, match=r"nowhere.map\.html"):
        View(good).save(tmp_path / "nowhere" / "map.html")


def _umask() -> int:
    import os

    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_notebook_shows_the_same_file_in_a_frame_that_has_no_part_in_its_page():
    view = View(records(record(attention(1, 1, 3, 3))), title='a "title"')
    frame = Elements(view._repr_html_())
    attrs, _ = frame.only("iframe")
    assert attrs["srcdoc"] == view.html
    assert "allow-same-origin" not in (attrs["sandbox"] or "") and "allow-scripts" in (attrs["sandbox"] or "")
    assert [tag for tag, _ in frame.found] == ["iframe"] and attrs["title"] == 'a "title"'
    assert re.search(r"height:\d+px", attrs["style"] or "")
    assert repr(view) == "<View of 1 values: .save('map.html') writes it, a notebook shows it>"


def test_records_caches_and_runs_are_looked_at_alike(tmp_path):
    maps = records(record(attention(1, 2, 5, 5)), record(attention(1, 2, 5, 5), "blocks.1.attn"))
    from astcapture.values.saving import save

    save(maps.records, astcapture.Cache().notes(), tmp_path / "run")
    run = astcapture.load(tmp_path / "run")
    expected = maps.view().html
    assert run.view().html == run.select().view().html == View(tmp_path / "run").html == expected
    with pytest.raises(CaptureError, match="there is nothing to look at: "):
        astcapture.Cache().view()


def test_neither_torch_nor_matplotlib_nor_pillow_is_needed(run_python: Callable[..., subprocess.CompletedProcess[str]]):
    done = run_python(
        """
        import sys
        import numpy as np
        import astcapture
        maps = np.full((1, 2, 17, 17), 1 / 17)
        record = astcapture.Record(maps, "attn", "m", "A.forward", 1, "blocks.0", 0, model="ViT")
        text = astcapture.Records([record]).view(images=np.zeros((8, 8, 3))).html
        print(len(text) > 1000, sorted({"torch", "matplotlib", "PIL", "astcapture.cli"} & set(sys.modules)))
        """
    )
    assert done.stdout == "True []\n"


def test_a_small_model_makes_a_small_file():
    maps = [record(attention(1, 4, 17, 17, seed=layer), f"blocks.{layer}.attn") for layer in range(4)]
    assert len(View(records(*maps), images=np.zeros((32, 32, 3))).html) < 400_000


def test_the_page_is_in_the_package():
    configured = (Path(astcapture.__file__).parents[1] / "setup.cfg").read_text(encoding="utf-8")
    web = Path(astcapture.__file__).parent / "view" / "web"
    assert {path.suffix for path in web.iterdir() if path.is_file()} == {".js", ".css", ".html"}
    assert all(f"view/web/*{ending}" in configured for ending in (".js", ".css", ".html"))
