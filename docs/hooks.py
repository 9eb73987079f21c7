"""What the site makes of the pages, which are written to be read on a code host too."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import Any

from mkdocs.plugins import get_plugin_logger
from mkdocs.utils import get_relative_url

ROOT = Path(__file__).resolve().parents[1]
# What a comment tells the test that runs the block behind it.
_MARK = re.compile(r"^<!-- (?P<kind>\w+)(?:: (?P<name>[^\n]+?))? -->\n(?=```(?P<language>\w*)\n)", re.M)
_FILE_OF_A_BLOCK = re.compile(r"^<!-- file: (?P<name>\S+) -->\n```(?P<language>\w+)\n", re.M)
# A link to a file that is in the repository and not on the site.
_OUTSIDE = re.compile(r"(?<!!)\[(?P<text>[^\]]+)\]\(\.\./(?P<path>[^)#]+)\)")
# A file of the viewer on a line of its own is shown in a frame.
_LIVE = re.compile(r"^\[(?P<text>[^\]]+)\]\((?P<path>live/[\w-]+\.html)(?P<state>#[^)]*)?\)$", re.M)
_FRAME = (
    '<iframe src="{src}" title="{title}" loading="lazy" sandbox="allow-scripts allow-downloads" '
    'style="display: block; box-sizing: border-box; width: calc(100% - 1px); height: 760px; '
    'border: 1px solid var(--md-default-fg-color--lighter)"></iframe>\n\n'
    "[Open this file alone]({link}){{target=_blank}}"
)

log = get_plugin_logger("pages")


def on_page_markdown(markdown: str, *, page: Any, **kwargs: Any) -> str:
    """Write a block's file above it; name files of the repository in place of linking to them."""

    def named(link: re.Match[str]) -> str:
        text, path = link["text"].strip("`"), link["path"]
        if not (ROOT / path).exists():
            log.warning("%s links to ../%s, and there is no such file", page.file.src_path, path)
        return f"`{path}`" if text in (path, Path(path).name) else f"{link['text']} (`{path}`)"

    def framed(live: re.Match[str]) -> str:
        state = live["state"] or ""
        src = escape(get_relative_url(live["path"], page.url) + state)
        return _FRAME.format(src=src, title=escape(live["text"]), link=live["path"] + state)

    if _LIVE.search(markdown):
        page.meta["hide"] = ["toc"]  # the frames need its room
    markdown = _LIVE.sub(framed, markdown)
    markdown = _FILE_OF_A_BLOCK.sub(r'```\g<language> title="\g<name>"\n', markdown)
    return _OUTSIDE.sub(named, _MARK.sub("", markdown))
