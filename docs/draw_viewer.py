"""Brings the viewer's files of docs/live up to date with the page of the package, and draws the pictures of them.

    python docs/draw_viewer.py

The values in the files stay as they are: `draw_pictures.py` makes them anew. It needs playwright and Chromium.
"""

from __future__ import annotations

import json
import re
import shutil
from html import unescape
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from astcapture.view.page import write_page

DOCS = Path(__file__).parent
#: Picture: file, what is chosen in it, and the width and the height of the window.
SHOTS = {
    "viewer.png": ("minilm.html", "layer=5&head=11&query=4&key=6&view=lines&lock=query", (1280, 660)),
    "viewer_image.png": ("digits.html", "layer=1&head=2&query=7&key=7&batch=3&view=image&lock=query", (1280, 760)),
}
_DATA = re.compile(r'<script type="application/json" id="astcapture-data">(.*?)</script>')
_BLOCK = re.compile(r'<script type="application/octet-stream" id="block-\d+">[^<]*</script>\n?')
_TITLE = re.compile(r"<title>(.*?)</title>")


class Kept:
    """The blocks of values of a file, as they are."""

    def __init__(self, text: str) -> None:
        self.text = "".join(_BLOCK.findall(text))

    def write_to(self, file: IO[bytes]) -> None:
        file.write(self.text.encode())


def renewed(text: str) -> str:
    """A file with the same values and today's page."""
    data, title = _DATA.search(text), _TITLE.search(text)
    assert data is not None and title is not None
    file = BytesIO()
    write_page(file, unescape(title[1]), json.loads(data[1]), Kept(text))
    return file.getvalue().decode()


def draw(browser: Any, name: str) -> Path:
    """Draw a picture at twice the size, in light colours."""
    file, state, (width, height) = SHOTS[name]
    page = browser.new_page(
        viewport={"width": width, "height": height},
        device_scale_factor=2,
        color_scheme="light",
        reduced_motion="reduce",
    )
    page.goto(f"{(DOCS / 'live' / file).resolve().as_uri()}#{state}")
    page.evaluate("astcapture.ready")
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    path = DOCS / "pictures" / name
    page.screenshot(path=path)
    page.close()
    return path


def main() -> None:
    from PIL import Image
    from playwright.sync_api import sync_playwright

    for file in sorted((DOCS / "live").glob("*.html")):
        file.write_text(renewed(file.read_text(encoding="utf-8")), encoding="utf-8")
        print(f"wrote {file.relative_to(DOCS.parent)}, {file.stat().st_size / 1000:.0f} kB")
    with sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name in SHOTS:
            picture = draw(browser, name)
            with Image.open(picture) as image:
                image.convert("P", palette=Image.Palette.ADAPTIVE, colors=256).save(picture, optimize=True)
            print(f"wrote {picture.relative_to(DOCS.parent)}, {picture.stat().st_size / 1000:.0f} kB")
        browser.close()


if __name__ == "__main__":
    main()
