"""Shows the examples of docstrings as code: to Markdown, the ``>>>`` of a doctest is a quotation in a quotation."""

from __future__ import annotations

import textwrap
from typing import Any

import griffe


class Doctests(griffe.Extension):  # type: ignore[misc]
    """Puts each doctest of a docstring into a fence of its own, and takes its directives out."""

    def on_object(self, *, obj: Any, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(docstring: str) -> str:
    """The docstring, with a fence around each run of lines from a ``>>>`` to the next empty line.

    >>> fenced("Add.\\n\\n>>> 1 + 1\\n2").splitlines()
    ['Add.', '', '```pycon', '>>> 1 + 1', '2', '```']
    """
    paragraphs = []
    for paragraph in docstring.split("\n\n"):
        if paragraph.lstrip().startswith(">>> "):
            lines = [line.partition("  # doctest:")[0] for line in textwrap.dedent(paragraph).splitlines()]
            paragraph = "\n".join(["```pycon", *lines, "```"])
        paragraphs.append(paragraph)
    return "\n\n".join(paragraphs)
