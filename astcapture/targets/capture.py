"""One thing to take in a function: a label, an expression over its locals, and the point where it is taken."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field

from astcapture.errors import CaptureError
from astcapture.targets.marker import POINTS

#: What ``at="sdpa"`` can name: the call's own parameters, its result, and the weights it never materialises.
SDPA_NAMES = (
    "query",
    "key",
    "value",
    "attn_mask",
    "dropout_p",
    "is_causal",
    "scale",
    "enable_gqa",
    "output",
    "weights",
)
EVERY_LOCAL = "*"
# What it stands for, where that is not the locals.
_ALL_OF_THEM = {"call": "call", "input": "call", "enter": "parameter"}

# What cannot stand in a label; a ``:=`` behind one of these is Python's own.
_BRACKETS = frozenset("([{'\"")


@dataclass(frozen=True)
class Capture:
    """One thing to take.

    Attributes:
        label: its label.
        expression: an expression; at ``"call"`` and ``"input"`` the name of a called function; ``"*"`` for all of them.
        at: one of `POINTS`.
        edits: whether the value is not recorded but edited; at ``"return"`` that is what the function returns.
    """

    label: str
    expression: str
    at: str = "return"
    edits: bool = field(default=False, repr=False)

    @property
    def every_local(self) -> bool:
        return self.expression == EVERY_LOCAL

    @property
    def of_calls(self) -> bool:
        """Whether it is taken at calls of the function that `expression` names."""
        return self.at in ("call", "input")

    @property
    def is_name(self) -> bool:
        """Whether the expression is a plain name, which may be unbound, rather than something computed."""
        return self.expression.isidentifier()


def check_capture(capture: Capture) -> None:
    """Raise `CaptureError` for an expression that could not stand in the user's function."""
    if capture.at == "sdpa" and capture.expression not in SDPA_NAMES:
        close = difflib.get_close_matches(capture.expression, SDPA_NAMES, n=1)
        raise CaptureError(
            f"{capture.expression!r}: @sdpa takes {', '.join(SDPA_NAMES[:-1])} or {SDPA_NAMES[-1]}"
            + (f": did you mean {close[0]}?" if close else "")
        )
    if capture.every_local:
        if capture.label != EVERY_LOCAL:
            all_of_them = _ALL_OF_THEM.get(capture.at, "local")
            raise CaptureError(f"'*' means every {all_of_them}, under its own name: remove {capture.label}:=")
        return
    if not capture.expression:
        raise CaptureError(f"there is no expression after {capture.label}:=")
    try:
        tree = ast.parse(capture.expression, mode="eval")
    except (SyntaxError, ValueError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise CaptureError(f"{capture.expression!r} is not a Python expression ({reason})") from None
    except (RecursionError, MemoryError):
        # The parser has a stack of its own, and says MemoryError where that is full.
        raise CaptureError(f"{capture.expression!r} is nested too deeply: name a value instead") from None
    for node in ast.walk(tree):
        if isinstance(node, (ast.NamedExpr, ast.Yield, ast.YieldFrom, ast.Await)):
            word = {"NamedExpr": ":=", "Await": "await"}.get(type(node).__name__, "yield")
            reason = f"uses {word}, which would change the function: name a value instead"
            raise CaptureError(f"{capture.expression!r} {reason}")
    if capture.of_calls and not is_dotted(capture.expression):
        raise CaptureError(
            f"{capture.expression!r}: @{capture.at} takes the name of a called function: softmax@{capture.at} means "
            "the calls of softmax, F.softmax and x.softmax"
        )
    if capture.at in ("assign", "enter", "yield") and not capture.is_name:
        reason = "takes a plain name; expressions are evaluated at a return"
        raise CaptureError(f"{capture.expression!r}: @{capture.at} {reason}")


def is_dotted(text: str) -> bool:
    """Whether a text is a name, or names with dots between them."""
    return all(part.isidentifier() for part in text.split("."))


def parse_captures(text: str) -> tuple[Capture, ...]:
    """Read a comma-separated list: ``attn``, ``attn@assign``, ``softmax@call``, ``*``, ``label:=expression``.

    Raises:
        CaptureError: with the part that is wrong; its ``offset`` attribute says where in `text` it stands.

    >>> parse_captures("attn,scale:=self.scale")[1]
    Capture(label='scale', expression='self.scale', at='return')
    """
    captures = []
    for offset, part in split_list(text):
        try:
            captures.append(_parse_capture(part))
        except CaptureError as error:
            raise located(error, offset) from None
    return tuple(captures)


def located(error: CaptureError, offset: int) -> CaptureError:
    """The same error with ``offset`` set, where it stands in the text being parsed."""
    error.offset = offset + getattr(error, "offset", 0)  # type: ignore[attr-defined]
    return error


def split_list(text: str) -> Iterable[tuple[int, str]]:
    """Split at the commas that are not inside brackets or quotes; yield each part with its offset."""
    depth, quote, start = 0, "", 0
    for index, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
        elif char == "," and depth == 0:
            yield _stripped(text, start, index)
            start = index + 1
    yield _stripped(text, start, len(text))


def _stripped(text: str, start: int, end: int) -> tuple[int, str]:
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), part.strip()


def _parse_capture(part: str) -> Capture:
    if not part:
        raise CaptureError("there is nothing between two commas")
    label, colon, expression = part.partition(":=")
    if _BRACKETS.isdisjoint(label) and colon:
        label, expression = label.strip(), expression.strip()
        if not label.isidentifier():
            raise CaptureError(f"{label!r} is not a label: write LABEL:=EXPRESSION")
    else:
        colon, expression = "", part
    expression, at = _split_point(expression)
    capture = Capture(label if colon else expression, expression, at)
    check_capture(capture)
    return capture


def _split_point(text: str) -> tuple[str, str]:
    """Take a trailing ``@assign`` off; any other ``@`` is Python's matrix product.

    ``(a + b) @ input`` is such a product as well: ``call``, ``input`` and ``enter`` may be locals.
    """
    head, sign, tail = text.rpartition("@")
    head, tail = head.strip(), tail.strip()
    may_be_locals = tail in ("call", "input", "enter")
    if sign and tail in POINTS and head and (not may_be_locals or is_dotted(head) or head == EVERY_LOCAL):
        return head, tail
    if sign and (head.isidentifier() or head == EVERY_LOCAL):
        close = difflib.get_close_matches(tail, POINTS, n=1)
        if close:
            raise CaptureError(f"{text!r}: did you mean {head}@{close[0]}?")
    return text.strip(), "return"
