"""The page as one file: its modules in one script, its style, and a policy that allows these two and nothing else."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from importlib.resources import files
from typing import IO, Any, NamedTuple

from astcapture.view.blocks import Blocks

_IMPORT = re.compile(r"^import\s[^;]*?from\s+\"\./([\w-]+\.js)\";[ \t]*$", re.M)
_EXPORT = re.compile(r"^export\s+(?=(?:async\s+)?(?:function|const|let|class)\b)", re.M)
#: A comment that begins a line and ends one, and the lines of `//` comments.
_COMMENT = re.compile(r"^[ \t]*/\*.*?\*/[ \t]*\n?|^[ \t]*//[^\n]*\n?", re.M | re.S)


class Page(NamedTuple):
    """The parts of the page that are the same in every file."""

    template: str
    style: str
    code: str

    @property
    def policy(self) -> str:
        """The content security policy: nothing is loaded from anywhere."""
        return (
            f"default-src 'none'; script-src '{_hash(self.code)}'; style-src '{_hash(self.style)}'; "
            "img-src data: blob:; font-src 'none'; base-uri 'none'; form-action 'none'"
        )


@lru_cache(maxsize=1)
def page() -> Page:
    """Read the page from the package."""
    folder = files("astcapture.view") / "web"
    texts = {one.name: one.read_text(encoding="utf-8") for one in folder.iterdir() if one.is_file()}
    modules = {name: text for name, text in texts.items() if name.endswith(".js")}
    style = "".join(text for name, text in sorted(texts.items()) if name.endswith(".css"))
    return Page(texts["page.html"], squeezed(style), joined(modules))


def joined(modules: dict[str, str]) -> str:
    """Put modules into one script, each after those that it imports from.

    A module imports with ``import { a } from "./x.js";`` only, and exports declarations whose names no other has.

    Raises:
        ValueError: modules that import from each other, or from one that is not there.

    >>> joined({"a.js": 'import { b } from "./b.js";\\nb();\\n', "b.js": "// one\\nexport const b = () => 1;\\n"})
    'const b = () => 1;\\nb();\\n'
    """
    # Sorted: the order of a set changes from process to process, and so would the file.
    needs = {name: sorted(set(_IMPORT.findall(text))) for name, text in sorted(modules.items())}
    missing = {one for several in needs.values() for one in several} - modules.keys()
    if missing:
        raise ValueError(f"a module imports from {', '.join(sorted(missing))}, which is not there")
    try:
        order = [*TopologicalSorter(needs).static_order()]
    except CycleError as error:
        raise ValueError(f"modules import from each other: {error.args[1]}") from None
    return "".join(squeezed(_EXPORT.sub("", _IMPORT.sub("", modules[name]))) for name in order)


def squeezed(text: str) -> str:
    """Leave out comments that stand alone, indentation and empty lines."""
    lines = (line.strip() for line in _COMMENT.sub("", text).splitlines())
    return "".join(f"{line}\n" for line in lines if line)


def write_page(file: IO[bytes], title: str, meta: dict[str, Any], blocks: Blocks) -> None:
    """Write the whole file."""
    parts = page()
    text = {
        "CSP": parts.policy,
        "TITLE": html.escape(title).encode("utf-8", "replace").decode(),
        "STYLE": parts.style,
        "CODE": parts.code,
        "META": f'<script type="application/json" id="astcapture-data">{as_json(meta)}</script>',
    }
    for number, piece in enumerate(re.split("@@([A-Z]+)@@", parts.template)):
        if number % 2 == 0:
            file.write(piece.encode())
        elif piece == "BLOCKS":
            blocks.write_to(file)
        else:
            file.write(text[piece].encode())


def as_json(data: Any) -> str:
    """JSON that can stand in a page: no character ends the element or begins a comment.

    >>> as_json({"</script>": "<!--"})
    '{"\\\\u003c/script\\\\u003e":"\\\\u003c!--"}'
    """
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    # Outside of strings JSON has none of these.
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
