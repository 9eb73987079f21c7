"""The live widget: what is chosen in the page is read in Python, and what Python chooses the page shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from unpacked import attention, record, records

from astcapture import CaptureError
from astcapture.view import View
from astcapture.view.cell import chosen_cell
from astcapture.view.live import SCRIPT


def two_layers() -> View:
    several = [record(attention(2, 3, 5, 5, seed=layer), f"h.{layer}", 4) for layer in range(2)]
    return View(records(*several, record(np.arange(3.0), label="loss")))


def test_the_value_of_the_chosen_cell_is_the_captured_one():
    pytest.importorskip("anywidget")
    view = two_layers()
    widget = view.widget()
    widget.state = {"series": 0, "layer": 1, "head": 2, "query": 3, "key": 1, "call": 4, "batch": 1}
    cell = widget.cell()
    maps = view._runs[0][1]
    assert cell.value == float(maps[1, 2, 3, 1])
    assert (cell.layer, cell.head, cell.query, cell.key, cell.record.layer) == ("h.1", 2, 3, 1, "h.1")
    widget.state = {**widget.state, "head": "mean"}
    assert widget.cell().value == pytest.approx(maps[1, :, 3, 1].mean())
    widget.state = {**widget.state, "head": "max"}
    assert widget.cell().value == maps[1, :, 3, 1].max()
    widget.state = {"series": 1, "key": 2}
    assert widget.cell().value == 2.0
    assert widget.page == view.html


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"series": 7}, "there is no series 7"),
        ({"call": 4, "query": 9}, "there is no cell 9, 0 of head 0: 3 heads of 5 × 5"),
        ({"call": 4, "head": 3}, "of head 3"),
    ],
)
def test_a_cell_that_there_is_not_is_an_error(state, message):
    view = two_layers()
    assert view.html
    with pytest.raises(CaptureError, match=message):
        chosen_cell(state, view._entries)


def test_without_anywidget_one_line_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "anywidget", None)
    with pytest.raises(CaptureError, match=r"^widget\(\) needs anywidget: pip install 'astcapture\[view\]'"):
        two_layers().widget()


def test_the_page_and_python_follow_each_other(browser: Any, tmp_path: Path):
    """A page around the frame stands for the notebook's, with a model as anywidget gives it."""
    inside = json.dumps(two_layers().html).replace("<", r"\u003c")
    outside = f"""<!doctype html><div id="cell"></div><script type="module">
    {SCRIPT.replace("export default { render };", "")}
    const listeners = [], values = {{ page: {inside}, height: 500, state: {{}} }};
    window.model = {{
      saved: 0,
      get: (name) => values[name],
      set(name, value) {{ values[name] = value; for (const act of listeners) act(); }},
      save_changes() {{ this.saved += 1; }},
      on: (name, act) => listeners.push(act),
      off() {{}},
    }};
    render({{ model: window.model, el: document.getElementById("cell") }});
    </script>"""
    path = tmp_path / "notebook.html"
    path.write_text(outside, encoding="utf-8")
    page = browser.new_page()
    heard: list[str] = []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.goto(path.as_uri())
    page.wait_for_function("model.saved > 0")
    assert page.evaluate("model.get('state').layer") == 0
    frame = page.frames[1]
    frame.evaluate("astcapture.set({layer: 1, head: 2, query: 3})")
    page.wait_for_function("model.get('state').layer === 1 && model.get('state').query === 3")
    page.evaluate("model.set('state', {...model.get('state'), head: 1, key: 4})")
    frame.wait_for_function("astcapture.state.head === 1 && astcapture.state.key === 4")
    assert frame.evaluate("astcapture.state.query") == 3
    page.evaluate("window.frames[0].postMessage({astcapture: 'nonsense'}, '*')")
    assert frame.evaluate("astcapture.state.head") == 1
    assert heard == []
    page.close()
