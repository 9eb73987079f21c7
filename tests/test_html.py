"""What notebooks show of captured values: small tables that nothing from outside can break out of."""

from __future__ import annotations

import copy
import json
import pickle
from html.parser import HTMLParser

import numpy as np
import pytest

import astcapture
from astcapture.record import events
from astcapture.values.cache import Cache, cache, recording
from astcapture.values.html import Summary
from astcapture.values.record import Record
from astcapture.values.records import Records

_EMPTY = {"br", "hr", "img", "link", "meta", "input"}


class Page(HTMLParser):
    """The elements of a piece of HTML; an element that is not closed fails."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.texts.setdefault(tag, [])
        if tag not in _EMPTY:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and data.strip():
            self.texts[self._open[-1]].append(data)

    def count(self, tag):
        return sum(name == tag for name, _ in self.elements)

    @property
    def rows(self):
        return self.count("tr")


def record(value=1, label="attn", call=0, **others):
    return Record(value, label, "m", "f", 3, call=call, **others)


EVIL = "<script>alert('x')</script>&\"'"


@pytest.fixture
def captured(fresh_imports):
    """Values in a cache of its own, whose function, label, layer, model, tags and types are as bad as can be."""
    kind = type(EVIL, (), {})
    with recording() as rec, astcapture.tag(**{EVIL: EVIL}):
        for index in range(50):
            site = (EVIL, EVIL, EVIL, index)
            value = kind() if index % 2 else np.zeros((2, 3))
            events.append((site, value, 1, (f"{EVIL}{index}", f"{EVIL}{index % 3}"), astcapture_holding()))
    return rec


def astcapture_holding():
    from astcapture.record import scope

    return scope.holding()


def all_reprs(found: Cache, folder) -> dict[str, str]:
    with pytest.warns(astcapture.CaptureWarning, match="values are not saved"):
        found.save(folder)
    run = astcapture.load(folder)
    records = found.select()
    shown = {
        "cache": found._repr_html_(),
        "records": records._repr_html_(),
        "record": records.records[0]._repr_html_(),
        "summary": found.summary()._repr_html_(),
        "run": run._repr_html_(),
        "stored records": run.select()._repr_html_(),
        "stored record": run.select().records[0]._repr_html_(),
        "stored summary": run.summary()._repr_html_(),
        "no records": Records()._repr_html_(),
        "no summary": Cache().summary()._repr_html_(),
    }
    assert all(shown.values())
    return shown


def test_nothing_from_outside_is_markup_and_nothing_is_fetched(captured, tmp_path):
    for name, text in all_reprs(captured, tmp_path / EVIL.replace("/", "")).items():
        page = Page(text)
        kinds = {tag for tag, _ in page.elements}
        assert kinds <= {"table", "caption", "thead", "tbody", "tr", "th", "td", "p", "ul", "li"}, name
        attributes = {attribute for _, given in page.elements for attribute in given}
        assert attributes <= {"scope", "style"}, name
        assert "url(" not in text and "color" not in text, f"{name}: colours are those of the page"


def test_every_header_says_what_it_is_the_header_of(captured, tmp_path):
    for name, text in all_reprs(captured, tmp_path / "run").items():
        page = Page(text)
        scopes = [given.get("scope") for tag, given in page.elements if tag == "th"]
        assert set(scopes) <= {"col", "row"}, name
        assert scopes.count("row") == page.rows - page.count("thead"), name
        assert page.count("caption") == (page.count("table") if "summary" not in name else 0), name


def test_a_table_has_at_most_thirty_rows_and_says_how_many_more_there_are(captured, tmp_path):
    shown = {name: Page(text) for name, text in all_reprs(captured, tmp_path / "run").items()}
    assert {name: shown[name].rows for name in ("cache", "records", "summary")} == dict.fromkeys(
        ("cache", "records", "summary"), 31
    )
    assert shown["records"].texts["p"] == ["… and 20 more rows"]
    assert shown["cache"].texts["p"] == ["… and 20 more rows; print its summary() to see all"]


def test_records_show_what_tells_them_apart():
    records = Records([record(np.zeros((2, 3)), call=0), record(4, label="n", call=1, layer="blocks.1", tags={"a": 1})])
    page = Page(records._repr_html_())
    assert page.texts["caption"] == ["Records: 2 × attn, n of m:f"]
    assert page.texts["th"] == ["index", "label", "layer", "call", "shape", "dtype", "line", "tags", "0", "1"]
    assert page.texts["td"] == ["attn", "0", "(2, 3)", "float64", "3", "n", "blocks.1", "1", "int", "3", "a=1"]


def test_a_record_lists_what_is_known_of_it():
    page = Page(record(np.zeros((2, 3)), layer="blocks.1", model="ViT", tags={"image": "a.jpg"})._repr_html_())
    names = ["function", "label", "model", "layer", "call", "line", "shape", "dtype", "bytes", "tags"]
    assert page.texts["th"] == names
    known = ["m:f", "attn", "ViT", "blocks.1", "0", "3", "(2, 3)", "float64", "48", "image='a.jpg'"]
    assert page.texts["td"] == known


def test_empty_records_say_why(fresh_imports, make_package):
    make_package({"model.py": "from astcapture import capture\n@capture('y')\ndef f():\n    y = 1\n    return y\n"})
    with astcapture.install(["model"]):
        import model  # noqa: F401

        page = Page(cache["f"]._repr_html_())
    assert page.texts["p"][0].startswith("Records: empty: it was not called while recording was on")


class Broken:
    """An array, as it says, of which nothing can be asked."""

    @property
    def shape(self):
        raise ValueError("no shape")


class Talking:
    """Runs a function that is captured when it is looked at."""

    function = staticmethod(lambda: None)

    @property
    def shape(self):
        self.function()
        return (1,)


def test_no_repr_raises():
    broken = Records([record(Broken()), record(type("Odd", (), {"shape": (1,), "dtype": Broken(), "nbytes": "?"})())])
    assert "Broken" in broken._repr_html_() and "Broken" in repr(broken)
    assert "Broken" in broken.records[0]._repr_html_() and "Broken" in repr(broken.records[0])
    assert record(tags={"a": type("Bad", (), {"__repr__": lambda self: 1 / 0})()})._repr_html_()
    assert Records([record(label=3)])._repr_html_() is None, "the text is shown in its place"


def test_looking_records_nothing(fresh_imports, make_package):
    make_package({"model.py": "from astcapture import capture\n@capture('y')\ndef f():\n    y = 1\n    return y\n"})
    with astcapture.install(["model"]):
        import model

        model.f()
        Talking.function = staticmethod(model.f)
        talking = Records([record(Talking())])
        assert "(1,)" in talking._repr_html_() and "(1,)" in talking.records[0]._repr_html_()
        assert len(cache["f"]) == 1
        model.f()
        assert len(cache["f"]) == 2


def test_no_stored_value_is_read(captured, tmp_path, monkeypatch):
    with pytest.warns(astcapture.CaptureWarning, match="values are not saved"):
        captured.save(tmp_path / "run")
    run = astcapture.load(tmp_path / "run")
    for path in (tmp_path / "run").rglob("*.safetensors"):
        # The values are behind the header, of which the first eight bytes tell the length.
        content = path.read_bytes()
        path.write_bytes(content[: 8 + int.from_bytes(content[:8], "little")])
    assert Page(run._repr_html_()).rows == Page(run.select()._repr_html_()).rows == 26
    assert "(2, 3)" in run.select().records[0]._repr_html_()
    with pytest.raises(astcapture.CaptureError):
        run.select()[0]


def test_a_summary_is_the_text_that_it_was():
    summary = Cache().summary()
    text = str(summary)
    assert type(text) is str and summary == text and hash(summary) == hash(text) and repr(summary) == repr(text)
    assert summary.splitlines() == text.splitlines() and summary + "x" == text + "x"
    assert json.dumps(summary) == json.dumps(text)
    for copied in (pickle.loads(pickle.dumps(summary)), copy.deepcopy(summary)):
        assert isinstance(copied, Summary)
        assert copied == summary and copied._repr_html_() == summary._repr_html_()
    assert Summary("a text")._repr_html_() is None


def test_what_went_wrong_in_a_store_waits_for_a_look_that_may_raise(monkeypatch):
    from astcapture.values.shared import shared

    raised = ["the disk is full"]

    def check():
        if raised:
            raise astcapture.CaptureError(raised.pop())

    monkeypatch.setattr(shared, "check", check)
    assert repr(cache) and cache._repr_html_()
    with pytest.raises(astcapture.CaptureError, match="the disk is full"):
        len(cache)
