"""An edit as text, for ``ASTCAPTURE_EDIT`` and ``astcapture run -e``: ``TARGET=NAME(OPTIONS)``, with literals alone.

It is parsed and never evaluated: what stands in an environment must not become code.
"""

from __future__ import annotations

import ast
import re
from typing import Any, NamedTuple

from astcapture.errors import EditError

_CHANGE = re.compile(r"(?P<target>.*?)\s*=\s*(?P<change>[A-Za-z_]\w*\s*\(.*\))\s*\Z", re.DOTALL)
_OPENING, _CLOSING = "([{", ")]}"
#: What belongs to the edit and not to its change.
_OF_THE_EDIT = ("layer", "call", "strict")


class EditText(NamedTuple):
    """An edit as it was written.

    Attributes:
        target: its target.
        name: the name of the ready-made change.
        arguments, options: what it is made with.
        chosen: the layers and executions, and whether it is strict.
    """

    target: str
    name: str
    arguments: list[Any]
    options: dict[str, Any]
    chosen: dict[str, Any]


def parse_edit_text(text: str) -> EditText:
    """Read an edit.

    Raises:
        EditError: it is not of the form, or holds something else than literals.

    >>> parse_edit_text("m:f=attn@assign=zero(heads=[3], layer='blocks.4.*')")[:4]
    ('m:f=attn@assign', 'zero', [], {'heads': [3]})
    """
    match = _CHANGE.match(text.strip())
    if match is None:
        raise EditError(
            f"edit {text!r} is not of the form TARGET=CHANGE(...): write mymodel:Attention.forward=attn=zero(heads=[3])"
        )
    change = match["change"]
    try:
        call = ast.parse(change, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else type(error).__name__
        raise EditError(f"edit {text!r}: {change!r} cannot be read ({reason})") from None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise EditError(f"edit {text!r}: {change!r} is not one change: write zero(heads=[3])")
    options: dict[str, Any] = {}
    for keyword in call.keywords:
        if keyword.arg is None:
            raise EditError(f"edit {text!r}: write each option by its name instead of **")
        options[keyword.arg] = _literal(keyword.value, text)
    chosen = {name: options.pop(name) for name in _OF_THE_EDIT if name in options}
    return EditText(match["target"], call.func.id, [_literal(one, text) for one in call.args], options, chosen)


def _literal(node: ast.expr, text: str) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        raise EditError(
            f"edit {text!r}: {ast.unparse(node)} is not a literal: numbers, strings, lists, True, False and None are"
        ) from None


def split_edits(text: str) -> tuple[str, ...]:
    """The edits between semicolons and newlines, except those in brackets or quotes."""
    parts, depth, quote, start = [], 0, "", 0
    for index, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in _OPENING:
            depth += 1
        elif char in _CLOSING:
            depth -= 1
        elif char in ";\n" and depth <= 0:
            parts.append(text[start:index])
            start = index + 1
    return tuple(part.strip() for part in (*parts, text[start:]) if part.strip())
