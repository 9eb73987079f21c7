"""The page as a widget, for notebooks with anywidget: what is chosen in the page is known in Python."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from astcapture.errors import CaptureError
from astcapture.view.cell import Cell, chosen_cell
from astcapture.view.plan import Entry

#: Shows the page in a frame, which has no part in the notebook's page, and passes messages on.
SCRIPT = """
function render({ model, el }) {
  const frame = document.createElement("iframe");
  frame.setAttribute("sandbox", "allow-scripts allow-downloads");
  frame.title = "astcapture";
  frame.style.cssText = `width:100%;height:${model.get("height")}px;border:0`;
  frame.srcdoc = model.get("page");
  let hearing = false;
  const hear = (event) => {
    if (event.source !== frame.contentWindow || !event.data?.astcapture) return;
    hearing = true;
    model.set("state", event.data.astcapture);
    model.save_changes();
    hearing = false;
  };
  const tell = () => {
    if (!hearing) frame.contentWindow?.postMessage({ astcapture: model.get("state") }, "*");
  };
  window.addEventListener("message", hear);
  model.on("change:state", tell);
  el.append(frame);
  return () => {
    window.removeEventListener("message", hear);
    model.off("change:state", tell);
  };
}
export default { render };
"""


def make_widget(page: str, entries: Sequence[Sequence[Entry]], height: int) -> Any:
    """Make a widget of a page; see `View.widget`.

    Raises:
        CaptureError: anywidget is not installed.
    """
    try:
        anywidget, traitlets = import_module("anywidget"), import_module("traitlets")
    except ImportError:
        raise CaptureError("widget() needs anywidget: pip install 'astcapture[view]'; .save() needs nothing") from None

    def cell(self: Any) -> Cell:
        """The chosen cell, with its value as it was captured."""
        return chosen_cell(self.state, entries)

    traits = {
        "_esm": SCRIPT,
        "page": traitlets.Unicode(page).tag(sync=True),
        "height": traitlets.Int(height).tag(sync=True),
        "state": traitlets.Dict().tag(sync=True),
        "cell": cell,
    }
    return type("Widget", (anywidget.AnyWidget,), traits)()
